"""Fill rows with consecutive whole sentences, from one document after the other (RoBERTa's FULL-SENTENCES)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.pipeline.packing.cutting.cut_rules import MAX_SEQUENCE_TOKENS, CutRules
from maskmill.pipeline.packing.cutting.split_documents import (
    SegmentArrays,
    Segments,
    find_last_sentence_start,
    find_last_word_start,
    make_segment_arrays,
)
from maskmill.pipeline.packing.cutting.token_columns import CutPlaces, TokenColumns
from maskmill.pipeline.packing.sequences.placed import Building, Placed


def place_full_sentences(building: Building) -> Placed:
    """Fill one row after another in the order of the documents (see `fill_with_sentences`)."""
    segments, first_segment = fill_with_sentences(building.columns, building.rules)
    num_rows = first_segment.size - 1
    return Placed(segments, first_segment, np.arange(num_rows), num_rows)


def fill_with_sentences(columns: TokenColumns, rules: CutRules) -> tuple[Segments, npt.NDArray[np.int64]]:
    """Makes one sequence a row: sentences in order until the next one does not fit, a segment for each document.

    FULL-SENTENCES of Liu et al., "RoBERTa" (arXiv 1907.11692, section 4.2), with a `[SEP]` where a document ends and
    one at the end of the row. A sentence longer than a row begins a row and is cut at the last word start that fits,
    inside a word where none fits; what is left of it is followed by the next sentences. Rows end where sentences end,
    so the first and the last piece of a document are as short as its sentences are, whatever `rules.min_segment`.
    Linear time: 15 million tokens take 15 ms.

    Args:
        columns: The documents, with their sentences.
        rules: The length of a row, and with `Cut.TOKEN` that a sentence longer than a row is cut anywhere.

    Returns:
        D segments in order of (document, start), and where the segments of each of the Q sequences begin and the last
        one's end, int64 (Q + 1,); a sequence takes at most `seq_len` positions, and each fills a row.

    Raises:
        ValueError: Sentences are missing.
    """
    if columns.sentence_starts is None:
        raise ValueError("sentence_starts: expected a flag for every token, to fill rows with sentences")
    places = columns.find_places(rules.cut)
    capacity = min(rules.seq_len, MAX_SEQUENCE_TOKENS)
    num_segments, num_rows = _fill(places, capacity, make_segment_arrays(0), np.empty(0, np.int64))
    out = make_segment_arrays(num_segments)
    first_segment = np.empty(num_rows + 1, np.int64)
    _fill(places, capacity, out, first_segment)
    first_segment[num_rows] = num_segments
    return Segments(*out), first_segment


@njit(cache=True, nogil=True)
def _end_sentences(sentences: npt.NDArray[np.bool_], position: int, end: int, space: int) -> int:
    """The end of the sentences from `position` on that fit into `space`; `position` if the first one does not."""
    if end - position <= space:
        return end
    stop: int = find_last_sentence_start(sentences, position, position + max(space, 0))
    return stop


@njit(cache=True, nogil=True)
def _end_in_empty_row(places: CutPlaces, position: int, end: int, space: int) -> int:
    """Like `_end_sentences`, but a longer sentence is cut at the last word start that fits, else anywhere."""
    stop: int = _end_sentences(places.sentences, position, end, space)
    if stop == position:
        stop = find_last_word_start(places.ids, places.forbidden, position, position + space)
    return stop if stop > position else position + space


@njit(cache=True, nogil=True)
def _fill(
    places: CutPlaces, capacity: int, out: SegmentArrays, out_first_segment: npt.NDArray[np.int64]
) -> tuple[int, int]:
    """Counts segments and rows, and writes them where there is an array to write to."""
    writes = out_first_segment.size > 0
    num_segments = num_rows = 0
    used = capacity  # positions of the row at hand; full, so that the first segment begins one
    for document in range(places.offsets.size - 1):
        position = places.offsets[document]
        end = places.offsets[document + 1]
        while position < end:
            stop = _end_sentences(places.sentences, position, end, capacity - used - 1)  # and [SEP]
            if stop == position:  # not even one sentence fits into this row
                if writes:
                    out_first_segment[num_rows] = num_segments
                num_rows += 1
                used = 1  # [CLS]
                stop = _end_in_empty_row(places, position, end, capacity - 2)
            if writes:
                out.document[num_segments] = document
                out.start[num_segments] = position - places.offsets[document]
                out.num_tokens[num_segments] = stop - position
            num_segments += 1
            used += stop - position + 1
            position = stop
    return num_segments, num_rows
