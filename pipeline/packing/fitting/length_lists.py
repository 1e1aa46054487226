"""Segments by length: the longest, or the longest that fits, is found, added and taken out in O(log length).

Lists linked both ways, one a length, and a tree of the lengths that have any. Compiled functions, to be called from
compiled loops.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.pipeline.packing.fitting.space_tree import add_value, find_smallest, make_tree, remove_value


class LengthLists(NamedTuple):
    """The lists; of equal lengths the segment added last is found first.

    Attributes:
        tree: Of `longest - length`, so that its smallest value is the longest segment's.
        first: The first segment of each length, or -1; int64 (longest + 1,).
        after: The next segment of the same length, or -1; int64 (D,).
        before: The one before it, or -1; int64 (D,).
    """

    tree: npt.NDArray[np.bool_]
    first: npt.NDArray[np.int64]
    after: npt.NDArray[np.int64]
    before: npt.NDArray[np.int64]


@njit(cache=True, nogil=True)
def make_lists(num_segments: int, longest: int) -> LengthLists:
    """Lists without a segment, for segments 0..num_segments - 1 and lengths 0..longest."""
    return LengthLists(
        make_tree(longest + 1),
        np.full(longest + 1, -1, np.int64),
        np.empty(num_segments, np.int64),
        np.empty(num_segments, np.int64),
    )


@njit(cache=True, nogil=True)
def add_segment(lists: LengthLists, segment: int, length: int) -> None:
    """Puts a segment in that is not in."""
    head = lists.first[length]
    if head >= 0:
        lists.before[head] = segment
    else:
        add_value(lists.tree, lists.first.size - 1 - length)
    lists.after[segment] = head
    lists.before[segment] = -1
    lists.first[length] = segment


@njit(cache=True, nogil=True)
def remove_segment(lists: LengthLists, segment: int, length: int) -> None:
    """Takes a segment out that is in with this length."""
    after = lists.after[segment]
    before = lists.before[segment]
    if after >= 0:
        lists.before[after] = before
    if before >= 0:
        lists.after[before] = after
        return
    lists.first[length] = after
    if after < 0:
        remove_value(lists.tree, lists.first.size - 1 - length)


@njit(cache=True, nogil=True)
def find_longest(lists: LengthLists, at_most: int) -> int:
    """The longest segment with at most this length, which may be over the longest there can be; or -1."""
    if at_most < 0:
        return -1
    longest = lists.first.size - 1
    value = find_smallest(lists.tree, max(0, longest - at_most))
    return -1 if value < 0 else int(lists.first[longest - value])
