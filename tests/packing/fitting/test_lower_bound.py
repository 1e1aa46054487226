from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.packing.fitting.lower_bound import lower_bound_l2
from tests.packing.exact_packing import fewest_rows, small_instances


def l2_by_definition(lengths: list[int], capacity: int) -> int:
    """Martello and Toth's definition, one alpha at a time, in exact integers."""
    best = 0
    for alpha in range(capacity // 2 + 1):
        alone = [w for w in lengths if w > capacity - alpha]
        large = [w for w in lengths if capacity - alpha >= w and 2 * w > capacity]
        small = [w for w in lengths if capacity >= 2 * w and w >= alpha]
        beyond = sum(small) - (len(large) * capacity - sum(large))
        best = max(best, len(alone) + len(large) + max(0, -(-beyond // capacity)))
    return best


@st.composite
def instances(draw: st.DrawFn) -> tuple[list[int], int]:
    capacity = draw(st.integers(1, 70))
    return draw(st.lists(st.integers(1, capacity), max_size=60)), capacity


@given(instances())
def test_the_bound_is_its_definition(instance: tuple[list[int], int]) -> None:
    lengths, capacity = instance
    assert lower_bound_l2(np.array(lengths, np.int32), capacity) == l2_by_definition(lengths, capacity)


@given(small_instances())
def test_no_packing_has_fewer_rows_than_the_bound(instance: tuple[list[int], int]) -> None:
    lengths, capacity = instance
    l2 = lower_bound_l2(np.array(lengths, np.int32), capacity)
    assert -(-sum(lengths) // capacity) <= l2 <= fewest_rows(lengths, capacity)


def test_segments_over_half_a_row_count_one_row_each() -> None:
    assert lower_bound_l2(np.array([6, 6, 6]), 10) == 3
    # The space beside large segments takes no row away when no small ones are there to use it.
    assert lower_bound_l2(np.array([5, 5, 5]), 9) == 3
    # Nothing of at least 4 goes beside a 7, and 5 + 5 + 4 need two rows.
    assert lower_bound_l2(np.array([7, 7, 5, 5, 4]), 10) == 4


def test_sums_do_not_overflow_32_bits() -> None:
    lengths = np.full(100_000, 65_535, np.int32)
    assert lower_bound_l2(lengths, 65_536) == 100_000
    assert lower_bound_l2(np.full(200_000, 32_768, np.int32), 65_536) == 100_000


def test_no_segments_need_no_rows() -> None:
    assert lower_bound_l2(np.empty(0, np.int32), 512) == 0


@pytest.mark.parametrize("bad", [0, 11])
def test_lengths_outside_a_row_are_refused(bad: int) -> None:
    with pytest.raises(ValueError, match="lengths"):
        lower_bound_l2(np.array([bad]), 10)
