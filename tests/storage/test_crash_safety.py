"""A writer killed between any two of its steps leaves the file absent or whole, and the next writer finishes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from maskmill.pipeline.storage import local_files
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.errors import MaskmillError
from tests.storage.crash_writer import CONTENT

WRITER = "tests.storage.crash_writer"


def write_and_die(kind: str, path: Path, nth: int) -> tuple[int, str]:
    command = [sys.executable, "-m", WRITER, kind, str(path), str(nth)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=30, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("kind", ["replace", "create"])
@pytest.mark.parametrize("before", [None, b"an older version"])
def test_killed_at_any_step_the_file_is_absent_or_whole(kind: str, before: bytes | None, tmp_path: Path) -> None:
    def prepare(name: str) -> Path:
        path = tmp_path / name / "new" / "file"
        if before is not None:
            path.parent.mkdir(parents=True)
            path.write_bytes(before)
        return path

    finished = prepare("finished")
    code, printed = write_and_die(kind, finished, 1 << 30)
    assert code == 0
    num_steps = int(printed)
    assert num_steps >= 9  # open, two writes, flush, fsync, close, rename or link, open and fsync of the folder
    end = CONTENT if kind == "replace" or before is None else before
    assert finished.read_bytes() == end
    assert os.listdir(finished.parent) == ["file"]
    seen = set()
    for nth in range(1, num_steps + 1):
        path = prepare(str(nth))
        code, printed = write_and_die(kind, path, nth)
        assert (code, printed) == (-signal.SIGKILL, "")
        found = path.read_bytes() if path.exists() else None
        assert found in (before, end)
        seen.add(found)
        store = open_store(str(tmp_path / str(nth)))
        assert store.list() == (["new/file"] if path.exists() else [])
        # What the next run does.
        local_files.delete_partials(str(tmp_path / str(nth)))
        if kind == "replace":
            store.write_bytes("new/file", CONTENT)
        else:
            assert store.create("new/file", CONTENT) is (found is None)
        assert path.read_bytes() == end
        assert os.listdir(path.parent) == ["file"]
    assert seen == {before, end}


def test_what_is_renamed_has_reached_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content before the name, the name before the return: the order of flushes, each seen at its inode."""
    steps: list[str] = []
    real_fsync, real_replace, real_link = os.fsync, os.replace, os.link

    def fsync(descriptor: int) -> None:
        steps.append(f"flush {os.path.basename(os.readlink(f'/proc/self/fd/{descriptor}'))[:4]}")
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", lambda *paths: (steps.append("rename"), real_replace(*paths)))
    monkeypatch.setattr(os, "link", lambda *paths: (steps.append("link"), real_link(*paths)))
    folder = tmp_path / "fold"
    with local_files.open_durable(str(folder / "file")) as file:
        file.write(b"x")
    assert steps == [f"flush {tmp_path.name[:4]}", "flush file", "rename", "flush fold"]
    steps.clear()
    assert local_files.create_exclusively(str(folder / "once"), b"x")
    assert not local_files.create_exclusively(str(folder / "once"), b"y")
    assert steps == ["flush once", "link", "flush fold", "flush once", "link", "flush fold"]


def test_a_link_that_was_made_though_its_answer_was_lost_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_link = os.link

    def link(source: str, target: str) -> None:
        real_link(source, target)
        raise FileExistsError(target)

    monkeypatch.setattr(os, "link", link)
    assert local_files.create_exclusively(str(tmp_path / "file"), b"x")


def test_partials_of_writers_at_work_are_not_listed(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    with store.open_output("a/file") as file:
        file.write(b"x")
        assert store.list() == []
        (partial,) = os.listdir(tmp_path / "a")
        assert partial.endswith(local_files.PARTIAL_SUFFIX)
    (tmp_path / "a" / f"dead.{'0' * 32}.partial").write_bytes(b"half")
    store.delete_partials()
    assert os.listdir(tmp_path / "a") == ["file"]
    open_store(str(tmp_path / "none")).delete_partials()


def test_partials_in_folders_of_others_stay(tmp_path: Path) -> None:
    name = f"file.{'0' * 32}.partial"
    for folder in (".", "ours/deep", "theirs/ours"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / name).touch()
    open_store(str(tmp_path)).delete_partials(lambda folder: folder == "ours")
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob(name)] == [Path("theirs/ours") / name]


def test_planted_links_are_never_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where somebody has guessed a partial file's name; a link at the final name is replaced, not followed."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"of somebody else")
    (tmp_path / "out").mkdir()
    store = open_store(str(tmp_path / "out"))
    (tmp_path / "out" / "file").symlink_to(victim)
    store.write_bytes("file", b"ours")
    assert not (tmp_path / "out" / "file").is_symlink()
    monkeypatch.setattr(local_files, "partial_name", lambda path: f"{path}.guessed")
    for target in (victim, tmp_path / "nowhere"):
        for name in ("a", "b", "c"):
            (tmp_path / "out" / f"{name}.guessed").symlink_to(target)
        for write in (lambda: store.write_bytes("a", b"x"), lambda: store.create("b", b"x"), lambda: stream(store)):
            with pytest.raises(MaskmillError):
                write()
    assert victim.read_bytes() == b"of somebody else"
    assert not (tmp_path / "nowhere").exists()


def stream(store: Store) -> None:
    with store.open_output("c") as file:
        file.write(b"x")
