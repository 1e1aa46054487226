"""The table of shards is kept while its dataset is in use, and a copy that cannot be read is done without."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from maskmill.pipeline.loader.cache.block_cache import BlockCache
from maskmill.pipeline.storage.failures import explained_failures
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import ShardCorruptError
from tests.loader.cache.caches import list_blocks, open_dataset, read_all


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each piece of a table that is downloaded into a cache."""
    lengths: list[int] = []
    read_range = Store.read_range

    def read(store: Store, path: str, offset: int, length: int) -> bytes:
        if path == "shards.arrow":
            lengths.append(length)
        return read_range(store, path, offset, length)

    monkeypatch.setattr(Store, "read_range", read)
    return lengths


def find_table(folder: Path) -> Path:
    (path,) = folder.glob("*/shards.arrow")
    return path


def age(path: Path) -> float:
    then = time.time() - 100
    os.utime(path, (then, then))
    return then


def test_a_table_that_is_read_was_used_now(remote: str, tmp_path: Path) -> None:
    open_dataset(remote, tmp_path / "c").close()
    then = age(find_table(tmp_path / "c"))
    open_dataset(remote, tmp_path / "c").close()
    assert find_table(tmp_path / "c").stat().st_mtime > then + 50


def test_the_table_outlives_the_blocks_while_its_dataset_is_read(
    remote: str, tmp_path: Path, downloads: list[int]
) -> None:
    dataset = open_dataset(remote, tmp_path / "c", max_bytes=45_000)
    dataset.read_blocks(0, [0])
    age(find_table(tmp_path / "c"))
    assert int(dataset.shards.block_lengths.sum()) > 45_000
    read_all(dataset, list_blocks(dataset))
    open_dataset(remote, tmp_path / "c", max_bytes=45_000).close()
    assert len(downloads) == 1
    other = BlockCache(str(tmp_path / "c"), 45_000, "cd" * 16)
    dataset.close()
    other.ledger.open_pins()
    assert other.ledger.reserve(45_000)  # nothing of it is kept any longer
    other.ledger.close()


@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES])
def test_a_copy_that_cannot_be_read_is_downloaded_again(
    remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    expected = open_dataset(remote, tmp_path / "c")
    read_bytes = Store.read_bytes

    def fail(store: Store, path: str, most: int | None = None) -> object:
        if path == "shards.arrow" and str(tmp_path / "c") in store.url:
            with explained_failures(store.locate(path)):
                raise OSError(error, os.strerror(error))
        return read_bytes(store, path, most)

    monkeypatch.setattr(Store, "read_bytes", fail)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    dataset = open_dataset(remote, tmp_path / "c")
    assert dataset.shards.block_checksums.tolist() == expected.shards.block_checksums.tolist()


def test_a_table_that_is_too_large_is_not_downloaded(
    remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, downloads: list[int]
) -> None:
    for module in ("storage.shard_table", "loader.cache.cached_table"):
        monkeypatch.setattr(f"maskmill.pipeline.{module}.MAX_TABLE_BYTES", 1000)
    with pytest.raises(ShardCorruptError, match="larger than any"):
        open_dataset(remote, tmp_path / "c")
    assert not downloads
