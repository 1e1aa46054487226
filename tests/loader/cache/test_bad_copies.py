"""A copy on the disk that went bad or is gone costs no more requests than it must, and the good rest is still used."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskmill.pipeline.loader.blocks.packed_dataset import PackedDataset
from maskmill.pipeline.loader.cache.block_cache import BlockCache
from maskmill.pipeline.loader.cache.block_states import Request, WantedBlock
from maskmill.pipeline.loader.cache.download_blocks import Downloads
from maskmill.pipeline.storage.datasets import fingerprint_rows
from tests.loader.cache.caches import Asked, asked, cache_home, find_blocks, open_dataset, read_all, remote

__all__ = ["asked", "cache_home", "remote"]

SHARD = 2
NUM_BLOCKS = 11
ITEMS = [(SHARD, [block]) for block in range(NUM_BLOCKS)]


@pytest.fixture
def dataset(remote: str, tmp_path: Path, asked: Asked) -> Iterator[PackedDataset]:
    """A dataset of which all blocks of a shard are in the cache, in one file."""
    opened = open_dataset(remote, tmp_path / "c")
    cache = BlockCache(str(tmp_path / "c"), 1 << 30, fingerprint_rows(opened.manifest), opened.shards)
    cache.ledger.open_pins()
    blocks = list(range(NUM_BLOCKS))
    Downloads(opened.store, opened.shards, cache).download(Request(WantedBlock(SHARD, 0), blocks, 0), lambda *_: True)
    cache.ledger.close()
    assert find_blocks(tmp_path / "c") == [cache.locate(SHARD, 0, NUM_BLOCKS)]
    asked.clear()
    with contextlib.closing(opened):
        yield opened


def place(dataset: PackedDataset, block: int) -> tuple[str, int, int]:
    """The range of a block in its shard, as the store is asked for it."""
    index = int(dataset.shards.first_block[SHARD]) + block
    path = dataset.shards.path(SHARD)
    return path, int(dataset.shards.block_offsets[index]), int(dataset.shards.block_lengths[index])


def damage(dataset: PackedDataset, path: str, block: int) -> None:
    first = int(dataset.shards.first_block[SHARD])
    at = int(dataset.shards.block_lengths[first : first + block].sum()) + 50
    with open(path, "r+b") as file:
        byte = os.pread(file.fileno(), 1, at)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 4]), at)


def read(dataset: PackedDataset, expected: list[bytes] | None = None) -> list[bytes]:
    dataset.fetch_ahead(iter(ITEMS))
    found = read_all(dataset, ITEMS)
    assert expected in (None, found)
    return found


def check_few(asked: Asked) -> None:
    """Far fewer requests than blocks; while the reader refuses a block, what is read ahead may ask for it too."""
    assert 1 <= len(asked) <= 4


@pytest.mark.parametrize("bad", [0, 4, NUM_BLOCKS - 1])
def test_one_bad_block_is_fetched_alone_and_once(
    dataset: PackedDataset, remote: str, tmp_path: Path, asked: Asked, bad: int
) -> None:
    expected = read(open_dataset(remote, tmp_path / "other"))
    asked.clear()
    (path,) = find_blocks(tmp_path / "c")
    damage(dataset, path, bad)
    read(dataset, expected)
    assert asked == [place(dataset, bad)]
    read(dataset, expected)
    with contextlib.closing(open_dataset(remote, tmp_path / "c")) as again:
        read(again, expected)
    assert asked == [place(dataset, bad)]


def test_one_bad_block_whose_good_copy_is_evicted_is_fetched_again(
    dataset: PackedDataset, remote: str, tmp_path: Path, asked: Asked
) -> None:
    expected = read(open_dataset(remote, tmp_path / "other"))
    (path,) = find_blocks(tmp_path / "c")
    damage(dataset, path, 4)
    read(dataset, expected)
    asked.clear()
    (copy,) = set(find_blocks(tmp_path / "c")) - {path}
    os.unlink(copy)
    with contextlib.closing(open_dataset(remote, tmp_path / "c")) as again:
        read(again, expected)
    assert asked == [place(dataset, 4)]


@pytest.mark.parametrize("bad", [(2, 7), range(NUM_BLOCKS)])
def test_a_file_with_several_bad_blocks_is_fetched_again_in_few_requests(
    dataset: PackedDataset, remote: str, tmp_path: Path, asked: Asked, bad: tuple[int, ...]
) -> None:
    """As after a power cut, which may leave a file of the right length without its bytes."""
    expected = read(open_dataset(remote, tmp_path / "other"))
    asked.clear()
    (path,) = find_blocks(tmp_path / "c")
    for block in bad:
        damage(dataset, path, block)
    read(dataset, expected)
    check_few(asked)


def test_a_file_that_is_gone_while_its_blocks_are_read_is_fetched_again_in_few_requests(
    dataset: PackedDataset, remote: str, tmp_path: Path, asked: Asked
) -> None:
    expected = read(open_dataset(remote, tmp_path / "other"))
    asked.clear()
    dataset.fetch_ahead(iter(ITEMS))
    found = read_all(dataset, ITEMS[:3])
    os.unlink(find_blocks(tmp_path / "c")[0])
    found += read_all(dataset, ITEMS[3:])
    assert found == expected
    check_few(asked)


def test_a_good_copy_that_another_process_wrote_is_kept(dataset: PackedDataset, tmp_path: Path) -> None:
    """A process that still reads the bad file discards the block again."""
    cache = BlockCache(str(tmp_path / "c"), 1 << 30, fingerprint_rows(dataset.manifest), dataset.shards)
    damage(dataset, cache.locate(SHARD, 0, NUM_BLOCKS), 4)
    cache.ledger.open_pins()
    wanted = WantedBlock(SHARD, 4, bypasses_disk=True)
    Downloads(dataset.store, dataset.shards, cache).download(Request(wanted, [4], 0), lambda *_: True)
    cache.ledger.close()
    files = find_blocks(tmp_path / "c")
    assert cache.locate(SHARD, 4, 1) in files
    cache.discard(SHARD, 4)
    assert find_blocks(tmp_path / "c") == files
