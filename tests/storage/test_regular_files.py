"""Only regular files are read, none is waited for, and none is longer than it was when it was opened."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.open_input import OpenInput
from maskmill.pipeline.loader.blocks.shard_files import ShardFiles
from maskmill.pipeline.storage.regular_files import open_descriptor, read_regular
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.errors import ConfigError, InputDataError, MaskmillError, ShardCorruptError

Read = Callable[[Store], object]


def read_input(store: Store) -> object:
    with OpenInput(InputFile(store.full("file"), "file", 3)) as file:
        return file.read()


READS: dict[str, Read] = {
    "whole": lambda store: store.read_bytes("file"),
    "bounded": lambda store: store.read_bytes("file", 100),
    "range": lambda store: store.read_range("file", 0, 3),
    "no range": lambda store: store.read_range("file", 0, 0),
    "pieces": lambda store: list(store.iter_pieces("file", 0, [1, 2])),
    "map": lambda store: store.map_file("file"),
    "input": lambda store: store.open_input("file"),
    "shard": lambda store: ShardFiles().read(store.full("file"), 3, 0, 3),
    "corpus": read_input,
}


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def make_link_to_pipe(path: Path) -> None:
    os.mkfifo(path.parent / "pipe")
    path.symlink_to("pipe")


SPECIAL: dict[str, tuple[Callable[[Path], None], str]] = {
    "pipe": (make_pipe, "a pipe"),
    "socket": (make_socket, "a socket"),
    "link to a pipe": (make_link_to_pipe, "a pipe"),
    "endless device": (lambda path: path.symlink_to("/dev/zero"), "a device"),
    "empty device": (lambda path: path.symlink_to("/dev/null"), "a device"),
    "terminal": (lambda path: path.symlink_to("/dev/tty"), "a device"),
    "folder": (lambda path: path.mkdir(), "a folder is where a file should be"),
    "link to a folder": (lambda path: path.symlink_to("."), "a folder is where a file should be"),
    "loop": (lambda path: path.symlink_to("file"), "symbolic links that form a cycle"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("read", READS)
def test_what_is_no_regular_file_is_an_error_that_names_it(tmp_path: Path, kind: str, read: str) -> None:
    make, said = SPECIAL[kind]
    if kind == "terminal" and not os.path.exists("/dev/tty"):
        pytest.skip("there is no /dev/tty here")
    make(tmp_path / "file")
    with pytest.raises(MaskmillError) as caught:
        READS[read](open_store(str(tmp_path)))
    of_dataset = read == "shard" and said in ("a pipe", "a socket", "a device")
    assert type(caught.value) is (ShardCorruptError if of_dataset else ConfigError)
    assert said in str(caught.value)
    assert str(tmp_path / "file") in str(caught.value)


@pytest.mark.parametrize("read", READS)
def test_a_link_to_a_regular_file_is_read(tmp_path: Path, read: str) -> None:
    (tmp_path / "data").write_bytes(b"abc")
    (tmp_path / "file").symlink_to("data")
    assert READS[read](open_store(str(tmp_path))) is not None


@pytest.mark.parametrize("read", [read for read in READS if read not in ("shard", "corpus")])
def test_what_is_missing_or_a_dangling_link_is_not_found(tmp_path: Path, read: str) -> None:
    for make in (lambda _: None, lambda path: path.symlink_to("nowhere")):
        make(tmp_path / "file")
        store = open_store(str(tmp_path))
        assert not store.exists("file")
        with pytest.raises(FileNotFoundError):
            READS[read](store)


def test_files_of_the_system_that_say_no_length_are_empty(tmp_path: Path) -> None:
    """`/proc/self/mem` and its like are regular files that cannot be read, or have no end."""
    for name in ("/proc/self/mem", "/proc/self/pagemap", "/proc/kmsg"):
        if os.access(name, os.R_OK):
            assert read_regular(name) == b""


def test_a_file_longer_than_any_of_its_kind_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 40)
    for store in (open_store(str(tmp_path)), open_store("memory://regular")):
        if not store.capabilities.local_paths:
            store.write_bytes("file", bytes(101))
        with pytest.raises(ConfigError, match=r"too large for its kind.*at most 100 bytes"):
            store.read_bytes("file", 100)
    assert len(open_store("memory://regular").read_bytes("file", 101)) == 101


def test_a_pipe_that_takes_the_place_of_a_file_after_the_look_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    before = os.stat(path)
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(os, "stat", lambda *_, **__: before)
    outcome: list[BaseException] = []

    def read() -> None:
        try:
            open_descriptor(str(path))
        except ConfigError as error:
            outcome.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(10)
    assert len(outcome) == 1


def test_an_input_that_grows_without_end_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a" * 1_000_000)
    with (
        OpenInput(InputFile(str(tmp_path / "file"), "file", 3)) as file,
        pytest.raises(InputDataError, match=r"changed since the run began.*3 bytes"),
    ):
        file.read()
