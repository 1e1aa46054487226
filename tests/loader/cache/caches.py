"""Caches for tests: a folder each, and what lies in it by plain file calls."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

import pytest

from maskmill.pipeline.loader.blocks.packed_dataset import PackedDataset
from maskmill.pipeline.loader.cache.cache_settings import Cache
from maskmill.pipeline.storage.store import Store, open_store
from tests.loader.datasets import write_dataset

Asked = list[tuple[str, int, int]]


@pytest.fixture(autouse=True)
def cache_home(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> str:
    """The folder of the default cache: a fresh one for every test."""
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}/cache-home")
    return f"{tmp_path}/cache-home/maskmill/datasets"


@pytest.fixture
def remote(tmp_path: object) -> Iterator[str]:
    """A dataset on a remote store of this process."""
    url = f"memory://{os.path.basename(str(tmp_path))}/packed"
    write_dataset(url)
    yield url
    open_store(url).delete_tree("")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """(path, offset, length) of every range of a shard that is asked for, in order."""
    ranges: Asked = []
    read_range = Store.read_range

    def read(store: Store, path: str, offset: int, length: int) -> bytes:
        if path.startswith("shard-"):
            ranges.append((path, offset, length))
        return read_range(store, path, offset, length)

    monkeypatch.setattr(Store, "read_range", read)
    return ranges


def open_dataset(url: str, folder: object = "", **settings: object) -> PackedDataset:
    return PackedDataset(url, cache=Cache(folder=str(folder), **settings))  # type: ignore[arg-type]


def list_blocks(dataset: PackedDataset) -> list[tuple[int, list[int]]]:
    """Every block of a dataset in stored order, as items to announce."""
    ends = dataset.shards.first_block.tolist()
    return [(shard, [block]) for shard in range(len(ends) - 1) for block in range(ends[shard + 1] - ends[shard])]


def read_all(dataset: PackedDataset, items: list[tuple[int, list[int]]]) -> list[bytes]:
    """The token ids of all items, one by one."""
    return [
        block.input_ids.tolist().__repr__().encode()
        for shard, blocks in items
        for block in dataset.read_blocks(shard, blocks)
    ]


def count_bytes(folder: object) -> int:
    """What the blocks and tables below a cache folder have, unfinished ones too, while nobody evicts any."""
    total = 0
    with open(f"{folder}/ledger", "ab") as ledger:
        fcntl.flock(ledger, fcntl.LOCK_EX)
        for root, _, names in os.walk(str(folder)):
            for name in names:
                if ".block" in name or "shards.arrow" in name:
                    with contextlib.suppress(FileNotFoundError):
                        total += os.path.getsize(os.path.join(root, name))
    return total


def find_blocks(folder: object) -> list[str]:
    """Paths of all finished blocks below a cache folder."""
    return sorted(
        os.path.join(root, name) for root, _, names in os.walk(str(folder)) for name in names if name.endswith(".block")
    )
