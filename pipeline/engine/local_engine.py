"""The local engine: units in processes on this machine, or in the driver's own process.

Written out rather than taken from `concurrent.futures`: there, one killed worker breaks the whole pool and every
unit in it. Here a unit whose worker dies is given to a new worker, a bounded number of times, and workers end when
their driver does, so no orphan writes into a folder that a restarted driver is at work in.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from pipeline.engine.answers import Failed, answer_unit, take_answer
from pipeline.engine.stage import Finished, UnitDescription, UnitFunction, execute_unit
from pipeline.storage.store import Store
from schemas.errors import ConfigError

MAX_DEATHS = 3


class LocalEngine:
    """Runs units on this machine.

    Args:
        workers: Processes; 0 means one for every core, 1 the driver's own process.
    """

    def __init__(self, workers: int = 0) -> None:
        self.workers = workers or len(os.sched_getaffinity(0))

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
        pool = _Pool(function, context, output, units)
        try:
            yield from pool.run(self.workers)
        finally:
            pool.stop()

    def close(self) -> None:
        """Nothing is held between stages."""


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    unit: UnitDescription | None = None


class _Pool:
    def __init__(self, function: UnitFunction, context: Any, output: Store, units: Iterable[UnitDescription]) -> None:
        # A fork would copy the locks of Arrow's and fsspec's threads in whatever state they are.
        self._spawn = multiprocessing.get_context("spawn")
        self._arguments = (function, context, output)
        self._units = iter(units)

        self._deaths: dict[int, int] = {}
        self._workers: list[_Worker] = []

    def run(self, num_workers: int) -> Iterator[Finished]:
        for _ in range(num_workers):
            unit = self._next_unit()
            if unit is None:
                break
            self._workers.append(self._start())
            _hand_over(self._workers[-1], unit)
        while busy := {worker.pipe: worker for worker in self._workers if worker.unit is not None}:
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]  # `wait` gives back what it was given
                try:
                    answer: Finished | Failed = worker.pipe.recv()
                except (EOFError, OSError):  # OSError: it died in the middle of its answer
                    self._replace(worker)
                    continue
                finished = take_answer(answer)
                _hand_over(worker, self._next_unit())
                yield finished

    def _next_unit(self) -> UnitDescription | None:
        return next(self._units, None)

    def _start(self) -> _Worker:
        ours, theirs = self._spawn.Pipe()
        process = self._spawn.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _replace(self, dead: _Worker) -> None:
        dead.process.join()
        dead.pipe.close()
        self._workers.remove(dead)
        unit = dead.unit
        if unit is None:
            return
        self._deaths[unit.unit] = self._deaths.get(unit.unit, 0) + 1
        if self._deaths[unit.unit] >= MAX_DEATHS:
            raise ConfigError(
                f"the worker of unit {unit.unit} of stage {unit.stage} died {MAX_DEATHS} times",
                path="engine.workers",
                found=f"exit code {dead.process.exitcode}",
                action="most likely memory ran out: lower documents.shard_mb or engine.workers",
            )
        self._workers.append(self._start())
        _hand_over(self._workers[-1], unit)

    def stop(self) -> None:
        """Kill the workers: between stages they are idle, after an error what they do is wanted no more."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()


def _hand_over(worker: _Worker, unit: UnitDescription | None) -> None:
    worker.unit = unit
    if unit is not None:
        try:
            worker.pipe.send(unit)
        except OSError:
            return  # it died while idle: its closed pipe is seen, and the unit given on, at the next wait


def _serve(pipe: Connection, function: UnitFunction, context: Any, output: Store) -> None:
    # Ctrl-C goes to every process of the terminal; the driver takes it and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_driver()
    while True:
        try:
            unit = pipe.recv()
        except EOFError:
            return
        pipe.send(answer_unit(function, context, output, unit))


def _end_with_driver() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
