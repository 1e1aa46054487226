"""The local engine: units in processes on this machine, or in the driver's own process.

Written out rather than taken from `concurrent.futures`: there, one killed worker breaks the whole pool and every
unit in it. Here a unit whose worker dies is given to a new worker, a bounded number of times, and workers end when
their driver does, so no orphan writes into a folder that a restarted driver is at work in.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from pipeline.engine import fork_workers
from pipeline.engine.answers import Failed, answer_unit, take_answer
from pipeline.engine.fork_workers import Worker
from pipeline.engine.stage import Finished, UnitDescription, UnitFunction, execute_unit
from pipeline.storage.store import Store
from schemas.errors import ConfigError

MAX_DEATHS = 3


def fork_ahead(num_workers: int, modules: Sequence[str]) -> None:
    """Fork the workers of an engine that is yet to be made, while this process has done nothing but import.

    Args:
        num_workers: As given to the engine.
        modules: What a worker needs, for those that are started later.
    """
    num_workers = _count_workers(num_workers)
    if num_workers > 1:
        # More than there are cores are started as units want them.
        fork_workers.fork_ahead(_serve, min(num_workers, _count_workers(0)), modules)


def _count_workers(wanted: int) -> int:
    return wanted or len(os.sched_getaffinity(0))


class LocalEngine:
    """Runs units on this machine.

    Args:
        workers: Processes; 0 means one for every core, 1 the driver's own process.
    """

    def __init__(self, workers: int = 0) -> None:
        self.workers = _count_workers(workers)
        self._idle: list[Worker] = fork_workers.take_ahead()

    @property
    def shares_memory(self) -> bool:
        """With one worker, units run in the driver's process."""
        return self.workers == 1

    def run(
        self, function: UnitFunction, context: Any, output: Store, units: Iterable[UnitDescription]
    ) -> Generator[Finished, None, None]:
        """Run the units; see `Engine.run`.

        Raises:
            ConfigError: The same unit lost its worker three times, most likely to a lack of memory.
        """
        if self.workers == 1:
            for unit in units:
                yield execute_unit(function, context, output, unit)
            return
        pool = _Pool(_Work(function, context, output), units, self._idle)
        try:
            yield from pool.run(self.workers)
        finally:
            self._idle = pool.stop()

    def close(self) -> None:
        """End the workers, which wait between stages."""
        for worker in self._idle:
            worker.end()
        self._idle = []


@dataclass(frozen=True)
class _Work:
    """What all units of a stage share; a worker is sent it once, before the first of them."""

    function: UnitFunction
    context: Any
    output: Store


@dataclass
class _Employed:
    """A worker of a stage, and the unit it is at work on."""

    worker: Worker
    unit: UnitDescription | None


class _Pool:
    """The workers of one stage: idle ones of an earlier stage first, then new ones."""

    def __init__(self, work: _Work, units: Iterable[UnitDescription], idle: Iterable[Worker]) -> None:
        self._work = work
        self._units = iter(units)
        self._idle = list(idle)
        self._deaths: dict[int, int] = {}
        self._employed: list[_Employed] = []

    def run(self, num_workers: int) -> Iterator[Finished]:
        for _ in range(num_workers):
            unit = self._next_unit()
            if unit is None:
                break
            self._employ(unit)
        while busy := {one.worker.pipe: one for one in self._employed if one.unit is not None}:
            for pipe in wait(list(busy)):
                one = busy[pipe]  # type: ignore[index]  # `wait` gives back what it was given
                try:
                    answer: Finished | Failed = one.worker.pipe.recv()
                except (EOFError, OSError):  # OSError: it died in the middle of its answer
                    self._replace(one)
                    continue
                finished = take_answer(answer)
                one.unit = self._next_unit()
                if one.unit is not None:
                    _send(one.worker, one.unit)
                yield finished

    def _next_unit(self) -> UnitDescription | None:
        return next(self._units, None)

    def _employ(self, unit: UnitDescription) -> None:
        worker = self._idle.pop() if self._idle else fork_workers.fork_worker(_serve)
        self._employed.append(_Employed(worker, unit))
        _send(worker, self._work)
        _send(worker, unit)

    def _replace(self, dead: _Employed) -> None:
        dead.worker.end()
        self._employed.remove(dead)
        unit = dead.unit
        if unit is None:
            return
        self._deaths[unit.unit] = self._deaths.get(unit.unit, 0) + 1
        if self._deaths[unit.unit] >= MAX_DEATHS:
            raise ConfigError(
                f"the worker of unit {unit.unit} of stage {unit.stage} died {MAX_DEATHS} times",
                path="engine.workers",
                found=f"exit code {dead.worker.process.exitcode}",
                action="most likely memory ran out: lower documents.shard_mb or engine.workers",
            )
        self._employ(unit)

    def stop(self) -> list[Worker]:
        """End the workers that are at work, what they do is wanted no more, and give back the idle ones."""
        for one in self._employed:
            if one.unit is not None:
                one.worker.end()
        return self._idle + [one.worker for one in self._employed if one.unit is None]


def _send(worker: Worker, message: _Work | UnitDescription) -> None:
    # One that died while idle is seen by its closed pipe, and its unit given on, at the next wait.
    with contextlib.suppress(OSError):
        worker.pipe.send(message)


def _serve(pipe: Connection) -> None:
    # Ctrl-C goes to every process of the terminal; the driver takes it and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_driver()
    work: _Work | None = None
    while True:
        try:
            message: _Work | UnitDescription = pipe.recv()
        except EOFError:
            return
        if isinstance(message, _Work):
            work = message
        elif work is not None:
            pipe.send(answer_unit(work.function, work.context, work.output, message))


def _end_with_driver() -> None:
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None:
        return

    # The sentinel's other end is also held by every worker that was forked later: one of those that is stopped would
    # keep the others alive.
    ends: list[Any] = [parent.sentinel]
    if sys.platform == "linux":
        try:
            ends.append(os.pidfd_open(parent.pid))
        except ProcessLookupError:
            os._exit(1)

    def watch() -> None:
        wait(ends)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
