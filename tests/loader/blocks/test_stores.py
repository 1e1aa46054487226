"""Any store gives the batches of a local disk; a remote one is asked for no more than the batches need."""

from __future__ import annotations

import itertools
import os
import threading
import time

import pytest
from torch.utils.data import DataLoader

from maskmill.pipeline.loader import Cache
from maskmill.pipeline.loader.blocks.packed_dataset import PackedDataset
from maskmill.pipeline.loader.cache.fetch_planner import FetchPlanner
from maskmill.pipeline.loader.fixed_rows import iter_fixed_batches
from maskmill.pipeline.storage.shard_table import read_shard_table
from maskmill.pipeline.storage.store import Store
from tests.loader.cache.caches import list_blocks, open_dataset, read_all
from tests.loader.datasets import BLOCK_ROWS, SHARD_ROWS, write_dataset
from tests.loader.order.order_oracle import order_epoch
from tests.loader.streams import MASKING, equal_batches, hash_steps, join_ranks, open_loader

SETTINGS = {"global_batch_rows": 8, "partitions": 4, "shuffle_blocks": 2}
MODES = ("auto", "block", "shard")


def assert_equal_streams(url, dataset, **settings):
    served = list(open_loader(url, **SETTINGS | settings).epochs(2))
    expected = list(open_loader(dataset, **SETTINGS | {k: v for k, v in settings.items() if k != "cache"}).epochs(2))
    assert len(served) == len(expected)
    assert all(map(equal_batches, served, expected))


@pytest.mark.parametrize("masking", [MASKING, "static"])
@pytest.mark.parametrize("partitions", [1, 8])
def test_a_store_in_memory_gives_the_batches_of_a_disk(dataset, remote, masking, partitions):
    assert_equal_streams(remote, dataset, masking=masking, partitions=partitions)
    local, other = (list(iter_fixed_batches(url, MASKING, 7)) for url in (dataset, remote))
    assert len(local) == len(other)
    assert all(map(equal_batches, local, other))


@pytest.mark.parametrize("fetch", MODES)
@pytest.mark.parametrize("max_bytes", [30_000, 1 << 30])
def test_no_setting_of_the_cache_changes_a_batch(dataset, remote, tmp_path, fetch, max_bytes):
    """30,000 bytes are less than half of the dataset."""
    assert_equal_streams(remote, dataset, cache=Cache(folder=str(tmp_path / "c"), fetch=fetch, max_bytes=max_bytes))


def test_an_object_store_gives_the_batches_of_a_disk(dataset, s3_url):
    write_dataset(s3_url)
    assert_equal_streams(s3_url, dataset)
    ranks = [open_loader(s3_url, **SETTINGS, rank=rank, world_size=2).epochs(1) for rank in range(2)]
    assert join_ranks(ranks) == hash_steps(open_loader(dataset, **SETTINGS).epochs(1))
    workers = DataLoader(open_loader(s3_url, **SETTINGS).epochs(1), batch_size=None, num_workers=2)
    assert all(map(equal_batches, workers, open_loader(dataset, **SETTINGS).epochs(1)))


class Gate:
    """Ranges outside `allowed` wait for `go`."""

    def __init__(self, monkeypatch):
        self.allowed = None
        self.go = threading.Event()
        read_range = Store.read_range

        def read(store, path, offset, length):
            if self.allowed is not None and (path, offset, length) not in self.allowed:
                assert self.go.wait(30)
            return read_range(store, path, offset, length)

        monkeypatch.setattr(Store, "read_range", read)


def locate_blocks(url):
    """(path, offset, length) of the block of every row id."""
    dataset = PackedDataset(url)
    table = read_shard_table(dataset.store, dataset.manifest)

    def locate(shard, block):
        index = int(table.first_block[shard]) + block
        return table.path(shard), int(table.block_offsets[index]), int(table.block_lengths[index])

    return {
        (shard << 32) + row: locate(shard, row // BLOCK_ROWS)
        for shard, num_rows in enumerate(SHARD_ROWS)
        for row in range(num_rows)
    }


@pytest.mark.parametrize(("step", "rank", "world_size"), [(0, 0, 1), (3, 0, 1), (9, 1, 2), (14, 3, 4)])
def test_a_resumed_loader_gives_its_first_batch_after_its_own_blocks_alone(
    remote, tmp_path, monkeypatch, step, rank, world_size
):
    """One block for each partition that the rank serves; two where the step's rows end one and begin the next."""
    settings = {"global_batch_rows": 8, "partitions": 4, "shuffle_blocks": 1, "rank": rank, "world_size": world_size}
    loader = open_loader(remote, **settings)
    loader.load_state_dict(loader.state_dict() | {"step": step})
    blocks = locate_blocks(remote)
    gate = Gate(monkeypatch)
    first_ids = _first_row_ids(remote, settings, step, str(tmp_path / "other"))
    needed = {blocks[row] for row in first_ids}
    gate.allowed = needed
    stream = iter(loader)
    try:
        first = next(stream)  # whatever is fetched ahead may still be waiting
    finally:
        gate.go.set()
    assert first.row_ids.tolist() == first_ids
    assert len(needed) <= 2 * 4 // world_size
    stream.close()


def _first_row_ids(url, settings, step, folder):
    ranks = settings | {"rank": 0, "world_size": 1}
    batch = next(itertools.islice(open_loader(url, cache=Cache(folder=folder), **ranks), step, None))
    share = 8 // settings["world_size"]
    return batch.row_ids.tolist()[settings["rank"] * share : (settings["rank"] + 1) * share]


@pytest.mark.parametrize("fetch", MODES)
def test_a_block_is_downloaded_once_for_all_epochs(remote, tmp_path, asked, fetch):
    """And what is never read is not downloaded, but for the rest of shards that are."""
    cache = Cache(folder=str(tmp_path / "c"), fetch=fetch)
    batches = list(open_loader(remote, cache=cache, **SETTINGS | {"shuffle_blocks": 1}).epochs(3))
    blocks = locate_blocks(remote)
    first = [batch for batch in batches if batch.epoch == 0]
    needed = {blocks[row] for batch in (first if fetch != "block" else batches) for row in batch.row_ids.tolist()}
    spread = [(path, at) for path, offset, length in asked for at in range(offset, offset + length)]
    if fetch == "block":
        assert len(spread) == len(set(spread))
        assert set(spread) == {(path, at) for path, offset, length in needed for at in range(offset, offset + length)}
    else:
        assert set(spread) >= {(path, at) for path, offset, length in needed for at in range(offset, offset + length)}


def test_blocks_are_asked_for_in_the_order_announced(remote, tmp_path, monkeypatch):
    begun = []
    next_request = FetchPlanner.next_request

    def watch(planner):
        request = next_request(planner)
        if request is not None:
            begun.extend((request.cause.shard, [block]) for block in request.blocks)
        return request

    monkeypatch.setattr(FetchPlanner, "next_request", watch)
    dataset = open_dataset(remote, tmp_path / "c", fetch="block")
    items = list_blocks(dataset)[::-3]
    dataset.require_capacity(len(items))  # each of them alone
    dataset.fetch_ahead(iter(items))
    while len(begun) < len(items):
        time.sleep(0.01)
    read_all(dataset, items)
    dataset.close()
    assert begun == items


def test_neighbours_that_will_be_read_come_in_one_request(remote, tmp_path, asked):
    dataset = open_dataset(remote, tmp_path / "c", fetch="block")
    dataset.require_capacity(8)
    dataset.fetch_ahead(iter([(2, [9]), (2, [3, 4, 5]), (4, [0])]))
    dataset.read_blocks(2, [3, 4, 5])
    dataset.read_blocks(4, [0])
    first = int(dataset.shards.first_block[2]) + 3
    offset = int(dataset.shards.block_offsets[first])
    assert ("shard-00002.arrow", offset, int(dataset.shards.block_lengths[first : first + 3].sum())) in asked
    dataset.close()


@pytest.mark.parametrize(("fetch", "blocks"), [("shard", 11), ("block", 1)])
def test_what_was_not_announced_comes_only_as_a_part_of_its_extent(remote, tmp_path, asked, fetch, blocks):
    dataset = open_dataset(remote, tmp_path / "c", fetch=fetch)
    dataset.fetch_ahead(iter([(0, [0]), (0, [1]), (2, [5])]))
    dataset.read_blocks(0, [0])
    dataset.read_blocks(0, [1])
    dataset.read_blocks(2, [5])
    time.sleep(0.05)
    index = int(dataset.shards.first_block[2])
    lengths = dataset.shards.block_lengths[index : index + 11]
    of_shard = [length for path, _, length in asked if path == "shard-00002.arrow"]
    assert sum(of_shard) == (int(lengths.sum()) if blocks == 11 else int(lengths[5]))
    assert {path for path, _, _ in asked} == {"shard-00000.arrow", "shard-00002.arrow"}
    dataset.close()


def test_an_endless_announcement_is_drawn_from_as_there_is_room(remote, tmp_path):
    dataset = open_dataset(remote, tmp_path / "c", max_bytes=40_000)
    drawn = 0

    def announce():
        nonlocal drawn
        for item in itertools.cycle(list_blocks(dataset)):
            drawn += 1
            yield item

    dataset.fetch_ahead(announce())
    seen = []
    for number, (shard, blocks) in enumerate(itertools.islice(itertools.cycle(list_blocks(dataset)), 100)):
        dataset.read_blocks(shard, blocks)
        seen.append(drawn - number)
    time.sleep(0.1)
    # A quarter of the cache: 10,000 bytes of blocks of 700 and more, the last of a shard down to 350.
    assert max(seen) <= 30
    assert 100 <= drawn <= 130
    dataset.close()


def test_a_new_announcement_replaces_the_last_one(remote, tmp_path, asked, monkeypatch):
    dataset = open_dataset(remote, tmp_path / "c", fetch="block", max_bytes=5_000)
    items = list_blocks(dataset)
    dataset.fetch_ahead(iter(items))
    dataset.fetch_ahead(iter([(6, [8]), (5, [0])]))
    dataset.read_blocks(6, [8])
    dataset.read_blocks(5, [0])
    time.sleep(0.05)
    assert {path for path, _, _ in asked} <= {"shard-00000.arrow", "shard-00005.arrow", "shard-00006.arrow"}
    dataset.close()


def test_an_error_of_the_announcement_is_the_readers(remote, tmp_path):
    dataset = open_dataset(remote, tmp_path / "c")

    def announce():
        yield 0, [0]
        raise ZeroDivisionError

    dataset.fetch_ahead(announce())
    with pytest.raises(ZeroDivisionError):
        read_all(dataset, list_blocks(dataset))
    dataset.close()


def test_waiting_and_downloads_are_counted(remote, tmp_path, monkeypatch):
    read_range = Store.read_range

    def read(store, path, offset, length):
        time.sleep(0.2 if path.startswith("shard-") else 0)
        return read_range(store, path, offset, length)

    monkeypatch.setattr(Store, "read_range", read)
    dataset = open_dataset(remote, tmp_path / "c", fetch="block")
    assert (dataset.waited_seconds, dataset.fetched_bytes) == (0, 0)
    dataset.read_blocks(0, [1])
    waited, length = dataset.waited_seconds, int(dataset.shards.block_lengths[1])
    assert 0.2 <= waited < 2
    assert dataset.fetched_bytes == length
    dataset.read_blocks(0, [1])
    assert dataset.waited_seconds < waited + 0.1
    assert dataset.fetched_bytes == length
    dataset.close()
    assert dataset.fetched_bytes == length


def test_a_local_dataset_is_neither_cached_nor_counted(dataset, cache_home, tmp_path):
    opened = open_dataset(dataset, tmp_path / "c", max_bytes=1)
    opened.require_capacity(1000)
    opened.fetch_ahead(iter(list_blocks(opened)))
    read_all(opened, list_blocks(opened))
    assert (opened.waited_seconds, opened.fetched_bytes) == (0, 0)
    assert not (tmp_path / "c").exists()


def test_a_left_stream_ends_its_threads(remote):
    others = set(threading.enumerate())
    stream = iter(open_loader(remote))
    next(stream)
    fetching = [thread for thread in set(threading.enumerate()) - others if thread.name.startswith("maskmill-fetch")]
    assert fetching
    stream.close()
    for thread in fetching:
        thread.join(10)
        assert not thread.is_alive()


def test_a_dataset_that_nobody_holds_any_more_ends_its_threads(remote, tmp_path):
    others = set(threading.enumerate())
    dataset = open_dataset(remote, tmp_path / "c")
    dataset.fetch_ahead(iter(list_blocks(dataset)))
    fetching = set(threading.enumerate()) - others
    del dataset
    for thread in fetching:
        thread.join(10)
        assert not thread.is_alive()
    assert not os.listdir(tmp_path / "c" / "pins")


def test_every_row_of_an_epoch_is_that_of_the_order(remote):
    """The oracle of the order, over a remote store."""
    rows = [row for batch in open_loader(remote, **SETTINGS).epochs(1) for row in batch.row_ids.tolist()]
    assert set(rows) <= set(order_epoch(SHARD_ROWS, BLOCK_ROWS, seed=1, epoch=0))
