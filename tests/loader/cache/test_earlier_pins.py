"""What versions before 0.3.0 kept in `boards/` is deleted once the process that wrote it is gone, and nothing else."""

from __future__ import annotations

import contextlib
import fcntl
from pathlib import Path

import pytest

from maskmill.pipeline.loader.cache.cache_ledger import CacheLedger

DEAD, LIVE = ("0" * 32 + ".board", "1" * 32 + ".board")


def open_cache(folder: Path) -> None:
    with contextlib.closing(CacheLedger(str(folder), 1 << 20)) as ledger:
        ledger.open_pins()


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    folder = tmp_path / "cache" / "boards"
    folder.mkdir(parents=True)
    (folder / DEAD).write_bytes(bytes(64))
    return folder


def test_the_files_of_dead_processes_are_deleted_with_their_folder(boards: Path) -> None:
    open_cache(boards.parent)
    assert not boards.exists()


def test_the_file_of_a_live_process_stays_until_that_process_ends(boards: Path) -> None:
    with (boards / LIVE).open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        open_cache(boards.parent)
        assert [path.name for path in boards.iterdir()] == [LIVE]
    open_cache(boards.parent)
    assert not boards.exists()


def test_other_files_stay_and_no_link_is_followed(boards: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"of somebody else")
    (boards / LIVE).symlink_to(tmp_path / "victim")
    (boards / "notes.txt").write_bytes(b"")
    (boards / f"{'2' * 32}.pins").write_bytes(b"")
    open_cache(boards.parent)
    assert {path.name for path in boards.iterdir()} == {LIVE, "notes.txt", f"{'2' * 32}.pins"}
    assert (tmp_path / "victim").read_bytes() == b"of somebody else"


def test_a_link_in_the_place_of_the_folder_is_left_alone(boards: Path, tmp_path: Path) -> None:
    boards.rename(tmp_path / "elsewhere")
    boards.symlink_to(tmp_path / "elsewhere")
    open_cache(boards.parent)
    assert boards.is_symlink()
    assert (tmp_path / "elsewhere" / DEAD).exists()
