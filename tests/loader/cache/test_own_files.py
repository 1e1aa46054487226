"""A cache touches nothing of another user's: no link is followed, and a folder that others may change is refused."""

from __future__ import annotations

import contextlib
import os
import stat
import warnings
from pathlib import Path

import pytest

from maskmill.pipeline.loader.blocks.packed_dataset import PackedDataset
from maskmill.pipeline.loader.cache.block_cache import BlockCache
from maskmill.pipeline.loader.cache.cache_ledger import CacheLedger
from maskmill.pipeline.loader.cache.own_files import find_own_folder, open_own_file
from maskmill.schemas.errors import ConfigError
from tests.loader.cache.caches import cache_home, list_blocks, open_dataset, remote

__all__ = ["cache_home", "remote"]

OTHER_USER = 65534
DATASET = "ab" * 16

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")


def read_all(url: str, folder: object) -> PackedDataset:
    dataset = open_dataset(url, folder, timeout_seconds=30)
    with contextlib.closing(dataset):
        dataset.fetch_ahead(iter(list_blocks(dataset)))
        for shard, blocks in list_blocks(dataset):
            dataset.read_blocks(shard, blocks)
    return dataset


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode) for path in [folder, *folder.rglob("*")]}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o002])
def test_what_a_cache_makes_is_its_users_alone(remote: str, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        read_all(remote, tmp_path / "new")
        read_all(remote, tmp_path / "new")  # what was made is taken again
    finally:
        os.umask(before)
    made = modes(tmp_path / "new")
    assert {"ledger", "claims"} < made.keys()
    assert any(name.endswith(".block") for name in made)
    assert all(mode in (0o700, 0o600) for mode in made.values()), made


def test_a_shared_folder_with_the_sticky_bit_has_a_subfolder_for_each_user(remote: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    (tmp_path / "ledger").symlink_to("/nowhere/at/all")
    read_all(remote, tmp_path)
    own = tmp_path / f"maskmill-{os.geteuid()}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ledger", own.name]
    assert any(name.endswith(".block") for name in modes(own))
    assert all(mode in (0o700, 0o600) for mode in modes(own).values())


def test_a_link_in_the_place_of_the_subfolder_is_refused(remote: str, tmp_path: Path) -> None:
    shared, target = tmp_path / "shared", tmp_path / "target"
    shared.mkdir()
    target.mkdir()
    shared.chmod(0o1777)
    (shared / f"maskmill-{os.geteuid()}").symlink_to(target)
    with pytest.raises(ConfigError, match="there is a link or a file instead of a folder of the cache"):
        read_all(remote, shared)
    assert not list(target.iterdir())


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o770])
def test_a_folder_that_others_may_change_is_refused_with_the_remedy(remote: str, tmp_path: Path, mode: int) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(mode)
    with pytest.raises(ConfigError, match=f"other users may replace.*mode {mode:o}; chmod go-w {tmp_path}/open"):
        read_all(remote, tmp_path / "open")
    (tmp_path / "open").chmod(mode & ~0o022)
    read_all(remote, tmp_path / "open")


@needs_root
@pytest.mark.parametrize("mode", [0o755, 0o700, 0o1777])
def test_a_folder_of_another_user_is_refused(remote: str, tmp_path: Path, mode: int) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs").chmod(mode)
    os.chown(tmp_path / "theirs", OTHER_USER, OTHER_USER)
    with pytest.raises(ConfigError, match=f"belongs to another user.*user {OTHER_USER}; give a folder of your own"):
        read_all(remote, tmp_path / "theirs")
    assert not list((tmp_path / "theirs").iterdir())


@needs_root
def test_a_link_of_another_user_to_a_folder_is_refused(remote: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    os.chown(tmp_path / "link", OTHER_USER, OTHER_USER, follow_symlinks=False)
    with pytest.raises(ConfigError, match=f"belongs to another user.*user {OTHER_USER}"):
        read_all(remote, tmp_path / "link")
    assert not list((tmp_path / "mine").iterdir())


@needs_root
@pytest.mark.parametrize("place", ["subfolder", "dataset"])
def test_a_subfolder_of_another_user_is_refused(tmp_path: Path, place: str) -> None:
    tmp_path.chmod(0o1777 if place == "subfolder" else 0o700)
    theirs = tmp_path / (DATASET if place == "dataset" else f"maskmill-{os.geteuid()}")
    theirs.mkdir()
    os.chown(theirs, OTHER_USER, OTHER_USER)
    with pytest.raises(ConfigError, match="belongs to another user"):
        find_own_folder(str(tmp_path), DATASET)


def test_the_users_own_link_to_a_folder_is_followed(remote: str, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    read_all(remote, tmp_path / "link")
    assert (tmp_path / "disk" / "ledger").exists()


@pytest.mark.parametrize("name", ["ledger", "claims", "pins"])
@pytest.mark.parametrize("exists", [True, False])
def test_planted_links_are_never_written_through(remote: str, tmp_path: Path, name: str, exists: bool) -> None:
    folder, victim = tmp_path / "c", tmp_path / "victim"
    folder.mkdir(mode=0o700)
    if exists:
        victim.mkdir() if name == "pins" else victim.write_bytes(b"of somebody else")
    (folder / name).symlink_to(victim)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        read_all(remote, folder)
    if exists and name == "pins":
        assert not list(victim.iterdir())
    elif exists:
        assert victim.read_bytes() == b"of somebody else"
    else:
        assert not victim.exists()
    assert (folder / name).is_symlink()


@pytest.mark.parametrize("place", ["block", "shard folder", "dataset folder", "table"])
def test_planted_blocks_are_neither_read_nor_written_through(remote: str, tmp_path: Path, place: str) -> None:
    filled = read_all(remote, tmp_path / "filled")
    (dataset,) = [path for path in (tmp_path / "filled").iterdir() if len(path.name) == 32]
    folder = tmp_path / "c"
    folder.mkdir(mode=0o700)
    before = modes(dataset)
    contents = {path: path.read_bytes() for path in dataset.rglob("*") if path.is_file()}
    if place == "dataset folder":
        (folder / dataset.name).symlink_to(dataset)
        with pytest.raises(ConfigError, match="there is a link or a file instead of a folder"):
            read_all(remote, folder)
        return
    (folder / dataset.name).mkdir(mode=0o700)
    shard = next(path for path in dataset.iterdir() if path.is_dir())
    if place == "shard folder":
        (folder / dataset.name / shard.name).symlink_to(shard)
    elif place == "table":
        (folder / dataset.name / "shards.arrow").symlink_to(dataset / "shards.arrow")
    else:
        (folder / dataset.name / shard.name).mkdir(mode=0o700)
        block = next(shard.iterdir())
        (folder / dataset.name / shard.name / block.name).symlink_to(block)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        read_all(remote, folder)
    assert filled is not None
    assert modes(dataset) == before
    assert {path: path.read_bytes() for path in contents} == contents


def test_a_pipe_in_the_place_of_the_ledger_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ledger")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        ledger = CacheLedger(str(tmp_path), 1000)
        assert not ledger.reserve(10)
    os.mkfifo(tmp_path / "file")
    with pytest.raises(PermissionError):
        open_own_file(str(tmp_path / "file"), os.O_RDONLY)
    assert BlockCache(str(tmp_path), 1000, DATASET).claim(0, [1]) is not None
