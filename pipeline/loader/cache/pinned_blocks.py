"""Pins: what each process of a node will read soon, so that no other process evicts it.

Each process has a small file of its pins, which it maps and keeps locked. When the process ends, however it ends, the
lock is released, and its pins no longer count: the next process that looks deletes the file. To pin a block costs a
write to memory and no system call.

    bytes 0-7      bytes that the process has reserved and perhaps not written yet
    bytes 8-15     not used
    then           a number a slot (see `cache_locks`), 0 where there is none
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.loader.cache.cache_locks import try_lock
from maskmill.pipeline.loader.cache.own_files import OWN_FOLDER_MODE, open_own_file, open_own_folder

SLOTS = 1 << 15
_HEADER_WORDS = 2
_FILE_BYTES = 8 * (_HEADER_WORDS + SLOTS)
_FILE_NAME = re.compile(r"[0-9a-f]{32}\.pins")
_EARLIER_NAME = re.compile(r"[0-9a-f]{32}\.board")


@dataclass(frozen=True)
class AllPins:
    """What all live processes together have pinned.

    Attributes:
        numbers: Blocks and shards that must stay.
        reserved_bytes: Not all of them written yet.
        num_processes: How many live processes there are.
        num_dead: How many files of dead ones were deleted just now.
    """

    numbers: frozenset[int]
    reserved_bytes: int
    num_processes: int
    num_dead: int


class Pins:
    """The pins of this process. What is pinned twice must be unpinned twice.

    Args:
        folder: Of the files of all processes. The caller holds the ledger's lock: no file is swept between its
            creation and its lock.

    Raises:
        OSError: It cannot be created.
    """

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, OWN_FOLDER_MODE, exist_ok=True)
        name = f"{uuid.uuid4().hex}.pins"
        self.path = os.path.join(folder, name)
        with _opened(folder) as inside:
            self._descriptor = open_own_file(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, inside)
        try:
            try_lock(self._descriptor)
            # Allocated now: later, a page that a full disk cannot provide would kill the process that touches it.
            os.posix_fallocate(self._descriptor, 0, _FILE_BYTES)
            self._map = mmap.mmap(self._descriptor, _FILE_BYTES)
        except OSError:
            os.close(self._descriptor)
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            raise
        self._words = memoryview(self._map).cast("Q")
        self._slots: dict[int, list[int]] = {}
        self._free = list(range(_FILE_BYTES // 8 - 1, _HEADER_WORDS - 1, -1))

    def pin(self, number: int) -> None:
        """Keep a block or shard from being evicted. A full file takes no more: it may then be fetched twice."""
        place = self._slots.get(number)
        if place is not None:
            place[1] += 1
        elif self._free:
            slot = self._free.pop()
            self._slots[number] = [slot, 1]
            self._words[slot] = number

    def unpin(self, number: int) -> None:
        """Take back one `pin`."""
        place = self._slots.get(number)
        if place is None:
            return
        place[1] -= 1
        if not place[1]:
            self._words[place[0]] = 0
            self._free.append(place[0])
            del self._slots[number]

    def add_reserved(self, num_bytes: int) -> None:
        """Count bytes that this process is about to write, or, negative, has written."""
        self._words[0] += num_bytes

    @property
    def reserved_bytes(self) -> int:
        """What this process is about to write."""
        return int(self._words[0])

    def close(self) -> None:
        """Delete the file."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        self._words.release()
        self._map.close()
        os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_pins(folder: str) -> AllPins:
    """Read the pins of live processes and delete the files of dead ones. The caller holds the ledger's lock."""
    numbers: set[int] = set()
    reserved = live = dead = 0
    with contextlib.suppress(FileNotFoundError), _opened(folder) as inside:
        for name in filter(_FILE_NAME.fullmatch, os.listdir(inside)):
            words = _read_file(name, inside)
            if words is None:
                dead += 1
                continue
            live += 1
            reserved += int(words[0])
            found = words[_HEADER_WORDS:]
            numbers.update(found[found != 0].tolist())
    return AllPins(frozenset(numbers), reserved, live, dead)


def sweep_earlier(folder: str) -> None:
    """Delete the pins of dead processes of versions before 0.3.0, and their folder once it is empty.

    Such a process held its file locked too. The caller holds the ledger's lock, as those versions do where they create
    one.

    Args:
        folder: Of these files.
    """
    with contextlib.suppress(OSError), _opened(folder) as inside:
        for name in filter(_EARLIER_NAME.fullmatch, os.listdir(inside)):
            _read_file(name, inside)
    with contextlib.suppress(OSError):
        os.rmdir(folder)


@contextlib.contextmanager
def _opened(folder: str) -> Iterator[int]:
    descriptor = open_own_folder(folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read_file(name: str, folder: int) -> npt.NDArray[np.uint64] | None:
    """Read the words of a live process's file; delete that of a dead one."""
    try:
        descriptor = open_own_file(name, os.O_RDONLY, folder)
    except OSError:
        return None
    try:
        if try_lock(descriptor):
            os.unlink(name, dir_fd=folder)
            return None
        data = os.pread(descriptor, _FILE_BYTES, 0)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return np.frombuffer(data, np.uint64) if len(data) == _FILE_BYTES else None
