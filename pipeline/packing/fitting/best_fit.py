"""Put segments into rows: best-fit decreasing, and a second packing where that may use too many rows.

Longest first, each into the open row with the least space that is still enough (Johnson 1973, "Near-optimal
bin packing algorithms": at most 11/9 of the fewest rows plus a constant). On text, where short documents abound,
it needs few rows more than the minimum, which is why "Fewer Truncations Improve Language Modeling" (arXiv 2404.10830)
packs by it; as there, a tree over the remaining space finds the row. `minimum_slack` saves most of the excess rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.pipeline.packing.fitting.lower_bound import lower_bound_l2
from maskmill.pipeline.packing.fitting.minimum_slack import pack_minimum_slack
from maskmill.pipeline.packing.fitting.space_tree import add_value, find_smallest, make_tree, remove_value


def pack_best_fit(lengths: npt.NDArray[Any], capacity: int) -> tuple[npt.NDArray[np.int64], int]:
    """Assigns every segment to a row, using close to the fewest possible rows.

    Best-fit decreasing; where it takes more rows than Martello and Toth's L2, a second packing is searched for (see
    `pack_minimum_slack`) and the one with fewer rows is taken, best fit's where they are even. Deterministic, in time
    linear in D but for a factor log capacity. Where L2 is met at once 2 million lengths take 0.02-0.4 s on one core,
    else 0.3-1.2 s; 64 MB of novels, 31,109 segments at capacity 512, take 6 ms.

    Args:
        lengths: Row positions each segment takes, special tokens included, each in 1..capacity; shape (D,).
        capacity: Positions in a row.

    Returns:
        The row of every segment, int64 (D,), rows numbered from 0 in the order they were opened; and the
        number of rows.

    Raises:
        ValueError: A length is not in 1..capacity.
    """
    row_of_segment, num_rows = pack_best_fit_decreasing(lengths, capacity)
    bound = lower_bound_l2(lengths, capacity)
    if num_rows <= bound:
        return row_of_segment, num_rows
    order = sort_longest_first(lengths, capacity)
    return pack_minimum_slack(_as_int32(lengths), order, capacity, num_rows, bound) or (row_of_segment, num_rows)


def pack_best_fit_decreasing(lengths: npt.NDArray[Any], capacity: int) -> tuple[npt.NDArray[np.int64], int]:
    """The first of the two packings, alone; arguments, result and errors are those of `pack_best_fit`.

    Equal lengths go in the order given, and of rows with equal space the one that came to it last is taken.
    O(D log capacity) time, O(D + capacity) memory: open rows hang in linked lists by remaining space, and a tree of
    flags over 0..capacity finds the smallest space that is enough. 2 million lengths take 0.02-0.15 s at capacity 512
    and 0.03-0.35 s at 65,536 on one core.
    """
    order = sort_longest_first(lengths, capacity)
    row_of_segment = np.empty(order.size, np.int64)
    num_rows = _pack(_as_int32(lengths), order, capacity, row_of_segment)
    return row_of_segment, int(num_rows)


def sort_longest_first(lengths: npt.NDArray[Any], capacity: int) -> npt.NDArray[np.int64]:
    """The order in which segments are packed: by falling length, equal lengths in the order given.

    A counting sort: stable, linear, and the same on every CPU.

    Args:
        lengths: Values in 1..capacity; shape (D,).
        capacity: The largest length there may be.

    Returns:
        Indices into `lengths`, int64 (D,).

    Raises:
        ValueError: A length is not in 1..capacity.
    """
    if lengths.size and (int(lengths.min()) < 1 or int(lengths.max()) > capacity):
        raise ValueError(f"lengths: expected 1..{capacity}, found {lengths.min()}..{lengths.max()}")
    order = np.empty(lengths.size, np.int64)
    _counting_sort_descending(_as_int32(lengths), capacity, order)
    return order


def _as_int32(lengths: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    return np.ascontiguousarray(lengths, dtype=np.int32)


@njit(cache=True, nogil=True)
def _counting_sort_descending(lengths: npt.NDArray[np.int32], capacity: int, order: npt.NDArray[np.int64]) -> None:
    place = np.zeros(capacity + 2, np.int64)
    for length in lengths:
        place[length] += 1
    before = 0
    for length in range(capacity, -1, -1):
        count = place[length]
        place[length] = before
        before += count
    for segment in range(lengths.size):
        order[place[lengths[segment]]] = segment
        place[lengths[segment]] += 1


@njit(cache=True, nogil=True)
def _pack(
    lengths: npt.NDArray[np.int32],
    order: npt.NDArray[np.int64],
    capacity: int,
    row_of_segment: npt.NDArray[np.int64],
) -> int:
    if order.size == 0:
        return 0
    tree = make_tree(capacity + 1)  # of the spaces that open rows have
    last_row = np.full(capacity + 1, -1, np.int64)  # by space: head of the list of open rows
    row_before = np.empty(order.size, np.int64)  # by row: the next in its list
    shortest = lengths[order[-1]]
    num_rows = 0
    for segment in order:
        length = np.int64(lengths[segment])
        space = find_smallest(tree, length)
        if space < 0:
            row = num_rows
            num_rows += 1
            space = capacity
        else:
            row = last_row[space]
            last_row[space] = row_before[row]
            if last_row[space] < 0:
                remove_value(tree, space)
        row_of_segment[segment] = row
        space -= length
        if space < shortest:  # nothing will fit any more
            continue
        row_before[row] = last_row[space]
        last_row[space] = row
        add_value(tree, space)
    return num_rows
