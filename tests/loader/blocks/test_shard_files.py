"""Local shards that change while they are read: an error that names them, never a wrong row or the process's end."""

from __future__ import annotations

import errno
import gc
import os
import shutil

import pytest

from maskmill.pipeline.loader.blocks.shard_files import ShardFiles
from maskmill.schemas.errors import ConfigError, ShardCorruptError
from tests.loader.datasets import write_dataset
from tests.loader.streams import equal_batches, open_loader


@pytest.fixture(scope="module", autouse=True)
def _collected():
    """What earlier tests left is collected once, and then left alone: to look at all of it takes 0.2 s each time."""
    gc.collect()
    gc.freeze()


def count_open():
    gc.collect()  # loaders hold one each until they are collected
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def copied(dataset, tmp_path):
    return shutil.copytree(dataset, tmp_path / "packed")


def read_while(loader, harm):
    """The batches of an epoch, the files harmed behind the second, and what ended it early."""
    served = []
    try:
        for batch in loader.epochs(1):
            served.append(batch)
            if len(served) == 2:
                harm()
    except ShardCorruptError as error:
        return served, str(error)
    return served, ""


def test_shards_that_are_cut_short_while_they_are_read_are_named(dataset, copied):
    def cut():
        for path in copied.glob("shard-*.arrow"):
            os.truncate(path, 100)

    served, error = read_while(open_loader(str(copied)), cut)
    assert "arrow: a shard has another length" in error
    assert all(map(equal_batches, served, open_loader(dataset).epochs(1)))


@pytest.mark.parametrize("name", ["*", "shards.arrow", "shard-*"])
def test_another_dataset_written_over_the_one_that_is_read_gives_no_row(dataset, copied, tmp_path, name):
    """As `cp -r` does it: the files stay, their bytes become others, the table of checksums with them."""
    write_dataset(str(tmp_path / "other"), seed=99)

    def write_over():
        for path in (tmp_path / "other").glob(name):
            with open(copied / path.name, "r+b") as file:
                file.write(path.read_bytes())

    served, error = read_while(open_loader(str(copied)), write_over)
    whole = list(open_loader(dataset).epochs(1))
    assert all(map(equal_batches, served, whole))
    if name == "shards.arrow":  # it was read at the start
        assert (error, len(served)) == ("", len(whole))
    else:
        assert "bytes of a block have changed" in error


def test_few_files_are_open_and_none_after_the_end(tmp_path):
    for number in range(9):
        (tmp_path / str(number)).write_bytes(bytes([number]) * 10)
    before = count_open()
    files = ShardFiles(max_open=3)
    for number in [*range(9), 8, 7, 0, 8]:
        assert files.read(str(tmp_path / str(number)), 10, 2, 5) == bytes([number]) * 5
        assert count_open() <= before + 3
    del files
    assert count_open() == before


def test_no_file_is_open_after_an_iteration_or_one_that_was_given_up(dataset):
    before = count_open()
    assert list(open_loader(dataset).epochs(1))
    assert count_open() == before
    batches = iter(open_loader(dataset))
    next(batches)
    assert count_open() > before
    del batches
    assert count_open() == before


def test_what_may_not_be_read_says_so(tmp_path):
    (tmp_path / "folder").mkdir()
    files = ShardFiles()
    with pytest.raises(ShardCorruptError, match="none: a shard that the manifest names is gone"):
        files.read(str(tmp_path / "none"), 1, 0, 1)
    with pytest.raises((ConfigError, ShardCorruptError), match="folder: "):
        files.read(str(tmp_path / "folder"), os.stat(tmp_path / "folder").st_size, 0, 1)


@pytest.mark.parametrize("call", ["open", "pread"])
def test_a_failure_that_passes_is_tried_again_with_another_descriptor(tmp_path, monkeypatch, call):
    """A handle of NFS goes stale when its server restarts."""
    monkeypatch.setattr("maskmill.pipeline.storage.failures.FIRST_DELAY_SECONDS", 0.001)
    (tmp_path / "file").write_bytes(b"0123456789")
    act, left = getattr(os, call), [errno.ESTALE, errno.EIO]

    def act_or_fail(*arguments):
        if left:
            raise OSError(left.pop(), "stale")
        return act(*arguments)

    before = count_open()
    files = ShardFiles()
    monkeypatch.setattr(os, call, act_or_fail)
    assert files.read(str(tmp_path / "file"), 10, 2, 3) == b"234"
    monkeypatch.undo()
    assert count_open() == before + 1
    files.close()
    assert count_open() == before
