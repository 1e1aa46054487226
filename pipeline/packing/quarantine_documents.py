"""Keep the documents that fit into no row for inspection: the id of each, the reason, and its bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maskmill.pipeline.packing.cutting.cut_rules import max_segment_tokens
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.documents import KEPT_QUARANTINE_BYTES, QUARANTINED_DOCUMENT_SCHEMA
from maskmill.schemas.layout import quarantined_documents_path

_BLOCK_BYTES = 1 << 22


def explain_too_long(documents: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], seq_len: int) -> dict[int, str]:
    """Reasons why documents that may not be cut do not fit into a row of `seq_len` places.

    Args:
        documents: Their indices.
        offsets: Where each of the shard's documents begins in the ids, (N + 1,).
        seq_len: Of the longest row.
    """
    fitting = max_segment_tokens(seq_len)
    return {
        index: f"longer than a row: {offsets[index + 1] - offsets[index]} tokens where {fitting} fit into "
        f'{seq_len} places, and pack.split = "never"'
        for index in documents.tolist()
    }


def write_quarantine(output: Store, folder: str, shard: int, documents: pa.Table, reasons: Mapping[int, str]) -> None:
    """Write the quarantine of a document shard and a packed dataset; nothing where there is nothing.

    Args:
        output: The run's output.
        folder: Of the packed dataset.
        shard: Number of the document shard.
        documents: Its documents.
        reasons: Why, by index.
    """
    if reasons:
        path = quarantined_documents_path(folder, shard)
        write_blocks(output, path, QUARANTINED_DOCUMENT_SCHEMA, _iter_blocks(documents, reasons))


def _iter_blocks(documents: pa.Table, reasons: Mapping[int, str]) -> Iterator[pa.RecordBatch]:
    rows: list[tuple[str, str, int, bytes]] = []
    held_bytes = 0
    ids, texts = documents.column("doc_id"), documents.column("text")
    for index in sorted(reasons):
        content = texts[index].as_buffer()
        kept = content.slice(0, min(content.size, KEPT_QUARANTINE_BYTES)).to_pybytes()
        rows.append((ids[index].as_py(), reasons[index], content.size, kept))
        held_bytes += len(kept)
        if held_bytes >= _BLOCK_BYTES:
            yield _to_batch(rows)
            rows, held_bytes = [], 0
    if rows:
        yield _to_batch(rows)


def _to_batch(rows: list[tuple[str, str, int, bytes]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, QUARANTINED_DOCUMENT_SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=QUARANTINED_DOCUMENT_SCHEMA)
