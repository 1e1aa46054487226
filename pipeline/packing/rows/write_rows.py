"""Rows to packed shards: static masks beside every row, and blocks on storage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from maskmill.pipeline.masking.static_masks import static_masks
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.pipeline.packing.rows.packed_rows import PackedRows, RowLists
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.layout import packed_shard_path
from maskmill.schemas.masking import Masking
from maskmill.schemas.receipt import ShardReceipt
from maskmill.schemas.rows import (
    INPUT_IDS,
    SEQUENCE_LABELS,
    WORD_STARTS,
    Compression,
    list_columns,
    packed_row_schema,
    rows_per_block,
)


@dataclass(frozen=True)
class RowWriter:
    """Writes the rows of document shards.

    Attributes:
        output: The run's output.
        tables: Of the vocabulary, which decides the width of an id; static masks are drawn from them.
        masking: Settings of the static masks.
        copies: How many of them.
        rows_per_shard: Rows in a packed shard at most; None: all rows of a document shard.
        compression: Of the blocks.
        pairs: Whether sequences are pairs, which have a label.
        words: Whether rows store where words start.
    """

    output: Store
    tables: MaskTables
    masking: Masking
    copies: int
    rows_per_shard: int | None
    compression: Compression
    pairs: bool = False
    words: bool = False

    def write(self, folder: str, document_shard: int, rows: PackedRows, text_bytes: int) -> list[ShardReceipt]:
        """Write the rows of a document shard as one packed shard, or as several.

        Row r has the id `document_shard * 2^32 + r` whatever file it is in, so that neither the file's size nor its
        number changes a mask. Without a row there is one file without blocks.

        Args:
            folder: Of the dataset.
            document_shard: Its number.
            rows: R rows of S places.
            text_bytes: UTF-8 bytes that they were encoded from; a shard of several is said to hold the share that
                falls to its tokens.
        """
        seq_len = rows.input_ids.shape[1]
        vocab_size = self.tables.vocabulary.vocab_size
        schema = packed_row_schema(seq_len, vocab_size, self.copies, pairs=self.pairs, words=self.words)
        size = self.rows_per_shard or max(1, len(rows))
        starts = list(range(0, max(1, len(rows)), size))
        tokens = [count_tokens(rows.slice(start, start + size)) for start in starts]
        shares = share_by_tokens(text_bytes, tokens)
        return [
            write_blocks(
                self.output,
                packed_shard_path(folder, document_shard, part, is_whole=self.rows_per_shard is None),
                schema,
                self._iter_blocks(rows.slice(start, start + size), (document_shard << 32) + start, schema),
                tokens=tokens[part],
                text_bytes=shares[part],
                first_row_id=(document_shard << 32) + start,
                compression=self.compression,
            )
            for part, start in enumerate(starts)
        ]

    def _iter_blocks(self, rows: PackedRows, first_row_id: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        block_rows = rows_per_block(rows.input_ids.shape[1], self.tables.vocabulary.vocab_size)
        for start in range(0, len(rows), block_rows):
            block = rows.slice(start, start + block_rows)
            yield make_block(block, first_row_id + start, schema, self.tables, self.masking, self.copies)


def make_block(
    rows: PackedRows, first_row_id: int, schema: pa.Schema, tables: MaskTables, masking: Masking, copies: int
) -> pa.RecordBatch:
    """Make the record batch of the rows of one block, with their static copies.

    Args:
        rows: R rows of S places.
        first_row_id: The id of the first; the others follow.
        schema: Of the shard.
        tables: The masks are drawn from them.
        masking: Settings of the masks.
        copies: How many of them.
    """
    per_token = {INPUT_IDS: rows.input_ids, WORD_STARTS: rows.word_starts}
    arrays: list[pa.Array] = [
        *(
            pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), type=schema.field(name).type)
            for name, values in per_token.items()
            if values is not None
        ),
        *(_list_array(rows.lists[column.name]) for column in list_columns(pairs=SEQUENCE_LABELS in schema.names)),
    ]
    row_ids = np.arange(len(rows), dtype=np.uint64) + np.uint64(first_row_id)
    for copy in range(copies):
        offsets, *columns = static_masks(rows.input_ids, row_ids, copy, masking, tables, rows.word_starts)
        arrays += [_list_array(RowLists(offsets, column)) for column in columns]
    cast = [array.cast(field.type) for array, field in zip(arrays, schema, strict=True)]
    return pa.record_batch(cast, schema=schema)


def count_tokens(rows: PackedRows) -> int:
    """Tokens of documents in rows: all places but [CLS], one a sequence, and [SEP], one a segment, and [PAD]."""
    segments = rows.segment_lengths.values
    return int(segments.sum(dtype=np.int64)) - len(segments) - len(rows.sequence_lengths.values)


def share_by_tokens(text_bytes: int, tokens: list[int]) -> list[int]:
    """Cut a number of bytes into whole shares that add up to it, by tokens; without any, all is the first's."""
    total = sum(tokens)
    if not total:
        return [text_bytes, *[0] * (len(tokens) - 1)] if tokens else []
    ends = [text_bytes * int(end) // total for end in np.cumsum(tokens, dtype=np.int64)]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _list_array(lists: RowLists[Any]) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(lists.offsets), pa.array(lists.values))
