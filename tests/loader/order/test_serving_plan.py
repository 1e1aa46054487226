"""Which rows a step takes is arithmetic: exact shares, and any step without what comes before."""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.loader.order.serving_plan import RowSupply, ServingPlan, WeightedPhase, apportion, spread
from tests.loader.order.order_oracle import order_epoch
from tests.loader.plan.mixture_oracle import Stored, iter_steps
from tests.loader.plan.mixture_oracle import spread as oracle_spread

weights_of_datasets = st.lists(st.integers(1, 10**6), min_size=1, max_size=5).map(lambda w: dict(enumerate(w)))


@given(weights_of_datasets)
def test_thousandths_add_up_and_are_those_of_the_weights_to_within_one(weights):
    shares = apportion(weights)
    total = sum(weights.values())
    assert sum(shares.values()) == 1000
    assert all(count >= 1 for count in shares.values())
    lifted = sum(1000 * weight < total for weight in weights.values())  # those that are given one all the same
    for dataset, weight in weights.items():
        assert abs(shares[dataset] - 1000 * weight / total) < 1 + lifted


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((1, 1, 1), (334, 333, 333)),
        ((2001, 7999), (200, 800)),
        ((1, 10**6), (1, 999)),
        ((1, 1, 10**7, 10**7), (1, 1, 499, 499)),
        ((5,), (1000,)),
    ],
)
def test_what_rounding_leaves_goes_to_the_largest_remainders(weights, expected):
    assert apportion(dict(enumerate(weights))) == dict(enumerate(expected))


@given(st.permutations([500, 300, 150, 49, 1]), st.integers(0, 2**64 - 1))
@settings(max_examples=30, deadline=None)
def test_any_thousand_rows_hold_every_dataset_as_often_as_its_weight(thousandths, seed):
    pattern = spread(dict(enumerate(thousandths)), seed)
    assert pattern.tolist() == oracle_spread(thousandths, seed)
    endless = np.tile(pattern, 3)
    for dataset, count in enumerate(thousandths):
        before = np.concatenate([[0], np.cumsum(endless == dataset)])
        assert (before[1000:] - before[:-1000] == count).all()


@given(st.permutations([500, 300, 150, 49, 1]), st.integers(1, 1000))
@settings(max_examples=30, deadline=None)
def test_any_run_of_rows_holds_every_dataset_nearly_as_often_as_its_weight(thousandths, length):
    endless = np.tile(spread(dict(enumerate(thousandths)), 0), 3)
    for dataset, count in enumerate(thousandths):
        before = np.concatenate([[0], np.cumsum(endless == dataset)])
        found = before[length:] - before[:-length]
        assert np.abs(found - length * count / 1000).max() < len(thousandths)


plans = st.tuples(
    st.lists(st.integers(1, 60), min_size=1, max_size=3),  # rows of a dataset are partitions times these
    st.lists(st.integers(1, 7), min_size=3, max_size=3),
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 30)), min_size=1, max_size=3),
    st.integers(0, 2**64 - 1),
)


@given(plans, st.data())
@settings(max_examples=60, deadline=None)
def test_every_slot_of_every_step_holds_the_documented_row(drawn, data):
    sizes, partitions, drawn_phases, seed = drawn
    supplies = [RowSupply(p, p * size) for size, p in zip(sizes, partitions, strict=False)]
    phases, stretches, first = [], [], 0
    for steps, rows in drawn_phases:
        weights = {d: data.draw(st.integers(1, 9)) for d in range(len(supplies))}
        kept = {d: w for d, w in weights.items() if d == first % len(supplies) or w > 3}
        phases.append(WeightedPhase(first, rows, kept))
        shares = apportion(kept) if len(kept) > 1 else dict.fromkeys(kept, 1000)
        stretches.append((first, rows, [shares.get(d, 0) for d in range(len(supplies))]))
        first += steps
    plan = ServingPlan(phases, supplies, seed)
    stored = [Stored((p * size,), p) for size, p in zip(sizes, partitions, strict=False)]
    expected = list(islice(iter_steps(stretches, stored, 4, seed), first + 5))
    order = cache(lambda rows, epoch: order_epoch([rows], 4, seed=seed, epoch=epoch))
    for step in data.draw(st.permutations(range(first + 5)))[:12]:
        rows = plan.stretch_at(step).global_batch_rows
        edges = sorted({0, rows, *data.draw(st.lists(st.integers(0, rows), max_size=2))})
        found = {}
        for start, stop in pairwise(edges):
            for share in plan.take(step, start, stop):
                supply = supplies[share.dataset]
                for slot, number in zip(share.slots.tolist(), share.numbers.tolist(), strict=True):
                    epoch, place = divmod(number, supply.rows_per_epoch)
                    offset, partition = divmod(place, supply.partitions)
                    interval = supply.rows_per_epoch // supply.partitions
                    rows_of_epoch = order(supply.rows_per_epoch, epoch)
                    found[slot] = share.dataset, epoch, rows_of_epoch[partition * interval + offset]
        assert [found[slot] for slot in range(rows)] == expected[step]


@given(st.integers(1, 50), st.integers(1, 4), st.integers(1, 40), st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_a_cap_is_never_exceeded_and_the_others_take_the_share(rows, cap, batch_rows, weight):
    supplies = [RowSupply(1, rows, cap), RowSupply(2, 50)]
    plan = ServingPlan([WeightedPhase(0, batch_rows, {0: weight, 1: 5})], supplies, 3)
    given_rows = Counter()
    for step in range(rows * cap * 6 + 20):
        shares = plan.take(step, 0, batch_rows)
        assert sum(len(share.slots) for share in shares) == batch_rows
        given_rows.update({share.dataset: len(share.slots) for share in shares})
    assert plan.end_step is None
    left = cap * rows - given_rows[0]
    assert 0 <= left < max(1, -(-batch_rows * apportion({0: weight, 1: 5})[0] // 1000) + 1)


def test_a_run_ends_where_nothing_is_left():
    plan = ServingPlan([WeightedPhase(0, 8, {0: 1, 1: 1})], [RowSupply(1, 20, 2), RowSupply(1, 30, 1)], 0)
    given_rows = Counter()
    for step in range(plan.end_step):
        given_rows.update({share.dataset: len(share.slots) for share in plan.take(step, 0, 8)})
    # 7 steps of 4 and 4; then dataset 1 has 2 rows left, too few, and dataset 0 alone 12: one step more
    assert given_rows == {0: 28 + 8, 1: 28}
    assert plan.end_step == 8


@pytest.mark.parametrize("first_steps", [(0, 5), (0, 5, 9)])
def test_a_phase_takes_up_each_dataset_where_the_one_before_left_it(first_steps):
    phases = [WeightedPhase(first, 4 + place, {0: 1, 1: 1 + place}) for place, first in enumerate(first_steps)]
    plan = ServingPlan(phases, [RowSupply(1, 7), RowSupply(3, 9)], 0)
    given_rows = {0: [], 1: []}
    for step in range(14):
        for share in plan.take(step, 0, plan.stretch_at(step).global_batch_rows):
            given_rows[share.dataset] += sorted(share.numbers.tolist())
    for numbers in given_rows.values():
        assert numbers == list(range(len(numbers)))
