"""Cut documents into segments, each short enough for a row.

A document that fits stays whole: a cut takes context from both its sides, and best-fit packing fills the rows
all the same ("Fewer Truncations Improve Language Modeling", arXiv 2404.10830). A longer one becomes pieces as
full as the places to cut at allow, and a remainder.

    tokens   w1 w2 ##a w3 | w4 ##b w5 | w6 w7 ##c        cuts (|) fall before a token that is no continuation
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.pipeline.packing.cutting.cut_rules import SPECIAL_TOKENS_PER_SEQUENCE, CutRules
from maskmill.pipeline.packing.cutting.token_columns import CutPlaces, TokenColumns, TokenIds
from maskmill.schemas.run_file import Split


@dataclass(frozen=True, slots=True)
class Segments:
    """Contiguous pieces of documents (D segments).

    Attributes:
        document: Index of the document each segment is from, int64 (D,).
        start: Tokens of the document before the segment, uint32 (D,).
        num_tokens: Tokens in the segment without `[CLS]` and `[SEP]`, at least 1, int32 (D,).
    """

    document: npt.NDArray[np.int64]
    start: npt.NDArray[np.uint32]
    num_tokens: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return self.document.size

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Positions each segment takes as a sequence of its own, `[CLS]` and `[SEP]` included, int32 (D,)."""
        return self.num_tokens + np.int32(SPECIAL_TOKENS_PER_SEQUENCE)

    @property
    def total_tokens(self) -> int:
        """Tokens of all segments, special tokens not counted."""
        return int(self.num_tokens.sum(dtype=np.int64))

    def select(self, chosen: npt.NDArray[Any]) -> Segments:
        """Some of the segments, by index or by a flag for each."""
        return Segments(self.document[chosen], self.start[chosen], self.num_tokens[chosen])


class SegmentArrays(NamedTuple):
    """The columns of `Segments`, while a compiled loop writes them."""

    document: npt.NDArray[np.int64]
    start: npt.NDArray[np.uint32]
    num_tokens: npt.NDArray[np.int32]


def make_segment_arrays(num_segments: int) -> SegmentArrays:
    """Arrays for so many segments, not yet written."""
    return SegmentArrays(
        document=np.empty(num_segments, np.int64),
        start=np.empty(num_segments, np.uint32),
        num_tokens=np.empty(num_segments, np.int32),
    )


def split_documents(columns: TokenColumns, rules: CutRules) -> Segments:
    """Cuts every document that is longer than a row, and no other document.

    Each cut is at the last place that still fits: a sentence start where sentences are given, and where none of
    them fits a word start. Where that leaves a remainder below `rules.min_segment`, the last cut moves to the last
    place of its kind that gives the remainder enough, unless the piece before it would then become as short as the
    remainder was. Only where the rest of one word alone is longer than a row does a cut fall inside it. With
    `Split.NEVER` documents that would have to be cut give no segments. Linear time: of the tokens only those around
    cuts are looked at.

    Args:
        columns: The documents.
        rules: How to cut them.

    Returns:
        The segments in order of (document, start).

    Raises:
        ValueError: Sentences are missing.
    """
    places = columns.find_places(rules.cut)
    leave_out_long = rules.split is Split.NEVER
    num_segments = _count_segments(places, rules.max_tokens, rules.min_segment, leave_out_long)
    out = make_segment_arrays(num_segments)
    _write_segments(places, rules.max_tokens, rules.min_segment, leave_out_long, out)
    return Segments(*out)


@njit(cache=True, nogil=True)
def find_last_word_start(ids: TokenIds, forbidden: npt.NDArray[np.bool_], low: int, high: int) -> int:
    """The largest position in (low, high] whose token is not forbidden, or `low`."""
    for position in range(high, low, -1):
        if not forbidden[ids[position]]:
            return position
    return low


@njit(cache=True, nogil=True)
def find_last_sentence_start(sentences: npt.NDArray[np.bool_], low: int, high: int) -> int:
    """The largest position in (low, high] at which a sentence starts, or `low`."""
    for position in range(high, low, -1):
        if sentences[position]:
            return position
    return low


@njit(cache=True, nogil=True)
def _end_segment(places: CutPlaces, start: int, end: int, max_tokens: int, min_segment: int) -> int:
    """The end of the segment that begins at `start`, in a document that ends at `end` (positions in ids)."""
    if end - start <= max_tokens:
        return end
    fitting: int = start
    if places.sentences.size:
        fitting = find_last_sentence_start(places.sentences, start, start + max_tokens)
    at_sentence = fitting > start
    if not at_sentence:
        fitting = find_last_word_start(places.ids, places.forbidden, start, start + max_tokens)
    inside_word = fitting == start
    if inside_word:
        fitting = start + max_tokens
    remainder = end - fitting
    if remainder >= min_segment:
        return fitting
    if inside_word:
        return end - min_segment
    # The piece before stays longer than the remainder was, so the new remainder is shorter than that piece was
    # and fits in a row.
    earliest = start + remainder + 1
    if at_sentence:
        earlier: int = find_last_sentence_start(places.sentences, earliest - 1, end - min_segment)
    else:
        earlier = find_last_word_start(places.ids, places.forbidden, earliest - 1, end - min_segment)
    return earlier if earlier >= earliest else fitting


@njit(cache=True, nogil=True)
def _count_segments(places: CutPlaces, max_tokens: int, min_segment: int, leave_out_long: bool) -> int:
    num_segments = 0
    for document in range(places.offsets.size - 1):
        position = places.offsets[document]
        end = places.offsets[document + 1]
        if leave_out_long and end - position > max_tokens:
            continue
        while position < end:
            position = _end_segment(places, position, end, max_tokens, min_segment)
            num_segments += 1
    return num_segments


@njit(cache=True, nogil=True)
def _write_segments(
    places: CutPlaces, max_tokens: int, min_segment: int, leave_out_long: bool, out: SegmentArrays
) -> None:
    segment = 0
    for document in range(places.offsets.size - 1):
        first = places.offsets[document]
        position = first
        end = places.offsets[document + 1]
        if leave_out_long and end - position > max_tokens:
            continue
        while position < end:
            stop = _end_segment(places, position, end, max_tokens, min_segment)
            out.document[segment] = document
            out.start[segment] = position - first
            out.num_tokens[segment] = stop - position
            position = stop
            segment += 1
