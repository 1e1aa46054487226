"""Packed rows: `seq_len` token ids with their boundaries, provenance and stored masks.

`ROW_COLUMNS` is the only table of a row's columns. The writer, the reader and its checks, the loader's staged rows, the
device transfer and `verify` all use it: a new column is an entry here, and the code that makes and uses it.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    """The schema of an encoded shard: one row per document of the document shard, in its order.

    `is_rejected` marks a document that could not be encoded; it has no ids.
    """
    ids = pa.list_(pa.field("item", id_type(vocab_size), nullable=False))
    fields = [pa.field("input_ids", ids, nullable=False), pa.field("is_rejected", pa.bool_(), nullable=False)]
    return pa.schema(fields, metadata={"maskmill_kind": "encoded", "maskmill_schema_version": SCHEMA_VERSION})


def id_type(vocab_size: int) -> pa.DataType:
    """The narrowest unsigned type for all ids: uint16 up to 65,536 pieces, else uint32."""
    return pa.uint16() if vocab_size <= 1 << 16 else pa.uint32()


def rows_per_block(seq_len: int, vocab_size: int) -> int:
    """The number of rows in a block of about 256 KiB of token ids; at least one."""
    row_bytes = seq_len * id_type(vocab_size).bit_width // 8
    return max(1, int(BLOCK_BYTES // row_bytes))


class Per(StrEnum):
    """What a column has one value for. In a row, all columns of one kind have equally many values."""

    TOKEN = "token"  # noqa: S105 - not a password
    """Each of the `seq_len` positions of a row."""
    SEQUENCE = "sequence"
    SEGMENT = "segment"
    MASKED = "masked position"
    """Each position that a stored copy of the masks predicts; every copy has its own columns."""


class Of(StrEnum):
    """Some of the datasets."""

    ALL = "all"
    PAIRS = "pairs"
    """Those whose sequences are pairs of segments with a label."""
    WORDS = "words"
    """Those that store where words start, because a segmenter found it."""
    NONE = "none"

    def includes(self, *, pairs: bool = False, words: bool = False) -> bool:
        """Whether a dataset is among them, given whether it has pairs and whether it stores word starts."""
        return self is Of.ALL or (pairs and self is Of.PAIRS) or (words and self is Of.WORDS)


@dataclass(frozen=True)
class RowColumn:
    """One column of a packed row.

    Attributes:
        name: Its name; in a file, copy k of the masks has `mask_{k}_` where this has `mask_`.
        per: What it has one value for.
        type: The type of a value; `None` for that of token ids, which depends on the vocabulary size.
        staged: The datasets whose batches use it; a loader leaves other columns in their blocks.
        stored: The datasets that have it.
        below: An exclusive upper bound of the values; that of token ids is the vocabulary size. `None`: no bound.
    """

    name: str
    per: Per
    type: pa.DataType | None
    staged: Of
    stored: Of = Of.ALL
    below: int | None = None

    def type_of(self, vocab_size: int) -> pa.DataType:
        """The type of a value."""
        return id_type(vocab_size) if self.type is None else self.type

    def limit_of(self, vocab_size: int) -> int | None:
        """The exclusive upper bound of the values, if there is one."""
        return vocab_size if self.type is None else self.below

    def name_of(self, copy: int) -> str:
        """The name in a file, for a stored copy of the masks."""
        return self.name.replace("mask", f"mask_{copy}", 1)


INPUT_IDS, WORD_STARTS = "input_ids", "word_starts"
SEQUENCE_LENGTHS, SEGMENT_LENGTHS = "sequence_lengths", "segment_lengths"
SEQUENCE_LABELS, NUM_LABELS = "sequence_labels", 2
MASK_POSITIONS, MASK_INPUT_IDS, MASK_LABELS = "mask_positions", "mask_input_ids", "mask_labels"

ROW_COLUMNS = (
    RowColumn(INPUT_IDS, Per.TOKEN, None, Of.ALL),
    RowColumn(WORD_STARTS, Per.TOKEN, pa.bool_(), Of.WORDS, stored=Of.WORDS),
    RowColumn(SEQUENCE_LENGTHS, Per.SEQUENCE, pa.uint16(), Of.ALL),
    RowColumn(SEGMENT_LENGTHS, Per.SEGMENT, pa.uint16(), Of.PAIRS),
    RowColumn("segment_document", Per.SEGMENT, pa.uint64(), Of.NONE),
    RowColumn("segment_offset", Per.SEGMENT, pa.uint32(), Of.NONE),
    RowColumn(SEQUENCE_LABELS, Per.SEQUENCE, pa.uint8(), Of.PAIRS, stored=Of.PAIRS, below=NUM_LABELS),
    RowColumn(MASK_POSITIONS, Per.MASKED, pa.uint16(), Of.ALL),
    RowColumn(MASK_INPUT_IDS, Per.MASKED, None, Of.ALL),
    RowColumn(MASK_LABELS, Per.MASKED, None, Of.ALL),
)
"""In the order of a file, in which the columns of the masks are repeated for each copy."""


def columns_per(per: Per, *, pairs: bool = False, words: bool = False) -> tuple[RowColumn, ...]:
    """The columns of one kind, with those that only datasets of pairs or of stored word starts have, in file order."""
    stored = (column for column in ROW_COLUMNS if column.stored.includes(pairs=pairs, words=words))
    return tuple(column for column in stored if column.per is per)


def list_columns(*, pairs: bool = False) -> tuple[RowColumn, ...]:
    """The lists in every row besides those of masks, in the order of a file."""
    return tuple(
        column
        for column in ROW_COLUMNS
        if column.per in (Per.SEQUENCE, Per.SEGMENT) and column.stored.includes(pairs=pairs)
    )


def staged_lists(*, pairs: bool = False) -> dict[Per, tuple[RowColumn, ...]]:
    """The columns of lists that batches use, by kind."""
    return {
        per: columns
        for per in (Per.SEQUENCE, Per.SEGMENT, Per.MASKED)
        if (columns := tuple(column for column in columns_per(per, pairs=pairs) if column.staged.includes(pairs=pairs)))
    }


def most_values(seq_len: int, most_masked: int) -> dict[Per, int]:
    """The maximum number of values of each kind in a row of `seq_len` tokens with at most `most_masked` masked ones."""
    return {
        Per.TOKEN: seq_len,
        Per.SEQUENCE: seq_len // MIN_SEQUENCE_TOKENS,
        Per.SEGMENT: seq_len // MIN_SEGMENT_TOKENS,
        Per.MASKED: most_masked,
    }


def packed_row_schema(
    seq_len: int, vocab_size: int, copies: int, *, pairs: bool = False, words: bool = False
) -> pa.Schema:
    """The schema of a packed shard.

    Args:
        seq_len: Token ids in a row.
        vocab_size: Decides the width of an id.
        copies: Number of static mask copies; each adds the columns of the masks.
        pairs: Whether sequences are pairs, which have a label.
        words: Whether rows store where words start.
    """

    def describe(column: RowColumn, name: str) -> pa.Field:
        values = pa.field("item", column.type_of(vocab_size), nullable=False)
        lists = pa.list_(values, seq_len) if column.per is Per.TOKEN else pa.list_(values)
        return pa.field(name, lists, nullable=False)

    columns = (*columns_per(Per.TOKEN, words=words), *list_columns(pairs=pairs))
    fields = [describe(column, column.name) for column in columns]
    fields += [describe(column, column.name_of(copy)) for copy in range(copies) for column in columns_per(Per.MASKED)]
    return pa.schema(fields, metadata={"maskmill_kind": "packed", "maskmill_schema_version": SCHEMA_VERSION})
