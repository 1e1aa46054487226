"""Counted words in bounded memory: a table that grows as words come and is handed on when it may not grow further."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maskmill.pipeline.wordpiece.counting.pack_words import pack_words, unpack_words, view_strings
from maskmill.pipeline.wordpiece.counting.word_table import (
    PIECE_BYTES,
    SHAPE,
    add_tokens,
    clear_table,
    count_pieces,
    make_buffer,
    make_table,
    widen_table,
)

WORD_PARTITIONS = 16
"""Hash partitions of the words: what a unit that merges counts holds is one of them. A file more or less is felt on
an object store: with 64 a small run on S3 took twice as long as with 16."""
MAX_WORDS = 1 << 22
"""(word, source) pairs held before they are handed on: 240 MB, 0.4 GB at the peak while they are taken out."""
BUFFER_TOKENS = 1 << 13  # a buffer of 384 KiB; 2^10 to 2^14 are equally fast, 2^16 is slower by a tenth
BUFFER_PIECES = 1 << 14

_FIRST_WORDS = 1 << 12
_PIECES_A_WORD = 2

PartitionedWords = list[pa.RecordBatch]
"""Counted words, one batch of `WORD_ROWS_SCHEMA` a partition."""


class CountedWords:
    """Sums counts of (word, source) pairs.

    Args:
        max_words: Pairs held before they go to `spill`. 16 bytes a pair are held, or one word where it is longer.
        num_partitions: Into which `take` parts the words, by hash.
        spill: Takes what is held when more may not be held; every pair may come in any number of spills and in
            what `take` gives. Without it the table grows without a limit.
    """

    def __init__(
        self,
        *,
        max_words: int = MAX_WORDS,
        num_partitions: int = WORD_PARTITIONS,
        spill: Callable[[PartitionedWords], None] | None = None,
    ) -> None:
        self._max_words = max_words
        self._num_partitions = num_partitions
        self._spill = spill
        first_words = max(1, min(_FIRST_WORDS, max_words))
        self._table = make_table(first_words, _PIECES_A_WORD * first_words)
        self._buffer = make_buffer(BUFFER_TOKENS, BUFFER_PIECES)

    def add_tokens(self, tokens: npt.NDArray[np.int64], arena: npt.NDArray[np.uint64]) -> None:
        """Add tokens of a `TokenBuffer`."""
        token = add_tokens(self._table, tokens, arena, 0)
        while token < len(tokens):
            self._make_room(int(count_pieces(tokens[token, SHAPE])))
            token = add_tokens(self._table, tokens, arena, token)

    def add_rows(self, words: pa.Array, sources: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]) -> None:
        """Add words with their counts.

        Args:
            words: String array of N words without nulls.
            sources: (N,) the number of each one's source.
            counts: (N,) how often each occurs.
        """
        if len(words) == 0:
            return
        data, offsets = view_strings(words)
        # Written to or not is a part of a type for numba: copies, or all is compiled once more.
        sources, counts = np.array(sources, np.int32), np.array(counts, np.int64)
        row = 0
        while row < len(counts):
            row, num_tokens = pack_words(data, offsets, sources, counts, row, *self._buffer)
            if num_tokens:
                self.add_tokens(self._buffer.tokens[:num_tokens], self._buffer.arena)
            else:
                word_bytes = int(offsets[row + 1] - offsets[row])
                self._buffer = make_buffer(BUFFER_TOKENS, word_bytes // PIECE_BYTES + 1)

    def take(self) -> PartitionedWords:
        """Take the counts held so far, in the order they were first added, and hold none."""
        partitions = unpack_words(self._table, self._num_partitions)
        clear_table(self._table)
        return partitions

    def _make_room(self, num_pieces: int) -> None:
        """Widen the table for one more word of so many pieces, or hand on what it holds."""
        table = self._table
        held_words, held_pieces = table.used.tolist()
        max_words, max_pieces = len(table.records), len(table.pool)
        if held_words == max_words:
            max_words *= 2
        if held_pieces + num_pieces > max_pieces:
            max_pieces = max(2 * max_pieces, held_pieces + num_pieces)
        is_at_limit = max_words > self._max_words or max_pieces > _PIECES_A_WORD * self._max_words
        if self._spill is not None and held_words and is_at_limit:
            self._spill(self.take())
        else:
            self._table = widen_table(table, max_words, max_pieces)
