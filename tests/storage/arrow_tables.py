"""Small tables on a store, and where an Arrow file says that its record batches are."""

from __future__ import annotations

import pyarrow as pa

from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.store import Store


def write_table(store: Store, path: str, rows: list[list[int]]) -> tuple[object, pa.Schema, list[pa.RecordBatch]]:
    schema = pa.schema(
        [pa.field("text", pa.string()), pa.field("ids", pa.list_(pa.uint16()))], metadata={"kind": "test" * len(rows)}
    )
    batches = [
        pa.record_batch([pa.array([str(n) * 3 for n in part]), pa.array([[n, n + 1] for n in part])], schema=schema)
        if part
        else pa.record_batch([pa.array([], pa.string()), pa.array([], pa.list_(pa.uint16()))], schema=schema)
        for part in rows
    ]
    return write_blocks(store, path, schema, batches, tokens=3, text_bytes=4), schema, batches


def arrow_footer_blocks(data: bytes) -> list[tuple[int, int]]:
    """(offset, length) of each record batch, read from the file's own footer with nothing but its format.

    A file ends with the footer (a flatbuffer), its length (int32) and ARROW1. A `Block` is a struct of 24 bytes:
    offset int64, metadata length int32, padding, body length int64. `recordBatches` is field 3 of the table.
    """
    footer_bytes = int.from_bytes(data[-10:-6], "little")
    footer = data[-10 - footer_bytes : -10]

    def number(at: int, size: int) -> int:
        return int.from_bytes(footer[at : at + size], "little", signed=True)

    table = number(0, 4)
    vtable = table - number(table, 4)
    field = number(vtable + 4 + 2 * 3, 2)
    if not field:
        return []
    vector = table + field + number(table + field, 4)
    starts = [vector + 4 + 24 * index for index in range(number(vector, 4))]
    return [(number(at, 8), number(at + 8, 4) + number(at + 16, 8)) for at in starts]
