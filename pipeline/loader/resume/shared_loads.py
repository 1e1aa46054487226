"""What was loaded in a trainer's process, and which pass of which workers began with it: seen by all of them.

It is a small file without a name, locked while it is read or changed. (A semaphore would do too, but start a process
that cleans up after it; the lock of a file ends with the process that holds it.)
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import tempfile
import weakref
from collections.abc import Generator
from dataclasses import dataclass, field
from multiprocessing import reduction
from typing import Any, NamedTuple

from maskmill.pipeline.loader.resume.loader_state import Position

_REMEMBERED_PASSES = 64
_MAX_BYTES = 1 << 16


class Pass(NamedTuple):
    """Which pass of a `DataLoader` a worker belongs to.

    Attributes:
        seed: Drawn by the `DataLoader` when it starts its workers; alike in passes before which torch is seeded alike.
        workers: How many there are.
        process: The number of the first of them among the processes of their parent.
        turn: How many passes these workers have begun, with this one; from 1.
    """

    seed: int
    workers: int
    process: int
    turn: int

    def is_that_of(self, other: Pass) -> bool:
        """Whether a worker of one belongs to the other."""
        # Processes that another thread starts meanwhile may come between those of one pass.
        is_near = abs(self.process - other.process) < max(1, self.workers)
        return is_near and (self.seed, self.workers, self.turn) == (other.seed, other.workers, other.turn)


class _Begun(NamedTuple):
    """A pass that a worker has begun: after how many loads, and its place if it began with the last of them."""

    key: Pass
    number: int
    place: Position | None


@dataclass
class _Notes:
    """The content of the file.

    Attributes:
        number: The number of loads.
        place: The last loaded place.
        taken: The number of the last load that a pass has begun with.
        begun: The last passes of workers.
    """

    number: int = 0
    place: Position = field(default_factory=Position)
    taken: int = 0
    begun: list[_Begun] = field(default_factory=list)

    @classmethod
    def read(cls, text: bytes) -> _Notes:
        if not text:
            return cls()
        number, place, taken, begun = json.loads(text)
        return cls(
            number,
            Position(*place),
            taken,
            [_Begun(Pass(*key), after, None if at is None else Position(*at)) for key, after, at in begun],
        )

    def write(self) -> bytes:
        return json.dumps([self.number, self.place, self.taken, self.begun[-_REMEMBERED_PASSES:]]).encode() + b"\n"


class SharedLoads:
    """The loads of a trainer's process and the passes that began with them.

    Sent to a process that is about to start, or inherited by a forked one, it is the same.

    Attributes:
        owner: The trainer's process.
    """

    def __init__(self) -> None:
        self._attach(os.getpid(), _open_nameless())

    def _attach(self, owner: int, descriptor: int) -> None:
        self.owner = owner
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor).atexit = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _receive, (self.owner, reduction.DupFd(self._descriptor))

    def load(self, place: Position) -> int:
        """Note a load; returns its number, from 1."""
        with self._change() as notes:
            notes.number += 1
            notes.place = place
            return notes.number

    def is_taken(self, number: int) -> bool:
        """Whether a pass has begun with the load of that number or a later one."""
        with self._change() as notes:
            return notes.taken >= number

    def take(self, number: int) -> None:
        """Begin a pass without workers with the load of that number."""
        with self._change() as notes:
            notes.taken = max(notes.taken, number)

    def begin(self, key: Pass, seen: int, frozen: tuple[int, Position | None] | None) -> tuple[int, Position | None]:
        """Begin one worker's part of a pass.

        Args:
            key: The pass.
            seen: How many loads there were when the worker's last pass began.
            frozen: In the first pass of a worker, the number and the place of the last load before it was started;
                no place if a pass had begun with it.

        Returns:
            After how many loads the pass begins, and where, if a state was loaded for it.
        """
        with self._change() as notes:
            for begun in reversed(notes.begun):
                if begun.key.is_that_of(key):
                    return begun.number, begun.place
            number, place = frozen or (notes.number, notes.place if notes.number > seen else None)
            was_taken = notes.taken == number or any(
                begun.number == number and begun.place is not None for begun in notes.begun
            )
            begun = _Begun(key, number, None if was_taken else place)
            notes.begun.append(begun)
            if begun.place is not None:
                notes.taken = max(notes.taken, number)
            return begun.number, begun.place

    @contextlib.contextmanager
    def _change(self) -> Generator[_Notes]:
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        try:
            text = os.pread(self._descriptor, _MAX_BYTES, 0)
            text = text[: text.find(b"\n") + 1]  # after it is the rest of longer notes
            notes = _Notes.read(text)
            yield notes
            changed = notes.write()
            if changed != text:
                os.pwrite(self._descriptor, changed, 0)
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)


def _receive(owner: int, duplicate: Any) -> SharedLoads:
    received = SharedLoads.__new__(SharedLoads)
    received._attach(owner, duplicate.detach())  # noqa: SLF001  # what this function makes
    return received


def _open_nameless() -> int:
    if sys.platform == "linux":
        return os.memfd_create("maskmill-loads", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
