"""Where a loader's next pass begins: at its start or, once, at the state that was loaded last.

Without workers a pass is an iteration of the loader itself. A `DataLoader` with workers gives each of them a copy of
the loader, new ones for every pass or persistent ones, and asks each copy for an iteration; the loader that a state
was loaded into is told nothing.

    trainer's process   load(place)       load(place)
    workers of a pass         | begin()             copied before the second load: know the first only
    persistent workers        | begin()      | begin() again: know the second

A copy of a loader keeps what was loaded when it was copied, so a load changes no pass whose workers were started
before. Loads are counted; `SharedLoads` notes which pass began with which, so that each counts for one pass, and tells
persistent workers of later ones. The first worker that begins a pass decides for all workers of the pass.

A state that is loaded inside a worker, as torchdata's `StatefulDataLoader` does, is that worker's alone.
"""

from __future__ import annotations

import multiprocessing
import os
import weakref
from multiprocessing.context import get_spawning_popen
from typing import Any

from torch.utils.data import get_worker_info

from maskmill.pipeline.loader.resume.loader_state import Position
from maskmill.pipeline.loader.resume.shared_loads import Pass, SharedLoads


class Progress:
    """Where the passes of a loader begin. Shallow copies of the loader share one; pickles and deep copies do not.

    Args:
        start: Where passes begin.

    Attributes:
        start: Where passes begin.
        position: The place behind the last batch that this process gave out; before the first, where its pass begins.
    """

    def __init__(self, start: Position = Position()) -> None:  # noqa: B008  # immutable
        self.start = start
        self.position = start
        self._loaded: Position | None = None  # for the next pass of this process, or of the workers it is copied to
        self._workers_own: Position | None = None  # loaded in this worker, for its part of the next pass
        self._seen = 0  # shared loads that this process or worker has handled, including `_loaded` if it is set
        self._turn = 0  # the number of passes of which this worker has begun its part
        self._shared = SharedLoads()
        _LIVING.add(self)

    def __getstate__(self) -> dict[str, Any]:
        self._prepare_copy()
        state = self.__dict__.copy()
        if get_spawning_popen() is None:  # not to be sent to a process that is about to start
            del state["_shared"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_shared" not in state:
            self._share_anew()
        _LIVING.add(self)

    def load(self, position: Position) -> None:
        """Begin the next pass at a position."""
        if get_worker_info() is None:
            self._settle()
            self._seen = self._shared.load(position)
            self._loaded = position
        else:
            self._workers_own = position
        self.position = position

    def peek(self) -> Position:
        """Where the next pass would begin, asked in the trainer's process."""
        self._prepare_copy()
        return self.start if self._loaded is None else self._loaded

    def begin(self) -> Position:
        """Begin a pass, of which this may be one worker's part; returns where."""
        worker = get_worker_info()
        if worker is None:
            self.position = self.peek()
            self._shared.take(self._seen)
        else:
            self.position = self._begin_in_worker(worker) or self.start
        self._loaded = None
        return self.position

    def _begin_in_worker(self, worker: Any) -> Position | None:
        is_first, self._turn = self._turn == 0, self._turn + 1
        # The place where a later pass of persistent workers begins was loaded after they were started.
        frozen = (self._seen, self._loaded) if is_first else None
        self._seen, place = self._shared.begin(_identify_pass(worker, self._turn), self._seen, frozen)
        own, self._workers_own = self._workers_own, None
        return place if own is None else own

    def _prepare_copy(self) -> None:
        """Forget a load that a pass has begun with, so that copies for later workers do not have it."""
        if get_worker_info() is None:
            self._settle()

    def _settle(self) -> None:
        if self._shared.owner != os.getpid():  # a trainer that was itself started after the loader was made
            self._share_anew()
        elif self._shared.is_taken(self._seen):
            self._loaded = None

    def _share_anew(self) -> None:
        self._shared = SharedLoads()
        self._seen = 0 if self._loaded is None else self._shared.load(self._loaded)


_LIVING: weakref.WeakSet[Progress] = weakref.WeakSet()


def _prepare_fork() -> None:
    for progress in list(_LIVING):
        progress._prepare_copy()  # noqa: SLF001  # of this module


os.register_at_fork(before=_prepare_fork)


def _identify_pass(worker: Any, turn: int) -> Pass:
    process = multiprocessing.current_process()._identity[-1]  # noqa: SLF001  # the only number that no seed repeats
    return Pass(worker.seed - worker.id, worker.num_workers, process - worker.id, turn)
