"""The Arrow schemas of document shards and of the quarantine."""

from __future__ import annotations

import pyarrow as pa

from maskmill.schemas.version import DOCUMENTS_MANIFEST_VERSION, SCHEMA_VERSION, split_version

DOCUMENT_SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ],
    metadata={"maskmill_kind": "documents", "maskmill_schema_version": DOCUMENTS_MANIFEST_VERSION},
)
"""One document per row: `doc_id`; `source`, under which it is counted; `text`. Nothing says which file it came from: a
corpus gives the same shards in one file or in many, whatever their format."""

PLACED_DOCUMENT_SCHEMA = pa.schema(
    [
        *list(DOCUMENT_SCHEMA)[:2],
        pa.field("path", pa.string(), nullable=False),
        pa.field("line", pa.uint64(), nullable=False),
        DOCUMENT_SCHEMA.field("text"),
    ],
    metadata={"maskmill_kind": "documents", "maskmill_schema_version": SCHEMA_VERSION},
)
"""What versions before 2.4 wrote: with `path` and `line` of the input, which no reader uses."""


def document_schema(version: str) -> pa.Schema:
    """The schema of the document shards of a dataset, by the `schema_version` of its manifest."""
    is_placed = (split_version(version) or (0, 0)) < (split_version(DOCUMENTS_MANIFEST_VERSION) or (0, 0))
    return PLACED_DOCUMENT_SCHEMA if is_placed else DOCUMENT_SCHEMA


_QUARANTINE_METADATA = {"maskmill_kind": "quarantine", "maskmill_schema_version": DOCUMENTS_MANIFEST_VERSION}
_REJECTED = [
    pa.field("reason", pa.string(), nullable=False),
    pa.field("size_bytes", pa.uint64(), nullable=False),
    pa.field("content", pa.binary(), nullable=False),
]
_PLACE = [pa.field("path", pa.string(), nullable=False), pa.field("line", pa.uint64(), nullable=False)]

NUMBERED_SCHEMA = DOCUMENT_SCHEMA.append(pa.field("place", pa.uint64(), nullable=False))
"""The same with `place`, the number of the input file * 2^40 + the line: of near duplicates the first place stays."""

QUARANTINE_SCHEMA = pa.schema(
    [*_PLACE, pa.field("first_byte", pa.uint64(), nullable=False), *_REJECTED], metadata=_QUARANTINE_METADATA
)
"""One rejected input per row: its file; its line or row, from 1, counted from the byte `first_byte` of the file, 0
unless that was read in parts; the reason, its length, and its bytes (the first MiB of a longer one)."""
QUARANTINED_DOCUMENT_SCHEMA = pa.schema([DOCUMENT_SCHEMA.field("doc_id"), *_REJECTED], metadata=_QUARANTINE_METADATA)
"""One document that fits into no row per row: its id, and the same."""
PLACED_QUARANTINE_SCHEMA = pa.schema(
    [*_PLACE, *_REJECTED], metadata=_QUARANTINE_METADATA | {"maskmill_schema_version": SCHEMA_VERSION}
)
"""What versions before 2.4 wrote of both."""
KEPT_QUARANTINE_BYTES = 1 << 20
"""Bytes kept of a rejected input."""
