from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.packing.fitting import minimum_slack
from maskmill.pipeline.packing.fitting.best_fit import pack_best_fit, pack_best_fit_decreasing, sort_longest_first
from maskmill.pipeline.packing.fitting.lower_bound import lower_bound_l2
from maskmill.pipeline.packing.fitting.minimum_slack import pack_minimum_slack
from tests.packing.exact_packing import fewest_rows


def search_plainly(left: Counter[int], slack: int, at_most: int, limit: int, free_places: int) -> tuple[list[int], int]:
    """The fill with the least slack that a search of so many steps meets, and the steps it took."""
    best: list[int] = []
    least, steps, done = slack, 0, False

    def go_on(taken: list[int], slack: int, at_most: int) -> None:
        nonlocal best, least, steps, done
        for length in sorted((length for length in +left if length <= min(slack, at_most)), reverse=True):
            steps += 1
            left[length] -= 1
            go_on([*taken, length], slack - length, length)
            left[length] += 1
            if done:
                return
        steps += 1  # to find that nothing else fits
        if slack < least:
            best, least = taken, slack
        done = least <= free_places or steps > limit

    go_on([], slack, at_most)
    return best, steps


def fill_plainly(lengths: list[int], capacity: int, limit: int, free_places: int) -> list[list[int]]:
    """The lengths of each row, filled one by one."""
    left, rows = Counter(lengths), []
    while +left:
        longest = max(+left)
        left[longest] -= 1
        row = [longest, *search_plainly(left, capacity - longest, longest, limit, free_places)[0]]
        left.subtract(row[1:])
        rows.append(row)
    return rows


def fewest_plainly(lengths: list[int], capacity: int, fewer_than: int, enough: int) -> list[list[int]] | None:
    """The first packing of the fewest rows over all search limits, stopping at enough."""
    best, fewest = None, fewer_than
    for limit in minimum_slack.SEARCH_LIMITS:
        for free_places in (0, capacity // 128):
            if fewest > enough:
                rows = fill_plainly(lengths, capacity, limit, free_places)
                if len(rows) < fewest:
                    best, fewest = rows, len(rows)
    return best


@st.composite
def instances(draw: st.DrawFn) -> tuple[list[int], int]:
    """Three or four lengths a row: where best fit goes wrong."""
    capacity = draw(st.sampled_from([10, 16, 31, 64, 100, 300]))
    lengths = st.integers(max(1, capacity // 6), capacity // 2)
    return draw(st.lists(lengths, min_size=6, max_size=30)), capacity


def search(lengths: list[int], capacity: int, fewer_than: int, enough: int = 0) -> tuple[list[int], int] | None:
    array = np.array(lengths, np.int32)
    found = pack_minimum_slack(array, sort_longest_first(array, capacity), capacity, fewer_than, enough)
    return None if found is None else (found[0].tolist(), found[1])


def group(lengths: list[int], capacity: int, found: tuple[list[int], int]) -> list[list[int]]:
    """The lengths of each row, longest first."""
    rows: list[list[int]] = [[] for _ in range(found[1])]
    for segment in sort_longest_first(np.array(lengths), capacity).tolist():
        rows[found[0][segment]].append(lengths[segment])
    return rows


@given(instances(), st.integers(0, 3))
def test_rows_are_those_of_a_plain_search(instance: tuple[list[int], int], above: int) -> None:
    lengths, capacity = instance
    enough = lower_bound_l2(np.array(lengths), capacity) + above
    expected = fewest_plainly(lengths, capacity, len(lengths) + 1, enough)
    found = search(lengths, capacity, len(lengths) + 1, enough)
    assert expected is not None
    assert found is not None
    assert group(lengths, capacity, found) == expected


@pytest.mark.parametrize(("capacity", "limit", "num_lengths"), [(128, 4, 20), (128, 32, 20), (1024, 16, 30)])
def test_a_search_ends_at_its_limit_or_where_a_row_is_full_enough(
    capacity: int, limit: int, num_lengths: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minimum_slack, "SEARCH_LIMITS", (limit,))
    num_better = 0
    for seed in range(200):
        random = np.random.Generator(np.random.PCG64(seed))
        lengths = random.integers(capacity // 8, capacity // 2 + 1, num_lengths).tolist()
        expected = fewest_plainly(lengths, capacity, num_lengths + 1, 0)
        found = search(lengths, capacity, num_lengths + 1)
        assert expected is not None
        assert found is not None
        assert group(lengths, capacity, found) == expected
        num_better += len(expected) < len(fill_plainly(lengths, capacity, limit, 0))
    assert num_better  # where rows that are only full enough leave fewer of them


@given(instances())
def test_equal_lengths_fill_rows_in_the_order_given(instance: tuple[list[int], int]) -> None:
    found = search(*instance, fewer_than=len(instance[0]) + 1)
    assert found is not None
    for length in set(instance[0]):
        rows = [row for row, other in zip(found[0], instance[0], strict=True) if other == length]
        assert rows == sorted(rows)


@given(instances(), st.randoms(use_true_random=False))
def test_the_number_of_rows_depends_on_the_lengths_alone(
    instance: tuple[list[int], int], random: np.random.Generator
) -> None:
    lengths, capacity = instance
    shuffled = lengths.copy()
    random.shuffle(shuffled)
    assert pack_best_fit(np.array(shuffled), capacity)[1] == pack_best_fit(np.array(lengths), capacity)[1]


@given(instances())
def test_no_packing_is_worse_than_best_fits_and_each_holds_every_segment_once(
    instance: tuple[list[int], int],
) -> None:
    lengths, capacity = np.array(instance[0]), instance[1]
    rows, num_rows = pack_best_fit(lengths, capacity)
    plain, num_plain = pack_best_fit_decreasing(lengths, capacity)
    used = Counter[int]()
    for row, length in zip(rows.tolist(), instance[0], strict=True):
        used[row] += length
    assert sorted(used) == list(range(num_rows))
    assert max(used.values()) <= capacity
    assert rows.dtype == np.int64
    assert num_rows <= num_plain
    if num_rows == num_plain:
        assert rows.tolist() == plain.tolist()


def test_a_row_that_best_fit_wastes_is_saved() -> None:
    lengths = np.array([4, 4, 3, 3, 3, 3])
    assert pack_best_fit_decreasing(lengths, 10)[1] == 3  # 4 4, 3 3 3, 3
    rows, num_rows = pack_best_fit(lengths, 10)
    assert (rows.tolist(), num_rows) == ([0, 1, 0, 0, 1, 1], 2)


def test_few_small_packings_are_above_the_fewest_rows_there_can_be() -> None:
    random = np.random.Generator(np.random.PCG64(11))
    above_plain = above = 0
    for _ in range(400):
        lengths = random.integers(4, 16, 9)
        fewest = fewest_rows(lengths.tolist(), 30)
        above_plain += pack_best_fit_decreasing(lengths, 30)[1] > fewest
        above += pack_best_fit(lengths, 30)[1] > fewest
    assert (above_plain, above) == (27, 2)


def test_segments_that_no_other_fits_beside_take_rows_alone() -> None:
    assert search([9, 4, 10, 3, 4, 8, 3, 3, 3], 10, fewer_than=6) == ([1, 3, 0, 3, 4, 2, 3, 4, 4], 5)
    assert search([7, 7, 3, 3], 10, fewer_than=5) == ([0, 1, 0, 1], 2)  # the longest that another does fit beside


def test_the_search_goes_on_until_the_lower_bound_is_met() -> None:
    lengths = np.random.Generator(np.random.PCG64(6)).integers(60, 400, 60)
    bound = lower_bound_l2(lengths, 1024)
    assert pack_best_fit_decreasing(lengths, 1024)[1] == bound + 1
    assert pack_best_fit(lengths, 1024)[1] == bound


def test_nothing_is_returned_unless_it_is_better() -> None:
    assert search([4, 4, 3, 3, 3, 3], 10, fewer_than=2) is None
    assert search([4, 4, 3, 3, 3, 3], 10, fewer_than=3) is not None


def test_the_search_ends_when_its_steps_are_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minimum_slack, "STEPS_PER_SEGMENT", 0)
    monkeypatch.setattr(minimum_slack, "STEPS_BESIDES", 0)
    assert search([4, 4, 3, 3, 3, 3], 10, fewer_than=3) is None
    assert pack_best_fit(np.array([4, 4, 3, 3, 3, 3]), 10)[1] == 3


def test_lengths_that_best_fit_packs_too_loosely_are_packed_within_the_law() -> None:
    random = np.random.Generator(np.random.PCG64(7))
    documents = np.exp(random.normal(np.log(0.05 * 512), 1.0, 60_000)).astype(np.int64) + 3
    lengths = documents[(documents >= 18) & (documents <= 512)]
    bound = lower_bound_l2(lengths, 512)
    assert pack_best_fit_decreasing(lengths, 512)[1] > bound + bound // 1000
    assert pack_best_fit(lengths, 512)[1] <= bound + bound // 1000
