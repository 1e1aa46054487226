"""Documents for the laws of packing: every token has its own id, so none can be mistaken for another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from maskmill.pipeline.packing.cutting.token_columns import TokenColumns

CLS, SEP, PAD = 1, 2, 0
FIRST_ID = 3


@dataclass(frozen=True)
class Documents:
    """Token columns, and the same as plain lists: `words[d]` are the word lengths of document d.

    Every n-th word of all documents starts a sentence, as every document's first one does.
    """

    words: list[list[int]]
    sentence_every: int = 5

    @property
    def lengths(self) -> list[int]:
        return [sum(document) for document in self.words]

    @property
    def offsets(self) -> np.ndarray:
        return np.cumsum([0, *self.lengths], dtype=np.int64)

    @property
    def ids(self) -> np.ndarray:
        return np.arange(FIRST_ID, FIRST_ID + sum(self.lengths), dtype=np.uint32)

    @property
    def is_continuation(self) -> np.ndarray:
        flags = [False] * FIRST_ID
        for document in self.words:
            for word in document:
                flags += [False] + [True] * (word - 1)
        return np.array(flags, dtype=np.bool_)

    def word_starts(self, document: int) -> set[int]:
        """Positions within the document at which a word starts."""
        starts, position = set(), 0
        for word in self.words[document]:
            starts.add(position)
            position += word
        return starts

    def sentences(self, document: int) -> list[int]:
        """Positions within the document at which a sentence starts, rising."""
        before = sum(len(words) for words in self.words[:document])
        starts, position = [], 0
        for number, word in enumerate(self.words[document]):
            if number == 0 or (before + number) % self.sentence_every == 0:
                starts.append(position)
            position += word
        return starts

    @property
    def sentence_starts(self) -> np.ndarray:
        flags = np.zeros(sum(self.lengths), np.bool_)
        for document, first in enumerate(self.offsets[:-1].tolist()):
            flags[[first + start for start in self.sentences(document)]] = True
        return flags

    def columns(self, *, with_sentences: bool = False) -> TokenColumns:
        sentence_starts = self.sentence_starts if with_sentences else None
        return TokenColumns(self.ids, self.offsets, self.is_continuation, sentence_starts)

    def tokens(self, document: int) -> list[int]:
        begin = FIRST_ID + sum(self.lengths[:document])
        return list(range(begin, begin + self.lengths[document]))


def documents(max_word: int = 40) -> st.SearchStrategy[Documents]:
    word = st.one_of(st.integers(1, 4), st.integers(1, max_word))
    return st.builds(Documents, st.lists(st.lists(word, max_size=30), max_size=12), st.integers(1, 9))


@st.composite
def row_settings(draw: st.DrawFn) -> tuple[int, int]:
    """A (seq_len, min_segment) that go together."""
    seq_len = draw(st.integers(3, 40))
    return seq_len, draw(st.integers(1, max(1, seq_len // 2)))
