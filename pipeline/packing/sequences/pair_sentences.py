"""The sentences of which pairs are built, as places in the token ids of documents."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.pipeline.packing.cutting.split_documents import find_last_word_start
from maskmill.pipeline.packing.cutting.token_columns import CutPlaces, TokenColumns
from maskmill.schemas.run_file import Cut

PIECES, MIN_PIECE = 8, 8
"""A sentence that is too long is cut into pieces of so much of a pair, or so many tokens."""


class Sentences(NamedTuple):
    """The sentences of N documents, of which M have tokens.

    Attributes:
        starts: Where each begins in the ids, and where the last one ends; int64 (S + 1,).
        first: Document d has sentences `first[d]` to `first[d + 1] - 1`; int64 (N + 1,).
        documents: Those with tokens, int64 (M,).
    """

    starts: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]


def list_sentences(columns: TokenColumns, cut: Cut, limit: int) -> Sentences:
    """List the sentences of documents; one that is longer than a pair becomes pieces, which count as sentences.

    BERT's code would truncate it instead, and lose the rest. A piece has at most an eighth of the tokens of a pair, so
    that a chunk of pieces is hardly longer than a pair. It ends before a word, unless the word alone is longer or `cut`
    is `token`.

    Args:
        columns: The documents.
        cut: Whether pieces may end anywhere.
        limit: The most tokens of a pair.

    Raises:
        ValueError: Sentences are missing.
    """
    if columns.sentence_starts is None:
        raise ValueError("sentence_starts: expected a flag for every token, to make pairs of sentences")
    places = columns.find_places(Cut.TOKEN if cut is Cut.TOKEN else Cut.WORD)
    num_sentences = _list_sentences(places, limit, np.empty(0, np.int64), np.empty(0, np.int64))
    starts, first = np.empty(num_sentences + 1, np.int64), np.empty(columns.offsets.size, np.int64)
    _list_sentences(places, limit, starts, first)
    return Sentences(starts, first, np.flatnonzero(first[1:] > first[:-1]))


@njit(cache=True, nogil=True)
def _list_sentences(places: CutPlaces, limit: int, starts: npt.NDArray[np.int64], first: npt.NDArray[np.int64]) -> int:
    """Counts sentences, and writes them where there are arrays to write to."""
    writes = first.size > 0
    count = 0
    for document in range(places.offsets.size - 1):
        if writes:
            first[document] = count
        begin, end = places.offsets[document], places.offsets[document + 1]
        while begin < end:
            stop = begin + 1
            while stop < end and not places.sentences[stop]:
                stop += 1
            is_long = stop - begin > limit
            while begin < stop:
                if writes:
                    starts[count] = begin
                count += 1
                begin = _end_piece(places, begin, stop, max(MIN_PIECE, limit // PIECES)) if is_long else stop
    if writes:
        first[-1] = count
        starts[count] = places.offsets[-1]
    return count


@njit(cache=True, nogil=True)
def _end_piece(places: CutPlaces, begin: int, stop: int, most: int) -> int:
    if stop - begin <= most:
        return stop
    end: int = find_last_word_start(places.ids, places.forbidden, begin, begin + most)
    return end if end > begin else begin + most
