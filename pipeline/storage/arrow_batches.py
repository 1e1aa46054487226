"""Read record batches; with `arrow_reader`, the only modules that read Arrow files. All is validated before it is used.

A checksum shows that bytes are unchanged, not that their writer was honest. So for every record batch

1. the declared sizes are compared with the schema and with the bytes at hand, before anything is decompressed;
2. the number of rows, where the reader knows it, must be right;
3. offsets must rise within their values;
4. Arrow's own full validation follows: text is UTF-8, and what is compressed decompresses to sound arrays. Only
   `view_batch` leaves it out, for numbers and lists that are not compressed: there nothing is left to refuse.

Any violation is a `ShardCorruptError` that names the file and the record batch, never an error of Arrow.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from maskmill.pipeline.storage.arrow_layout import CODECS, BatchLayout
from maskmill.pipeline.storage.arrow_metadata import FAULTS, WRONG_ROWS, check_batch
from maskmill.pipeline.storage.arrow_views import BatchBuffers
from maskmill.schemas.errors import RESTORE, ShardCorruptError
from maskmill.schemas.rows import Compression


@lru_cache(64)
def layout_of(schema: pa.Schema) -> BatchLayout:
    """Of a schema without limits of its lists, kept."""
    return BatchLayout.of(schema)


def read_batch(
    data: pa.Buffer | bytes,
    layout: BatchLayout,
    path: str,
    place: str,
    num_rows: int | None = None,
    compression: Compression = Compression.NONE,
) -> pa.RecordBatch:
    """One record batch, validated. Zero-copy unless it is compressed.

    Args:
        data: The message and its body.
        layout: Of its schema.
        path: The file, for messages.
        place: Which one it is, for messages.
        num_rows: Rows that it must have, where that is known.
        compression: Which it must have.

    Raises:
        ShardCorruptError: It is not a record batch of this schema, rows and compression.
    """
    _find_buffers(data, layout, path, place, num_rows, compression)
    return _read_by_arrow(data, layout, path, place)


def view_batch(
    data: pa.Buffer | bytes,
    layout: BatchLayout,
    path: str,
    place: str,
    num_rows: int,
    compression: Compression = Compression.NONE,
) -> BatchBuffers:
    """The buffers of one record batch of numbers and lists of numbers, validated; see `read_batch`.

    Without Arrow where it is not compressed: every value that Arrow would check then is checked already.
    """
    found, spans = _find_buffers(data, layout, path, place, num_rows, compression)
    if compression is Compression.NONE:
        return BatchBuffers.of_bytes(found, spans)
    return BatchBuffers.of_batch(_read_by_arrow(data, layout, path, place))


def _find_buffers(
    data: pa.Buffer | bytes,
    layout: BatchLayout,
    path: str,
    place: str,
    num_rows: int | None,
    compression: Compression,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes of a record batch whose metadata was validated, and where in them each buffer is."""
    view = np.frombuffer(data, np.uint8)
    view.flags.writeable = False  # to numba another type
    rows = -1 if num_rows is None else num_rows
    spans = np.empty((layout.num_buffers, 2), np.int64)
    fault, node, found = check_batch(view, layout.nodes, rows, CODECS[compression], spans)
    if fault == WRONG_ROWS and num_rows is not None:
        raise ShardCorruptError(
            "a block and the table of shards disagree on the number of rows",
            path=path,
            place=place,
            expected=str(num_rows),
            found=str(found),
            action="write the dataset again",
        )
    if fault:
        column = f"column {_name_column(layout, node)}: " if node >= 0 else ""
        raise invalid_batch(f"{column}{FAULTS[fault]}", path, place, f"found {found}" if column else None)
    return view, spans


def _read_by_arrow(data: pa.Buffer | bytes, layout: BatchLayout, path: str, place: str) -> pa.RecordBatch:
    try:
        batch = pa.ipc.read_record_batch(pa.ipc.read_message(data), layout.schema)
        batch.validate(full=True)
    except (pa.ArrowException, OSError) as error:  # the latter of data that does not decompress
        raise invalid_batch(str(error).partition("\n")[0], path, place) from None
    return batch


def read_block(data: pa.Buffer | bytes, schema: pa.Schema, checksum: int, path: str, block: int) -> pa.RecordBatch:
    """One block that is not compressed, its checksum compared first, then validated. Zero-copy.

    Args:
        data: The block.
        schema: Of the file.
        checksum: xxh3-64 of the block.
        path: The file, for messages.
        block: Its number, for messages.

    Raises:
        ShardCorruptError: The bytes are not those that were written, or are not a block of this schema.
    """
    check_block(data, checksum, path, block)
    return read_batch(data, layout_of(schema), path, f"block {block}")


def check_block(data: pa.Buffer | bytes, checksum: int, path: str, block: int) -> None:
    """Compare a block with its xxh3-64.

    Raises:
        ShardCorruptError: They differ.
    """
    found = xxhash.xxh3_64_intdigest(data)
    if found != checksum:
        raise ShardCorruptError(
            "the bytes of a block have changed",
            path=path,
            place=f"block {block}",
            expected=f"xxh3-64 {checksum:016x}",
            found=f"{found:016x} over {memoryview(data).nbytes} bytes",
            action="restore the file from a good copy, or write the dataset again",
        )


def _name_column(layout: BatchLayout, node: int) -> str:
    """The column that an array belongs to."""
    tops = np.flatnonzero(layout.nodes[: node + 1, 2] < 0)
    return str(layout.schema.names[len(tops) - 1])


def invalid_batch(what: str, path: str, place: str, found: str | None = None) -> ShardCorruptError:
    """The error for a record batch that is not as it must be."""
    return ShardCorruptError(
        "the record batch is invalid",
        path=path,
        place=place,
        expected="what maskmill writes",
        found=what + (f", {found}" if found else ""),
        action=RESTORE,
    )
