"""Any store gives the batches of a local disk; a remote one is asked for no more than the batches need."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from torch.utils.data import DataLoader

from pipeline.loader.epoch_order import OrderSettings
from pipeline.loader.fixed_rows import iter_fixed_batches
from pipeline.loader.packed_dataset import PackedDataset
from pipeline.loader.stage_rows import PartitionCursor
from pipeline.storage.datasets import read_shard_table
from pipeline.storage.store import Store, open_store
from tests.loader.datasets import BLOCK_ROWS, SHARD_ROWS, write_dataset
from tests.loader.order_oracle import order_epoch
from tests.loader.streams import MASKING, equal_batches, hash_steps, join_ranks, open_loader

SETTINGS = {"global_batch_rows": 8, "partitions": 4, "shuffle_blocks": 2}


@pytest.fixture
def remote(tmp_path):
    url = f"memory://{tmp_path.name}/packed"
    write_dataset(url)
    yield url
    open_store(url).delete_tree("")


def assert_equal_streams(url, dataset, **settings):
    served = list(open_loader(url, **SETTINGS | settings).epochs(2))
    expected = list(open_loader(dataset, **SETTINGS | settings).epochs(2))
    assert len(served) == len(expected)
    assert all(map(equal_batches, served, expected))


@pytest.mark.parametrize("masking", [MASKING, "static"])
@pytest.mark.parametrize("partitions", [1, 8])
def test_a_store_in_memory_gives_the_batches_of_a_disk(dataset, remote, masking, partitions):
    assert_equal_streams(remote, dataset, masking=masking, partitions=partitions)
    local, other = (list(iter_fixed_batches(url, MASKING, 7)) for url in (dataset, remote))
    assert len(local) == len(other)
    assert all(map(equal_batches, local, other))


def test_an_object_store_gives_the_batches_of_a_disk(dataset, s3_url):
    write_dataset(s3_url)
    assert_equal_streams(s3_url, dataset)
    ranks = [open_loader(s3_url, **SETTINGS, rank=rank, world_size=2).epochs(1) for rank in range(2)]
    assert join_ranks(ranks) == hash_steps(open_loader(dataset, **SETTINGS).epochs(1))
    workers = DataLoader(open_loader(s3_url, **SETTINGS).epochs(1), batch_size=None, num_workers=2)
    assert all(map(equal_batches, workers, open_loader(dataset, **SETTINGS).epochs(1)))


class Reads:
    """Every range that is read, in order; those outside `allowed` wait for `go`."""

    def __init__(self, monkeypatch):
        self.ranges = []
        self.allowed = None
        self.go = threading.Event()
        read_range = Store.read_range

        def read(store, path, offset, length):
            self.ranges.append((path, offset))
            if self.allowed is not None and (path, offset) not in self.allowed:
                assert self.go.wait(30)
            return read_range(store, path, offset, length)

        monkeypatch.setattr(Store, "read_range", read)


def locate_blocks(url):
    """(path, offset) of the block of every row id."""
    dataset = PackedDataset(url)
    table = read_shard_table(dataset.store, dataset.manifest)
    return {
        (shard << 32) + row: (table.path(shard), int(table.block_offsets[table.first_block[shard] + row // BLOCK_ROWS]))
        for shard, num_rows in enumerate(SHARD_ROWS)
        for row in range(num_rows)
    }


@pytest.mark.parametrize(("step", "rank", "world_size"), [(0, 0, 1), (3, 0, 1), (9, 1, 2), (14, 3, 4)])
def test_a_resumed_loader_gives_its_first_batch_after_its_own_blocks_alone(remote, monkeypatch, step, rank, world_size):
    """One block for each partition that the rank serves; two where the step's rows end one and begin the next."""
    settings = {"global_batch_rows": 8, "partitions": 4, "shuffle_blocks": 1, "rank": rank, "world_size": world_size}
    loader = open_loader(remote, **settings)
    loader.load_state_dict(loader.state_dict() | {"step": step})
    blocks = locate_blocks(remote)
    order = order_epoch(SHARD_ROWS, BLOCK_ROWS, seed=1, epoch=0)
    length = len(order) // 4
    served = range(4 * rank // world_size, 4 * (rank + 1) // world_size)
    needed = {blocks[order[p * length + 2 * step + row]] for p in served for row in range(2)}
    reads = Reads(monkeypatch)
    reads.allowed = needed
    stream = iter(loader)
    try:
        first = next(stream)  # whatever is fetched ahead may still be waiting
    finally:
        reads.go.set()
    assert {blocks[row] for row in first.row_ids.tolist()} == needed
    assert set(reads.ranges[: len(needed)]) == needed
    assert len(needed) <= 2 * len(served)
    ahead = reads.ranges[len(needed) :]
    assert len(ahead) <= len(served)
    stream.close()


def test_one_reader_fetches_each_block_at_most_once_for_each_partition(remote, monkeypatch):
    reads = Reads(monkeypatch)
    batches = list(open_loader(remote, **SETTINGS | {"shuffle_blocks": 1}).epochs(1))
    blocks = locate_blocks(remote)
    needed = {blocks[row] for batch in batches for row in batch.row_ids.tolist()}
    # a block that a partition's border cuts is read by both sides
    assert len(reads.ranges) <= len(needed) + 4
    assert set(reads.ranges) == needed


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_downloads_ahead_never_pile_up(remote, monkeypatch, workers):
    """A worker that skips the others' batches drops what it fetched for them."""
    most = 0
    prefetch = PackedDataset.prefetch

    def watch(dataset, shard, blocks):
        nonlocal most
        prefetch(dataset, shard, blocks)
        most = max(most, len(dataset._fetching))

    monkeypatch.setattr(PackedDataset, "prefetch", watch)
    loader = open_loader(remote, global_batch_rows=24, partitions=2)
    turns = list(loader.epochs(4)._iter_turns(PackedDataset(remote), 0, workers))
    expected = list(open_loader(remote, global_batch_rows=24, partitions=2).epochs(4))[::workers]
    assert all(map(equal_batches, turns, expected))
    assert len(turns) == len(expected)
    # a step's own blocks, of 12 rows in each partition, and one ahead for each
    assert most <= 2 * (12 // BLOCK_ROWS + 2)


def test_a_jump_drops_what_was_fetched_for_the_step_it_left(remote):
    dataset = PackedDataset(remote)
    settings = OrderSettings(seed=1, global_batch_rows=8, partitions=2, shuffle_blocks=1)
    cursor = PartitionCursor(dataset, settings, np.arange(2), static=False)
    ahead = set()
    for step in (0, 7, 2, 11, 5):
        cursor.move_to(0, step, step + 1)
        assert len(dataset._fetching) == 2  # one block for each partition, for the next step
        ahead.add(frozenset(dataset._fetching))
    assert len(ahead) == 5
    cursor.move_to(1, 0, None)
    assert not dataset._fetching
    dataset.close()


def test_a_left_stream_ends_its_threads(remote):
    stream = iter(open_loader(remote))
    next(stream)
    fetching = [thread for thread in threading.enumerate() if thread.name.startswith("maskmill-fetch")]
    assert fetching
    stream.close()
    for thread in fetching:
        thread.join(10)
        assert not thread.is_alive()
