"""Boards: what each process of a node will read soon, where whoever evicts can see it.

A board is a small file that its process maps and holds locked. When the process ends, however it ends, the lock goes,
and with it the board counts no more; whoever looks next deletes it. Writing on it costs a store to memory, no call.

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
_BOARD_BYTES = 8 * (_HEADER_WORDS + SLOTS)
_BOARD_NAME = re.compile(r"[0-9a-f]{32}\.board")


@dataclass(frozen=True)
class Needs:
    """What all live processes together need.

    Attributes:
        numbers: Blocks and shards that must stay.
        reserved_bytes: Not all of them written yet.
        num_boards: How many processes there are.
        num_dead: How many boards of dead ones were deleted just now.
    """

    numbers: frozenset[int]
    reserved_bytes: int
    num_boards: int
    num_dead: int


class NeedsBoard:
    """This process's board. A number that is put up twice must be taken down twice.

    Args:
        folder: Where boards hang. The caller holds the ledger's lock: no board is swept between its creation and its
            lock.

    Raises:
        OSError: It cannot be created.
    """

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, OWN_FOLDER_MODE, exist_ok=True)
        name = f"{uuid.uuid4().hex}.board"
        self.path = os.path.join(folder, name)
        with _opened(folder) as inside:
            self._descriptor = open_own_file(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, inside)
        try:
            try_lock(self._descriptor)
            # Allocated now: a page that a full disk cannot give later would kill the process that touches it.
            os.posix_fallocate(self._descriptor, 0, _BOARD_BYTES)
            self._map = mmap.mmap(self._descriptor, _BOARD_BYTES)
        except OSError:
            os.close(self._descriptor)
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            raise
        self._words = memoryview(self._map).cast("Q")
        self._slots: dict[int, list[int]] = {}
        self._free = list(range(_BOARD_BYTES // 8 - 1, _HEADER_WORDS - 1, -1))

    def put(self, number: int) -> None:
        """Ask that a block or shard stays. On a full board nothing happens: it may then be fetched twice."""
        place = self._slots.get(number)
        if place is not None:
            place[1] += 1
        elif self._free:
            slot = self._free.pop()
            self._slots[number] = [slot, 1]
            self._words[slot] = number

    def remove(self, number: int) -> None:
        """Take back one `put`."""
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
        """Take it down."""
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


def read_needs(folder: str) -> Needs:
    """Read the boards of live processes and delete those of dead ones. The caller holds the ledger's lock."""
    numbers: set[int] = set()
    reserved = live = dead = 0
    with contextlib.suppress(FileNotFoundError), _opened(folder) as inside:
        for name in filter(_BOARD_NAME.fullmatch, os.listdir(inside)):
            words = _read_board(name, inside)
            if words is None:
                dead += 1
                continue
            live += 1
            reserved += int(words[0])
            found = words[_HEADER_WORDS:]
            numbers.update(found[found != 0].tolist())
    return Needs(frozenset(numbers), reserved, live, dead)


@contextlib.contextmanager
def _opened(folder: str) -> Iterator[int]:
    descriptor = open_own_folder(folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read_board(name: str, folder: int) -> npt.NDArray[np.uint64] | None:
    """What is on a live process's board; a dead one's is deleted."""
    try:
        descriptor = open_own_file(name, os.O_RDONLY, folder)
    except OSError:
        return None
    try:
        if try_lock(descriptor):
            os.unlink(name, dir_fd=folder)
            return None
        data = os.pread(descriptor, _BOARD_BYTES, 0)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return np.frombuffer(data, np.uint64) if len(data) == _BOARD_BYTES else None
