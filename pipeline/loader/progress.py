"""Where a loader's next pass begins: at its start or, once, at the state that was loaded last.

Without workers a pass is an iteration of the loader itself. A `DataLoader` with workers gives each of them a copy of
the loader, new ones for every pass or persistent ones, and asks each copy for an iteration; the loader that a state
was loaded into is told nothing. What was loaded is therefore kept in shared memory, where every copy finds it and
notes which pass has begun with it:

    trainer's process    load(place)                       load(place)
    shared memory        number, place    taken by pass    number, place    taken by pass
    worker 0                              begin()                           begin()
    worker 1                              begin()                           begin()

A state that is loaded inside a worker, as torchdata's `StatefulDataLoader` does, is that worker's alone.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from typing import Any, NamedTuple

import torch
from torch.utils.data import get_worker_info

from pipeline.loader.loader_state import Position


class Progress:
    """See above. Shallow copies of a loader share one; pickles and deep copies have one each.

    Args:
        start: Where passes begin.

    Attributes:
        start: Where passes begin.
        position: The place behind the last batch that this process gave out; before the first, where its pass begins.
    """

    def __init__(self, start: Position = Position()) -> None:  # noqa: B008  # immutable
        self.start = start
        self.position = start
        self._loaded: Position | None = None  # in the trainer's process or in this worker, for the next pass
        self._is_workers_own = False
        self._seen = 0  # the number of the last shared load that this worker has dealt with
        self._shared = _SharedLoad()

    def load(self, position: Position) -> None:
        """Begin the next pass at a position."""
        self.position = self._loaded = position
        if get_worker_info() is not None:
            self._is_workers_own = True
            return
        if self._shared.owner != os.getpid():  # a forked trainer's loads are not those of its siblings
            self._shared = _SharedLoad()
        self._shared.load(position)

    def peek(self) -> Position:
        """Where the next pass would begin, asked in the trainer's process."""
        taken = self._shared.owner == os.getpid() and self._shared.is_taken
        return self.start if self._loaded is None or taken else self._loaded

    def begin(self) -> Position:
        """Begin a pass, of which this may be one worker's part; returns where."""
        worker = get_worker_info()
        if worker is None:
            self.position = self.peek()
            if self._shared.owner == os.getpid():
                self._shared.take(_ALONE)
        else:
            self.position = self._begin_in_worker(worker) or self.start
        self._loaded = None
        return self.position

    def _begin_in_worker(self, worker: Any) -> Position | None:
        parent = multiprocessing.parent_process()
        if not self._is_workers_own and (parent is None or parent.pid != self._shared.owner):
            return self._loaded  # by a trainer that was itself forked after the load
        seen, self._seen = self._seen, self._shared.number
        if self._is_workers_own:
            self._is_workers_own = False
            return self._loaded
        return self._shared.place if seen != self._seen and self._shared.take(_identify_pass(worker)) else None


class _Pass(NamedTuple):
    """Which pass of a `DataLoader` a worker belongs to.

    Attributes:
        seed: Drawn by the `DataLoader` when it starts its workers; alike in passes before which torch is seeded alike.
        workers: How many there are.
        process: The number of the first of them among the processes of their parent.
    """

    seed: int
    workers: int
    process: int

    def is_that_of(self, other: _Pass) -> bool:
        # Processes that another thread starts meanwhile may lie between those of one pass.
        return self[:2] == other[:2] and abs(self.process - other.process) < max(1, self.workers)


_ALONE = _Pass(-1, 0, 0)
"""The pass of an iteration in the trainer's own process."""


def _identify_pass(worker: Any) -> _Pass:
    process = multiprocessing.current_process()._identity[-1]  # noqa: SLF001  # the only number that no seed repeats
    return _Pass(worker.seed - worker.id, worker.num_workers, process - worker.id)


class _SharedLoad:
    """The last load of a trainer's process and the pass that took it, seen by the workers that the process starts.

    Attributes:
        owner: The process.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._words = torch.zeros(1 + len(Position._fields) + 1 + len(_Pass._fields), dtype=torch.int64)
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # In a pickle or a deep copy; what a spawned worker is sent is shared.
        if not self._words.is_shared():  # type: ignore[no-untyped-call]
            self.owner = os.getpid()
            self._share()

    def _share(self) -> None:
        with contextlib.suppress(RuntimeError, OSError):  # without shared memory there are no workers either
            self._words.share_memory_()  # type: ignore[no-untyped-call]

    @property
    def number(self) -> int:
        """How many loads there were."""
        return int(self._words[0])

    @property
    def place(self) -> Position:
        """What was loaded last."""
        return Position(*self._words[1:4].tolist())

    @property
    def is_taken(self) -> bool:
        """Whether a pass has begun with the last load, or there was none."""
        return bool(self._words[4] == self._words[0])

    def load(self, position: Position) -> None:
        """Note a load."""
        self._words[1:4] = torch.tensor(position)
        self._words[0] += 1

    def take(self, taker: _Pass) -> bool:
        """Begin a pass with the last load; False if another pass has."""
        if self.is_taken:
            return taker.is_that_of(_Pass(*self._words[5:].tolist()))
        self._words[5:] = torch.tensor(taker)
        self._words[4] = self._words[0]
        return True
