"""The order as a shuffle and as traffic: what stands together is far apart, and nodes share the bytes."""

from __future__ import annotations

import numpy as np
import pytest

from maskmill.pipeline.loader.blocks.packed_dataset import PackedDataset
from maskmill.pipeline.loader.order.epoch_order import LastBatch, OrderSettings, default_partitions
from maskmill.pipeline.loader.order.simulate_order import (
    count_blocks_by_node,
    list_epoch,
    measure_neighbours,
    measure_shuffle,
)
from tests.loader.datasets import BLOCK_ROWS, SHARD_ROWS, write_dataset
from tests.loader.streams import open_loader

SHARDS = np.full(200, 512, np.int64)


@pytest.mark.parametrize("last_batch", list(LastBatch))
@pytest.mark.parametrize(("rows", "partitions", "width"), [(8, 2, 1), (24, 3, 2), (12, 12, 1)])
def test_the_simulator_orders_rows_as_the_loader_does(dataset, last_batch, rows, partitions, width):
    settings = OrderSettings(7, partitions, width, last_batch)
    simulated = list_epoch(np.array(SHARD_ROWS), BLOCK_ROWS, settings, 3, rows)
    loader = open_loader(
        dataset, seed=7, global_batch_rows=rows, partitions=partitions, shuffle_blocks=width, last_batch=last_batch
    )
    first_rows = np.concatenate([[0], np.cumsum(SHARD_ROWS)])
    for batch, expected in zip(loader.at(0, 3).epochs(4), simulated, strict=True):
        ids = batch.row_ids.numpy()
        assert (first_rows[ids >> 32] + (ids & 0xFFFFFFFF)).tolist() == expected.tolist()


@pytest.mark.parametrize("rows", [8, 16, 24, 100, 134, 251, 256, 1000, 4096])
def test_a_global_batch_is_by_default_worth_sixteen_shards_drawn_at_random(rows):
    served = list_epoch(SHARDS, 64, OrderSettings(1, default_partitions(rows), 1), 0, rows)
    random = np.random.default_rng(0).integers(0, 16, (500, rows))
    drawn = np.mean([rows**2 / (np.bincount(batch) ** 2).sum() for batch in random])
    assert measure_shuffle(served, SHARDS).shards >= drawn


def test_neighbours_on_disk_are_as_far_apart_as_the_window_is_wide():
    medians = []
    for width in (1, 2, 4, 8):
        served = list_epoch(SHARDS, 64, OrderSettings(1, 16, width), 0, 64)
        quality = measure_shuffle(served, SHARDS)
        # a window of w blocks of 64 rows is served in 64 * w / 4 steps; two places drawn from it lie a third apart
        assert 0.2 * 16 * width < quality.neighbour_steps[2] < 0.4 * 16 * width
        assert quality.together < 2 * 4 / (64 * width)
        medians.append(quality.neighbour_steps[2])
    assert medians == sorted(medians)


def test_distances_are_counted_between_neighbours_of_one_shard_alone():
    rows = np.array([[0, 3], [4, 2], [1, 5]])
    # places 0 to 5 in steps 0, 2, 1, 0, 1, 2; shards of 2 and 4 rows: 0-1, 2-3, 3-4, 4-5
    assert measure_neighbours(rows, np.array([2, 4])).tolist() == [2, 1, 1, 1]
    assert measure_neighbours(rows[:2], np.array([2, 4])).tolist() == [1, 1]  # rows 1 and 5 are not served


@pytest.mark.parametrize("partitions", [8, 16, 64])
@pytest.mark.parametrize("nodes", [1, 2, 4, 8])
def test_a_node_reads_its_share_of_the_bytes(partitions, nodes):
    """1 / nodes, and what the borders of partitions and nodes cut twice: at most (partitions + nodes) of all shards."""
    served = list_epoch(SHARDS, 64, OrderSettings(5, partitions, 1), 2, 64)
    blocks = count_blocks_by_node(served, SHARDS, 64, nodes)
    assert blocks.max() / (200 * 8) <= 1 / nodes + (partitions + nodes) / 200
    assert blocks.sum() >= served.size / 64  # and together all that is served


def test_the_loader_reads_the_blocks_that_the_simulator_counts(tmp_path, monkeypatch):
    shards = (8,) * 40
    write_dataset(str(tmp_path), shard_rows=shards)
    read: dict[int, set[tuple[int, int]]] = {}
    original = PackedDataset.read_blocks

    def read_blocks(self, shard, blocks, copies):
        read[node].update((shard, block) for block in blocks)
        return original(self, shard, blocks, copies)

    monkeypatch.setattr(PackedDataset, "read_blocks", read_blocks)
    served = list_epoch(np.array(shards), BLOCK_ROWS, OrderSettings(1, 8, 1), 0, 16)
    expected = count_blocks_by_node(served, np.array(shards), BLOCK_ROWS, 4)
    for node in range(4):
        read[node] = set()
        for rank in (2 * node, 2 * node + 1):
            list(open_loader(str(tmp_path), global_batch_rows=16, partitions=8, rank=rank, world_size=8).epochs(1))
    # a window is read whole: the loader may read a block of which it serves no row
    assert all(len(read[node]) >= expected[node] for node in range(4))
    assert max(map(len, read.values())) / 80 <= 1 / 4 + (8 + 4) / 40
