"""The local engine: runs units in processes on this machine, or in the driver's own process.

It does not use `concurrent.futures`, where one killed worker breaks the whole pool and every unit in it. Here a unit
whose worker dies goes to a new worker, a bounded number of times, and workers end when their driver does, so no orphan
writes into a folder that a restarted driver is using.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from typing import Any

from maskmill.pipeline.engine import worker_processes
from maskmill.pipeline.engine.activity import Progress, progress_reported_to
from maskmill.pipeline.engine.answers import Failed, take_answer
from maskmill.pipeline.engine.serve_units import Work, serve_units
from maskmill.pipeline.engine.stage import OnProgress, execute_unit, ignore_progress
from maskmill.pipeline.engine.units import Finished, UnitDescription, UnitFunction
from maskmill.pipeline.engine.worker_processes import Worker
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import ConfigError

MAX_DEATHS = 3


def fork_ahead(num_workers: int) -> None:
    """Fork the workers of an engine that is yet to be made, while this process has done nothing but import.

    Args:
        num_workers: As given to the engine.
    """
    num_workers = _count_workers(num_workers)
    if num_workers > 1:
        # More than there are cores are started as units want them.
        worker_processes.fork_ahead(serve_units, min(num_workers, _count_workers(0)))


def _count_workers(wanted: int) -> int:
    return wanted or len(os.sched_getaffinity(0))


class LocalEngine:
    """Runs units on this machine.

    Args:
        workers: Processes; 0 means one for every core, 1 the driver's own process.
    """

    def __init__(self, workers: int = 0) -> None:
        self.workers = _count_workers(workers)
        self._idle: list[Worker] = worker_processes.take_ahead()

    @property
    def shares_memory(self) -> bool:
        """With one worker, units run in the driver's process."""
        return self.workers == 1

    def run(
        self,
        function: UnitFunction,
        context: Any,
        output: Store,
        units: Iterable[UnitDescription],
        on_progress: OnProgress = ignore_progress,
    ) -> Generator[Finished, None, None]:
        """Run the units; see `Engine.run`.

        Raises:
            ConfigError: The same unit lost its worker three times; it says how the last one ended.
        """
        if self.workers == 1:
            for unit in units:
                with progress_reported_to(partial(on_progress, unit)):
                    finished = execute_unit(function, context, output, unit)
                yield finished
            return
        pool = _Pool(Work(function, context, output), units, self._idle, on_progress)
        try:
            yield from pool.run(self.workers)
        finally:
            self._idle = pool.stop()

    def close(self) -> None:
        """End the workers, which wait between stages."""
        for worker in self._idle:
            worker.end()
        self._idle = []


@dataclass
class _Employed:
    """A worker of a stage, and the unit it is running."""

    worker: Worker
    unit: UnitDescription | None


class _Pool:
    """The workers of one stage: idle ones of an earlier stage first, then new ones."""

    def __init__(
        self, work: Work, units: Iterable[UnitDescription], idle: Iterable[Worker], on_progress: OnProgress
    ) -> None:
        self._work = work
        self._on_progress = on_progress
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
                    answer: Finished | Failed | Progress = one.worker.pipe.recv()
                except (EOFError, OSError):  # OSError: it died in the middle of its answer
                    self._replace(one)
                    continue
                if isinstance(answer, Progress):
                    if one.unit is not None:
                        self._on_progress(one.unit, answer.share)
                    continue
                finished = take_answer(answer)
                one.unit = self._next_unit()
                if one.unit is not None:
                    _send(one.worker, one.unit)
                yield finished

    def _next_unit(self) -> UnitDescription | None:
        return next(self._units, None)

    def _employ(self, unit: UnitDescription) -> None:
        worker = self._idle.pop() if self._idle else worker_processes.start_worker(serve_units)
        self._employed.append(_Employed(worker, unit))
        _send(worker, self._work)
        _send(worker, unit)

    def _replace(self, dead: _Employed) -> None:
        status = dead.worker.await_end()
        self._employed.remove(dead)
        unit = dead.unit
        if unit is None:
            return
        self._deaths[unit.unit] = self._deaths.get(unit.unit, 0) + 1
        if self._deaths[unit.unit] >= MAX_DEATHS:
            raise ConfigError(
                f"the worker of unit {unit.unit} of stage {unit.stage} died {MAX_DEATHS} times",
                path="engine.workers",
                found=_describe_end(status),
                action=_advise(status),
            )
        self._employ(unit)

    def stop(self) -> list[Worker]:
        """End the busy workers, whose results are no longer needed, and return the idle ones."""
        for one in self._employed:
            if one.unit is not None:
                one.worker.end()
        return self._idle + [one.worker for one in self._employed if one.unit is None]


def _send(worker: Worker, message: Work | UnitDescription) -> None:
    # One that died while idle is seen by its closed pipe, and its unit given on, at the next wait.
    with contextlib.suppress(OSError):
        worker.pipe.send(message)


def _describe_end(status: int) -> str:
    """Describe how a worker's process ended."""
    if status >= 0:
        return f"it ended by itself with exit status {status}"
    try:
        number = signal.Signals(-status)
    except ValueError:
        return f"signal {-status} ended it"
    return f"{number.name} ended it" + (f" ({words})" if (words := signal.strsignal(number)) else "")


def _advise(status: int) -> str:
    if status == -signal.SIGKILL:
        return (
            "most likely memory ran out, and the system killed it: lower documents.shard_mb or engine.workers; "
            "otherwise somebody else did"
        )
    if status in (-signal.SIGTERM, -signal.SIGHUP, -signal.SIGINT):
        return "something outside maskmill sent the signal, such as a scheduler: run the same command again"
    if status < 0:
        return (
            "compiled code crashed on this unit: PYTHONFAULTHANDLER=1 shows where; "
            "compare the installed libraries with constraints.txt"
        )
    return "what it wrote to standard error says why; with engine.workers = 1 units run in the command's own process"
