"""Fill one row after another as full as it goes: the packing that is tried where best fit may take rows too many.

Each row takes the longest segment left and then, of the ways to fill the rest that a bounded search meets, the one
that leaves the least free: the minimum bin slack heuristic of Gupta and Ho ("A new heuristic algorithm for the
one-dimensional bin-packing problem", Production Planning and Control 10, 1999) with the longest segment fixed, as
Fleszar and Hindi do ("New heuristics for one-dimensional bin-packing", Computers & Operations Research 29, 2002).

Rows above L2, best fit -> the better of the two, at 512 unless said: C++ documentation 5 -> 1, its two worst shards
of 2 MB 2 -> 0; Russian manual pages 48 -> 30 (at 1024 24 -> 5), where the relaxed cutting-stock problem shows that no
packing is below 23; Spanish and Chinese manuals 3 -> 3, which it shows to be the fewest there are, as it does for C++
documentation at 64 (113 -> 106). Tried and left out: a knapsack of segment values in place of the least slack (60 on
the Russian pages, at any values). Not tried: rounding that relaxed problem's solution, which takes seconds to find.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.pipeline.packing.fitting.space_tree import add_value, find_smallest, make_tree, remove_value

# Steps that the search for one row may take. Few steps fill rows with long segments and keep the short ones for later;
# many fill the early rows to the brim and leave nothing short for the late ones. Which is better depends on the
# lengths, so all are tried: over L2, 32 steps give +34 and 4096 +60 on Russian manual pages at 512, but +22 and +13 at
# 1024. Powers of two first, from the middle, so that a shard too large for all of them gets the likeliest.
_OCTAVES = (64, 256, 16, 1024, 32, 128, 512, 8, 2048)
SEARCH_LIMITS = tuple(octave * step // 20 for step in (20, 25, 32) for octave in _OCTAVES)
# For all searches together, so that time stays linear: a real shard takes 0.01-4 million, 64 MB of novels at 512 half a
# million, which is 6 ms; 2 million segments stop here after 0.2-1.2 s.
STEPS_PER_SEGMENT = 24
STEPS_BESIDES = 4_000_000


class Effort(NamedTuple):
    """When the search for one row ends.

    Attributes:
        search_limit: After so many steps.
        free_places: At a filling that leaves no more than this.
    """

    search_limit: int
    free_places: int


class Fillings(NamedTuple):
    """Lengths in the row that is searched, in the order of the search: at this step, and in the best filling so far."""

    taken: npt.NDArray[np.int64]
    best: npt.NDArray[np.int64]


def pack_minimum_slack(
    lengths: npt.NDArray[np.int32], order: npt.NDArray[np.int64], capacity: int, fewer_than: int, enough: int
) -> tuple[npt.NDArray[np.int64], int] | None:
    """Looks for a packing with fewer rows than one that is known.

    Every search limit is tried twice: with rows searched until full, and until at most 1/128 of the row is free. The
    packing with the fewest rows wins, of equal ones the first. Deterministic: searches are bounded by steps, not
    seconds, and go by length alone, longest first; equal lengths go in the order given.

    Args:
        lengths: Row positions each segment takes, each in 1..capacity; int32 (D,).
        order: The segments by falling length, int64 (D,).
        capacity: Positions in a row.
        fewer_than: Rows of the packing that is known.
        enough: Stop at a packing with no more rows than this: a lower bound.

    Returns:
        The row of every segment, int64 (D,), rows numbered from 0 in the order they were filled, and the number of
        rows, which is below `fewer_than`; None if no such packing was found.
    """
    descending = lengths[order]
    num_alone = int(np.searchsorted(-descending, descending[-1] - capacity))  # not even the shortest fits beside them
    histogram = np.bincount(descending[num_alone:], minlength=capacity + 1)
    rows = np.empty(order.size - num_alone, np.int64)
    best = np.empty_like(rows)
    fewest = fewer_than - num_alone
    steps_left = STEPS_PER_SEGMENT * rows.size + STEPS_BESIDES
    for limit, free_places in itertools.product(SEARCH_LIMITS, sorted({0, capacity >> 7})):
        num_rows, steps = _fill_rows(histogram, capacity, Effort(limit, free_places), fewest, steps_left, rows)
        if 0 <= num_rows < fewest:
            best, rows, fewest = rows, best, num_rows
        steps_left -= steps
        if fewest <= enough - num_alone or steps_left <= 0:
            break
    fewest += num_alone
    if fewest == fewer_than:
        return None
    row_of_segment = np.empty(order.size, np.int64)
    row_of_segment[order[:num_alone]] = np.arange(num_alone)
    row_of_segment[order[num_alone:]] = best + num_alone
    return row_of_segment, int(fewest)


@njit(cache=True, nogil=True)
def _fill_rows(
    histogram: npt.NDArray[np.int64],
    capacity: int,
    effort: Effort,
    fewer_than: int,
    steps_left: int,
    row_of_place: npt.NDArray[np.int64],
) -> tuple[int, int]:
    """Packs all lengths; places count segments by falling length. Returns rows, -1 if given up, and steps."""
    left = histogram.copy()
    next_place = np.zeros(capacity + 1, np.int64)
    tree = make_tree(capacity + 1)  # of capacity - length, so that the smallest value is the longest segment
    positions_left = place = 0
    shortest = capacity
    for length in range(capacity, 0, -1):
        next_place[length] = place
        place += left[length]
        if left[length]:
            shortest = length
            positions_left += left[length] * length
            add_value(tree, capacity - length)
    most = capacity // shortest + 1
    fillings = Fillings(np.empty(most, np.int64), np.empty(most, np.int64))
    steps = num_rows = 0
    while positions_left:
        if num_rows - (-positions_left // capacity) >= fewer_than or steps > steps_left:
            return -1, steps
        longest = capacity - find_smallest(tree, 0)
        left[longest] -= 1
        if left[longest] == 0:
            remove_value(tree, capacity - longest)
        while left[shortest] == 0 and shortest < longest:
            shortest += 1
        num_best, searched = _search_fill(left, tree, longest, shortest, effort, fillings)
        steps += searched + num_best + 1
        row_of_place[next_place[longest]] = num_rows
        next_place[longest] += 1
        positions_left -= longest
        for index in range(num_best):
            length = fillings.best[index]
            left[length] -= 1
            if left[length] == 0:
                remove_value(tree, capacity - length)
            row_of_place[next_place[length]] = num_rows
            next_place[length] += 1
            positions_left -= length
        num_rows += 1
    return num_rows, steps


@njit(cache=True, nogil=True)
def _search_fill(
    left: npt.NDArray[np.int64],
    tree: npt.NDArray[np.bool_],
    longest: int,
    shortest: int,
    effort: Effort,
    fillings: Fillings,
) -> tuple[int, int]:
    """Depth first, longer lengths first; `left` and `tree` end as they began. Returns lengths in the best and steps."""
    taken, best = fillings
    capacity = left.size - 1
    slack = capacity - longest
    best_slack = slack
    at_most = longest
    depth = num_best = steps = 0
    while True:
        steps += 1
        fitting = min(at_most, slack)
        value = find_smallest(tree, capacity - fitting) if fitting >= shortest else -1
        if value >= 0:
            length = capacity - value
            taken[depth] = length
            depth += 1
            slack -= length
            at_most = length
            left[length] -= 1
            if left[length] == 0:
                remove_value(tree, value)
            continue
        if slack < best_slack:
            best_slack = slack
            num_best = depth
            best[:depth] = taken[:depth]
        done = best_slack <= effort.free_places or steps > effort.search_limit
        while depth > 0:  # one back, or all
            depth -= 1
            length = taken[depth]
            slack += length
            at_most = length - 1
            if left[length] == 0:
                add_value(tree, capacity - length)
            left[length] += 1
            if not done:
                break
        else:
            return num_best, steps
