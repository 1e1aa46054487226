"""The Arrow schema of document shards."""

from __future__ import annotations

import pyarrow as pa

from maskmill.schemas.version import SCHEMA_VERSION

DOCUMENT_SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("line", pa.uint64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ],
    metadata={"maskmill_kind": "documents", "maskmill_schema_version": SCHEMA_VERSION},
)
"""One document per row: `doc_id`; `source`, under which it is counted; `path` (relative) and `line` (from 1) of its
input; `text`."""

QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("line", pa.uint64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("size_bytes", pa.uint64(), nullable=False),
        pa.field("content", pa.binary(), nullable=False),
    ],
    metadata={"maskmill_kind": "quarantine", "maskmill_schema_version": SCHEMA_VERSION},
)
"""One rejected input per row: its place, the reason, its length, and its bytes (the first MiB of a longer one)."""
KEPT_QUARANTINE_BYTES = 1 << 20
"""Bytes kept of a rejected input."""
