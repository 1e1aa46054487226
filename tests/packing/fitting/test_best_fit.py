from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.packing.fitting.best_fit import pack_best_fit, pack_best_fit_decreasing, sort_longest_first
from maskmill.pipeline.packing.fitting.lower_bound import lower_bound_l2
from tests.packing.exact_packing import fewest_rows, small_instances


def pack_plainly(lengths: list[int], capacity: int) -> list[int]:
    """Best-fit decreasing by looking at every open row each time."""
    row_of: dict[int, int] = {}
    space: list[int] = []
    last_change: list[int] = []
    longest_first = sorted(range(len(lengths)), key=lambda segment: -lengths[segment])
    for tick, segment in enumerate(longest_first):
        enough = [row for row in range(len(space)) if space[row] >= lengths[segment]]
        if enough:
            row = min(enough, key=lambda candidate: (space[candidate], -last_change[candidate]))
        else:
            row = len(space)
            space.append(capacity)
            last_change.append(0)
        space[row] -= lengths[segment]
        last_change[row] = tick
        row_of[segment] = row
    return [row_of[segment] for segment in range(len(lengths))]


@st.composite
def instances(draw: st.DrawFn) -> tuple[list[int], int]:
    capacity = draw(st.sampled_from([1, 2, 3, 7, 8, 9, 16, 31, 64, 100, 512]))
    return draw(st.lists(st.integers(1, capacity), max_size=120)), capacity


@given(instances())
def test_rows_are_those_of_best_fit_decreasing_done_by_looking_everywhere(
    instance: tuple[list[int], int],
) -> None:
    lengths, capacity = instance
    rows, num_rows = pack_best_fit_decreasing(np.array(lengths, np.int32), capacity)
    assert rows.tolist() == pack_plainly(lengths, capacity)
    assert num_rows == len(set(rows.tolist()))
    assert rows.dtype == np.int64


@given(instances())
def test_no_row_is_over_full_and_none_is_empty(instance: tuple[list[int], int]) -> None:
    lengths, capacity = instance
    rows, num_rows = pack_best_fit(np.array(lengths, np.int64), capacity)
    used = [0] * num_rows
    for row, length in zip(rows.tolist(), lengths, strict=True):
        used[row] += length
    assert all(1 <= total <= capacity for total in used)


@given(small_instances())
def test_best_fit_is_within_johnsons_ratio_of_the_fewest_rows(instance: tuple[list[int], int]) -> None:
    lengths, capacity = instance
    optimum = fewest_rows(lengths, capacity)
    _, num_rows = pack_best_fit(np.array(lengths, np.int32), capacity)
    assert optimum <= num_rows
    assert 9 * num_rows <= 11 * optimum + 6


@given(st.lists(st.integers(3, 24), min_size=6, max_size=10), st.integers(24, 36))
def test_no_small_packing_takes_more_than_one_row_above_the_fewest(lengths: list[int], capacity: int) -> None:
    _, num_rows = pack_best_fit(np.array(lengths, np.int32), capacity)
    assert fewest_rows(lengths, capacity) <= num_rows <= fewest_rows(lengths, capacity) + 1


@given(instances())
def test_packing_order_is_pythons_stable_sort(instance: tuple[list[int], int]) -> None:
    lengths, capacity = instance
    expected = sorted(range(len(lengths)), key=lambda segment: -lengths[segment])
    assert sort_longest_first(np.array(lengths, np.int32), capacity).tolist() == expected


@pytest.mark.parametrize("capacity", [512, 2048, 8192, 65536])
@pytest.mark.parametrize("median_share", [0.05, 0.3, 1.0])
def test_text_like_lengths_need_next_to_no_row_above_the_lower_bound(capacity: int, median_share: float) -> None:
    random = np.random.Generator(np.random.PCG64(7))
    documents = np.exp(random.normal(np.log(median_share * capacity), 1.0, 60_000)).astype(np.int64) + 3
    full_rows = int((documents // capacity).sum())
    lengths = np.concatenate([np.full(full_rows, capacity), documents % capacity])
    lengths = lengths[lengths >= 3]
    _, num_rows = pack_best_fit(lengths, capacity)
    bound = lower_bound_l2(lengths, capacity)
    assert bound <= num_rows <= bound + max(1, bound // 1000)


def test_no_segments_need_no_rows() -> None:
    rows, num_rows = pack_best_fit(np.empty(0, np.int32), 512)
    assert (rows.size, rows.dtype, num_rows) == (0, np.int64, 0)


@pytest.mark.parametrize("bad", [0, -1, 513, 2**40])
def test_lengths_outside_a_row_are_refused(bad: int) -> None:
    with pytest.raises(ValueError, match="lengths"):
        pack_best_fit(np.array([5, bad]), 512)
