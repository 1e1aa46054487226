"""The Arrow schema of packed shards: one row of `seq_len` token ids with its boundaries and provenance."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import pyarrow as pa
from pydantic import Field

from maskmill.schemas.version import SCHEMA_VERSION

MIN_SEQ_LEN = 32
MAX_SEQ_LEN = 65_536
SeqLen = Annotated[int, Field(ge=MIN_SEQ_LEN, le=MAX_SEQ_LEN)]
"""Token ids in a row, in run files and manifests."""
MIN_SEQUENCE_TOKENS = 3  # [CLS], a token, [SEP]
MIN_SEGMENT_TOKENS = 2  # a token, [SEP]
BLOCK_BYTES = 256 * 1024


class Compression(StrEnum):
    """How the blocks of an Arrow file are compressed."""

    NONE = "none"
    LZ4 = "lz4"
    ZSTD = "zstd"


def encoded_schema(vocab_size: int) -> pa.Schema:
    """The schema of an encoded shard: a row a document of the document shard, in its order.

    `is_rejected` marks a document that could not be encoded; it has no ids.
    """
    ids = pa.list_(pa.field("item", id_type(vocab_size), nullable=False))
    fields = [pa.field("input_ids", ids, nullable=False), pa.field("is_rejected", pa.bool_(), nullable=False)]
    return pa.schema(fields, metadata={"maskmill_kind": "encoded", "maskmill_schema_version": SCHEMA_VERSION})


def id_type(vocab_size: int) -> pa.DataType:
    """The narrowest unsigned type that holds every id: uint16 up to 65,536 pieces, else uint32."""
    return pa.uint16() if vocab_size <= 1 << 16 else pa.uint32()


def rows_per_block(seq_len: int, vocab_size: int) -> int:
    """How many rows make a block of about 256 KiB of token ids; at least one."""
    row_bytes = seq_len * id_type(vocab_size).bit_width // 8
    return max(1, int(BLOCK_BYTES // row_bytes))


def packed_row_schema(seq_len: int, vocab_size: int, copies: int) -> pa.Schema:
    """The schema of a packed shard.

    Args:
        seq_len: Token ids in a row.
        vocab_size: Decides the width of an id.
        copies: Static mask copies; each adds three columns.
    """
    ids = id_type(vocab_size)

    def lists_of(name: str, values: pa.DataType) -> pa.Field:
        return pa.field(name, pa.list_(pa.field("item", values, nullable=False)), nullable=False)

    fields = [
        pa.field("input_ids", pa.list_(pa.field("item", ids, nullable=False), seq_len), nullable=False),
        lists_of("sequence_lengths", pa.uint16()),
        lists_of("segment_lengths", pa.uint16()),
        lists_of("segment_document", pa.uint64()),
        lists_of("segment_offset", pa.uint32()),
    ]
    for copy in range(copies):
        fields += [
            lists_of(f"mask_{copy}_positions", pa.uint16()),
            lists_of(f"mask_{copy}_input_ids", ids),
            lists_of(f"mask_{copy}_labels", ids),
        ]
    return pa.schema(fields, metadata={"maskmill_kind": "packed", "maskmill_schema_version": SCHEMA_VERSION})
