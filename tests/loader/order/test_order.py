"""Law 7: the order of rows is a pure function of the seed, the epoch, the dataset, G, P and the shuffle window."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.keyed_order import derive_key, permute
from maskmill.pipeline.loader.order.epoch_order import (
    EpochOrder,
    LastBatch,
    OrderSettings,
    default_partitions,
    measure_epoch,
)
from tests.loader.datasets import BLOCK_ROWS, NUM_ROWS, SHARD_ROWS
from tests.loader.order.order_oracle import absorb, global_batches, mix, order_epoch, order_shard, permutation
from tests.loader.streams import open_loader

uint64s = st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1))
shard_sizes = st.lists(st.one_of(st.integers(0, 3), st.integers(0, 40)), min_size=1, max_size=7)
DIVISIONS = [(8, None, 1), (8, 1, 1), (8, 2, 3), (8, 8, 1), (12, 4, 2), (12, 3, 100), (1, 1, 1), (NUM_ROWS, 1, 1)]


@pytest.mark.parametrize(("rows", "partitions", "width"), DIVISIONS)
def test_the_loader_serves_the_documented_order(dataset, rows, partitions, width):
    loader = open_loader(dataset, global_batch_rows=rows, partitions=partitions, shuffle_blocks=width, seed=9)
    served = [batch.row_ids.tolist() for batch in loader.epochs(3)]
    expected = [
        step
        for epoch in range(3)
        for step in global_batches(
            SHARD_ROWS, BLOCK_ROWS, seed=9, epoch=epoch, rows=rows, partitions=partitions or rows, width=width
        )
    ]
    assert served == expected
    assert len(expected) == 3 * loader.steps_per_epoch


@pytest.mark.parametrize(("rows", "partitions", "width"), DIVISIONS)
def test_an_epoch_serves_every_row_at_most_once_and_leaves_out_fewer_than_g_plus_p(
    dataset, stored, rows, partitions, width
):
    loader = open_loader(dataset, global_batch_rows=rows, partitions=partitions, shuffle_blocks=width)
    served = [row for batch in loader.epochs(1) for row in batch.row_ids.tolist()]
    assert len(set(served)) == len(served)
    assert set(served) <= set(stored)
    assert len(stored) - len(served) < rows + (partitions or rows)


def test_other_epochs_and_seeds_give_other_orders_and_leave_out_other_rows(dataset, stored):
    served = {
        (seed, epoch): tuple(row for batch in open_loader(dataset, seed=seed).epochs(4) if batch.epoch == epoch
                             for row in batch.row_ids.tolist())
        for seed in range(3) for epoch in range(4)
    }  # fmt: skip
    assert len(set(served.values())) == len(served)
    assert len({frozenset(stored) - frozenset(rows) for rows in served.values()}) > 1


def test_the_order_never_changes_silently(dataset):
    """Computed once by the oracle; whoever changes it breaks the resumption of every run under way."""
    loader = open_loader(dataset, global_batch_rows=8, partitions=2, shuffle_blocks=2, seed=42)
    served = [batch.row_ids.tolist() for batch in loader.epochs(2)]
    assert [divmod(row, 2**32) for row in served[0]] == GOLDEN_FIRST
    assert hashlib.sha256(repr(served).encode()).hexdigest() == GOLDEN_HASH


@given(shard_sizes, st.integers(1, 6), uint64s, st.integers(0, 2**40), st.integers(1, 4), st.data())
@settings(max_examples=150, deadline=None)
def test_any_place_of_any_partition_is_found_without_what_comes_before(rows, block_rows, seed, epoch, width, data):
    partitions = data.draw(st.integers(1, 4))
    order = EpochOrder(np.array(rows, np.int64), block_rows, OrderSettings(seed, partitions, width), epoch)
    expected = order_epoch(rows, block_rows, seed=seed, epoch=epoch, width=width)
    length = len(expected) // partitions
    assert order.rows_per_partition == length
    if length:
        partition, offset = data.draw(st.integers(0, partitions - 1)), data.draw(st.integers(0, length - 1))
        found = read_window(order, rows, block_rows, partition, offset)
        start = partition * length
        assert found == expected[start + offset : start + offset + len(found)]
        assert 1 <= len(found) <= length - offset


@pytest.mark.parametrize(("partition", "offset"), [(0, 20), (0, -1), (2, 0), (-1, 0)])
def test_no_window_lies_outside_its_interval(partition, offset):
    order = EpochOrder(np.array([40]), 4, OrderSettings(0, 2, 1), 0)
    with pytest.raises(ValueError, match="no row"):
        order.window_at(partition, offset)


def read_window(order, shard_rows, block_rows, partition, offset):
    window = order.window_at(partition, offset)
    places = [
        window.shard * 2**32 + row
        for block in window.blocks.tolist()
        for row in range(block * block_rows, min((block + 1) * block_rows, shard_rows[window.shard]))
    ]
    return [places[row] for row in window.rows.tolist()]


def test_a_window_reads_no_more_blocks_than_asked_and_ends_with_them():
    order = EpochOrder(np.array([40, 40]), 4, OrderSettings(0, 2, 3), 0)
    offset = 0
    while offset < order.rows_per_partition:
        window = order.window_at(1, offset)
        assert len(window.blocks) <= 3
        assert window.num_rows == len(window.rows) <= 12
        offset += len(window.rows)
    assert offset == order.rows_per_partition


def test_a_hundred_thousand_shards_of_a_thousand_million_rows_are_addressed_directly():
    shard_rows = (np.arange(100_000, dtype=np.int64) * 7919) % 20_001
    assert shard_rows.sum() > 999_000_000
    settings = OrderSettings(seed=5, partitions=64, shuffle_blocks=2)
    order = EpochOrder(shard_rows, 256, settings, epoch=3)
    shards = permutation(len(shard_rows), absorb(1, 5, 3))
    starts = [0]
    for shard in shards:
        starts.append(starts[-1] + int(shard_rows[shard]))
    length = starts[-1] // 64
    assert order.rows_per_partition == length
    assert measure_epoch(starts[-1], 4096, 64, LastBatch.DROP).rows_per_partition == length // 64 * 64
    random = np.random.default_rng(0)
    for partition, share in zip(random.integers(0, 64, 6).tolist(), random.random(6).tolist(), strict=True):
        offset = int(share * length)
        place = partition * length + offset
        position = next(index for index in range(len(shards)) if starts[index + 1] > place)
        shard = shards[position]
        expected = order_shard(shard, int(shard_rows[shard]), 256, 5, 3, 2)[place - starts[position] :]
        found = read_window(order, shard_rows, 256, partition, offset)
        assert found == expected[: len(found)]
        assert len(found) > 0


@given(st.lists(st.integers(-(2**70), 2**70), min_size=1, max_size=5), st.integers(0, 60))
def test_keys_and_permutations_are_those_of_plain_integers(words, count):
    key = derive_key(*words)
    assert int(key) == absorb(*(word % 2**64 for word in words))
    assert permute(count, key).tolist() == permutation(count, int(key))


def test_the_oracle_mixes_as_splitmix64_publishes():
    assert [mix(0x9E3779B97F4A7C15 * step % 2**64) for step in (1, 2)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


@given(st.integers(1, 5000))
def test_partitions_are_by_default_the_largest_divisor_up_to_64_unless_that_is_too_few(rows):
    divisors = [p for p in range(1, rows + 1) if rows % p == 0]
    small = max(p for p in divisors if p <= 64)
    assert default_partitions(rows) == (small if small >= 16 or rows <= 64 else min(p for p in divisors if p > 64))


GOLDEN_FIRST = [(3, 0), (2, 28), (2, 16), (2, 18), (4, 4), (4, 12), (4, 7), (4, 15)]
GOLDEN_HASH = "1b7876240cdadafe66b1ce9fb5d00808a67e0a78411e28de914a92f460130a8b"
