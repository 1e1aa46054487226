"""Count the words of raw text as a WordPiece trainer wants them: normalised and pre-tokenised.

    texts --scan--> letters, characters to ask --split--> tokens --table--> (word, source, count)

All text goes through one compiled path: a table of what `tokenizers` makes of each character (`map_characters`). Only
a word with a character that depends on its neighbours goes through `tokenizers` as a whole.

There is no table of whitespace-delimited chunks in front of it, counted first so that each is normalised once: with
normalising this cheap it costs more than it saves. Splitting and counting on one core, 64 MB of English novels: 0.53 s
for words alone, 0.77 s by way of chunks; 27 MB of technical English: 0.22 and 0.26 s; 3.8 MB of Chinese: 0.046 and
0.067 s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.wordpiece.counting.count_letters import LetterCounter
from maskmill.pipeline.wordpiece.counting.counted_words import (
    BUFFER_PIECES,
    BUFFER_TOKENS,
    MAX_WORDS,
    CountedWords,
    PartitionedWords,
)
from maskmill.pipeline.wordpiece.counting.map_characters import CharacterMap
from maskmill.pipeline.wordpiece.counting.pack_words import WORD_ROWS_SCHEMA, view_strings
from maskmill.pipeline.wordpiece.counting.split_words import split_texts
from maskmill.pipeline.wordpiece.counting.word_table import LENGTH_SHIFT, PIECE_BYTES, RAW, SHAPE, START, make_buffer
from maskmill.pipeline.wordpiece.files.normalise import Normalisation

_MAX_ASIDE_BYTES = 1 << 22
_ASIDE_ENTRY_BYTES = 128  # of a dictionary's entry, beside the bytes of the word


class WordCounter:
    """Counts the words of texts, for each source apart, in bounded memory.

    Special tokens are not known here: `[MASK]` in a text is three words.

    Args:
        normalisation: What makes words of text.
        num_sources: How many sources there are; at most 2^16.
        max_words: (word, source) pairs held before they are handed to `spill`.
        spill: Takes partial counts (as `take` gives them) when more may not be held; `CountedWords` sums them.
            Without it the table grows without a limit.

    Attributes:
        text_bytes: (sources,) int64, bytes of text added so far.
        letters: (sources, 2) int64, letters so far and those of them that stripping accents changes.
        words_changed: (sources,) int64, words with such a letter.
    """

    def __init__(
        self,
        normalisation: Normalisation,
        *,
        num_sources: int = 1,
        max_words: int = MAX_WORDS,
        spill: Callable[[PartitionedWords], None] | None = None,
    ) -> None:
        self._characters = CharacterMap(normalisation)
        self._words = CountedWords(max_words=max_words, spill=spill)
        self._buffer = make_buffer(BUFFER_TOKENS, BUFFER_PIECES)
        self._aside: Counter[tuple[int, bytes]] = Counter()
        self._aside_bytes = 0
        self.text_bytes: npt.NDArray[np.int64] = np.zeros(num_sources, np.int64)
        self._letters = LetterCounter(self._characters, num_sources)
        self.letters = self._letters.letters
        self.words_changed = self._letters.words_changed

    def add(
        self,
        texts: pa.Array | Sequence[bytes],
        sources: npt.NDArray[np.int32] | None = None,
    ) -> None:
        """Count the words of some texts.

        Args:
            texts: A string or binary array without nulls, or UTF-8 bytes objects.
            sources: (texts,) the number of each one's source; all are of source 0 by default.

        Raises:
            InputDataError: If a text is not UTF-8.
        """
        if not isinstance(texts, pa.Array):
            texts = pa.array(texts, pa.large_binary())
        if texts.null_count:
            raise ValueError("a text to count is null")
        if len(texts) == 0:
            return
        # Written to or not is a part of a type for numba: a copy, or all is compiled once more.
        sources = np.zeros(len(texts), np.int32) if sources is None else np.array(sources, np.int32)
        data, offsets = view_strings(texts)
        np.add.at(self.text_bytes, sources, np.diff(offsets))
        self._letters.add(data, offsets, sources)
        self._split(data, offsets, sources)

    def take(self) -> PartitionedWords:
        """The counts since the start, the last spill or the last `take`."""
        self._split_aside()
        return self._words.take()

    def finish(self) -> pa.Table:
        """Take the counts as one table of `WORD_ROWS_SCHEMA`, sorted by the word's UTF-8 bytes and the source."""
        return sort_words(pa.Table.from_batches(self.take(), WORD_ROWS_SCHEMA))

    def _split(
        self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], sources: npt.NDArray[np.int32]
    ) -> None:
        order = np.argsort(sources, kind="stable")  # a source's words are looked up together, near each other
        characters = (self._characters.bytes_of_ascii, self._characters.entries, self._characters.pool)
        index = 0
        position = int(offsets[order[0]])
        while index < len(order):
            index, position, num_tokens, num_raw = split_texts(
                data, offsets, sources, order, index, position, characters, *self._buffer
            )
            tokens, arena = self._buffer.tokens[:num_tokens], self._buffer.arena
            if num_raw:
                tokens = self._put_aside(tokens, arena)
            self._words.add_tokens(tokens, arena)
            if num_tokens == 0 and index < len(order):
                self._buffer = make_buffer(BUFFER_TOKENS, 2 * len(arena))
            if self._aside_bytes > _MAX_ASIDE_BYTES:
                self._split_aside()

    def _put_aside(self, tokens: npt.NDArray[np.int64], arena: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Keep the raw tokens for `tokenizers`; returns the others."""
        is_raw = (tokens[:, SHAPE] & RAW) != 0
        arena_bytes = arena.view(np.uint8)
        for token in tokens[is_raw]:
            start = int(token[START]) * PIECE_BYTES
            word = arena_bytes[start : start + int(token[SHAPE] >> LENGTH_SHIFT)].tobytes()
            self._aside[int(token[SHAPE]) & (RAW - 1), word] += 1
            self._aside_bytes += len(word) + _ASIDE_ENTRY_BYTES
        others: npt.NDArray[np.int64] = tokens[~is_raw]
        return others

    def _split_aside(self) -> None:
        """Count what `tokenizers` makes of the words that were put aside."""
        rows = [
            (word, source, count)
            for (source, raw), count in self._aside.items()
            for word in self._characters.split(raw.decode())
        ]
        self._aside.clear()
        self._aside_bytes = 0
        if rows:
            words, sources, counts = zip(*rows, strict=True)
            self._words.add_rows(pa.array(words, pa.large_string()), np.array(sources, np.int32), np.array(counts))


def sort_words(rows: pa.Table) -> pa.Table:
    """Sort distinct (word, source) rows by the UTF-8 bytes of the word, which is by code point, then by source."""
    # Bytes, not strings: what Arrow compares is then beyond doubt.
    keys = pa.table({"word": rows["word"].cast(pa.large_binary()), "source": rows["source"]})
    order = pc.sort_indices(keys, [("word", "ascending"), ("source", "ascending")])
    return rows.take(order)
