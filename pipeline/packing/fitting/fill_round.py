"""One round of closing rows with segments and pieces of segments of emptier rows; see `fill_rows`.

Segments that may be taken are in lists by length. One that has no piece for a row is set aside until a row has space
for its next longer piece. A later row has as much space or more, so no piece is missed but where whole segments have
moved, which the next round makes good; and no token is looked at twice in a round, but for those around its cuts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.pipeline.packing.cutting.cut_rules import SPECIAL_TOKENS_PER_SEQUENCE
from maskmill.pipeline.packing.cutting.token_columns import CutPlaces
from maskmill.pipeline.packing.fitting.length_lists import (
    LengthLists,
    add_segment,
    find_longest,
    make_lists,
    remove_segment,
)


class Pieces(NamedTuple):
    """Segments, with places for those that cuts will make."""

    document: npt.NDArray[np.int64]
    first_token: npt.NDArray[np.int64]
    num_tokens: npt.NDArray[np.int32]
    row: npt.NDArray[np.int64]


class Limits(NamedTuple):
    """Positions in a row, those that may stay free, and the fewest tokens of a piece."""

    seq_len: int
    max_free: int
    min_segment: int


class Candidates(NamedTuple):
    """Segments of rows still to come.

    Attributes:
        lists: Those that may be taken, by length.
        first_aside: By space, the first of those set aside until a row has that much; linked by `lists.after`.
        is_set_aside: Whether a segment is.
    """

    lists: LengthLists
    first_aside: npt.NDArray[np.int64]
    is_set_aside: npt.NDArray[np.bool_]


class Order(NamedTuple):
    """Open rows, the fullest first; the nth has the segments `members[group_start[n] : group_start[n + 1]]`."""

    fullest_first: npt.NDArray[np.int64]
    members: npt.NDArray[np.int64]
    group_start: npt.NDArray[np.int64]


@njit(cache=True, nogil=True)
def fill_once(
    places: CutPlaces, pieces: Pieces, num_segments: int, used: npt.NDArray[np.int64], order: Order, limits: Limits
) -> tuple[int, bool]:
    """Tries to close every row once, from later rows. Returns segments, and whether any moved."""
    lists = make_lists(pieces.row.size, limits.seq_len)
    first_aside = np.full(limits.seq_len + 1, -1, np.int64)
    candidates = Candidates(lists, first_aside, np.zeros(pieces.row.size, np.bool_))
    num_before = num_segments
    num_moved = roomiest = 0
    for segment in order.members:
        add_segment(lists, segment, pieces.num_tokens[segment])
    for rank in range(order.fullest_first.size):
        target = order.fullest_first[rank]
        _take_out(candidates, pieces, order.members[order.group_start[rank] : order.group_start[rank + 1]], target)
        while used[target] > 0:  # else its segments have gone to fuller rows
            free = limits.seq_len - used[target]
            if free <= limits.max_free:
                break
            most = free - SPECIAL_TOKENS_PER_SEQUENCE
            while roomiest < most:
                roomiest += 1
                _take_back(candidates, pieces.num_tokens, roomiest)
            segment = find_longest(lists, most)
            if segment >= 0:
                count = pieces.num_tokens[segment]
                remove_segment(lists, segment, count)
                used[pieces.row[segment]] -= count + SPECIAL_TOKENS_PER_SEQUENCE
                pieces.row[segment] = target
                num_moved += 1
            else:
                fewest = max(limits.min_segment, most - limits.max_free)
                segment, count, at_end = _find_cut(places, pieces, candidates, fewest, most, limits.min_segment)
                if segment < 0:
                    break
                used[pieces.row[segment]] -= count
                _cut(pieces, segment, count, at_end, num_segments)
                pieces.row[num_segments] = target
                num_segments += 1
                add_segment(lists, segment, pieces.num_tokens[segment])
            used[target] += count + SPECIAL_TOKENS_PER_SEQUENCE
    return num_segments, num_moved > 0 or num_segments > num_before


@njit(cache=True, nogil=True)
def _cut(pieces: Pieces, segment: int, count: int, at_end: bool, new: int) -> None:
    rest = pieces.num_tokens[segment] - count
    pieces.document[new] = pieces.document[segment]
    pieces.first_token[new] = pieces.first_token[segment] + (rest if at_end else 0)
    pieces.num_tokens[new] = count
    pieces.first_token[segment] += 0 if at_end else count
    pieces.num_tokens[segment] = rest


@njit(cache=True, nogil=True)
def _find_cut(
    places: CutPlaces, pieces: Pieces, candidates: Candidates, fewest: int, most: int, min_segment: int
) -> tuple[int, int, bool]:
    """Takes the longest segment out that has a piece of fewest..most tokens: segment or -1, tokens, at its end or not.

    One without such a piece is set aside until a row has space for its next longer piece, or for all of it.
    """
    lists = candidates.lists
    while most >= fewest:
        segment = find_longest(lists, lists.first.size)
        if segment < 0 or pieces.num_tokens[segment] < fewest + min_segment:
            break
        length = pieces.num_tokens[segment]
        remove_segment(lists, segment, length)
        count, at_end = _find_piece(
            places, pieces.first_token[segment], length, fewest, min(most, length - min_segment), min_segment
        )
        if count <= most:
            return segment, count, at_end
        lists.after[segment] = candidates.first_aside[count]
        candidates.first_aside[count] = segment
        candidates.is_set_aside[segment] = True
    return -1, 0, False


@njit(cache=True, nogil=True)
def _take_out(candidates: Candidates, pieces: Pieces, members: npt.NDArray[np.int64], row: int) -> None:
    """Takes out what is left of the segments of a row whose turn has come."""
    for segment in members:
        if candidates.is_set_aside[segment]:
            candidates.is_set_aside[segment] = False
        elif pieces.row[segment] == row:
            remove_segment(candidates.lists, segment, pieces.num_tokens[segment])


@njit(cache=True, nogil=True)
def _take_back(candidates: Candidates, num_tokens: npt.NDArray[np.int32], space: int) -> None:
    """Puts those back in that were set aside until there is this much space."""
    segment = candidates.first_aside[space]
    candidates.first_aside[space] = -1
    while segment >= 0:
        following = candidates.lists.after[segment]
        if candidates.is_set_aside[segment]:
            candidates.is_set_aside[segment] = False
            add_segment(candidates.lists, segment, num_tokens[segment])
        segment = following


@njit(cache=True, nogil=True)
def _find_piece(
    places: CutPlaces, first_token: int, num_tokens: int, fewest: int, most: int, min_segment: int
) -> tuple[int, bool]:
    """Tokens of the longest piece of fewest..most of them, and whether it is at the end of the segment.

    Where there is none, the tokens of the shortest one above `most`, or all.
    """
    end = first_token + num_tokens
    for count in range(most, fewest - 1, -1):
        if _may_cut(places, first_token + count):
            return count, False
        if _may_cut(places, end - count):
            return count, True
    for count in range(most + 1, num_tokens - min_segment + 1):
        if _may_cut(places, first_token + count) or _may_cut(places, end - count):
            return count, False
    return num_tokens, False


@njit(cache=True, nogil=True)
def _may_cut(places: CutPlaces, position: int) -> bool:
    if places.sentences.size:
        return bool(places.sentences[position])
    return not places.forbidden[places.ids[position]]
