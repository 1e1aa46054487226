"""Where local workers come from: forked from a process that has imported everything and done nothing else.

A worker that starts from nothing imports for 0.6 s, and loads what packing needs for 0.6 s more at its first unit; one
that is forked is there in 20 ms. At the beginning of a command that process is the driver itself. Later the driver
must not be forked, for fsspec's thread may hold a lock: who takes the place of a dead worker comes from a fork server.

A server that imported beside the driver was tried for all workers: it was ready 0.3 s after the driver, and its
imports were another 0.6 s of a core.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

Serve = Callable[[Connection], None]
"""What a worker does, given its end of the pipe: a module-level function."""

_SERVER = multiprocessing.get_context("forkserver")
_ahead: list[Worker] = []


@dataclass
class Worker:
    """A worker process and the driver's end of the pipe to it."""

    process: BaseProcess
    pipe: Connection

    def end(self) -> None:
        """Kill the process; what it does is wanted no more."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def fork_ahead(serve: Serve, num_workers: int, modules: Sequence[str]) -> None:
    """Fork workers from this process, to be taken by `take_ahead`, if it runs no thread of Python's yet.

    Arrow's and OpenBLAS's own threads stand at that point in any process that has imported them, a fork server too;
    both libraries are made to be forked.

    Args:
        serve: What the workers do.
        num_workers: How many.
        modules: What a fork server, should one be needed later, is to import.
    """
    _SERVER.set_forkserver_preload(list(modules))
    if sys.platform != "linux" or threading.active_count() > 1:
        return
    gc.freeze()  # a collection in a worker would write to, and so copy, every page that the driver's objects are on
    context = multiprocessing.get_context("fork")
    _ahead.extend(_start(context, serve) for _ in range(num_workers))


def take_ahead() -> list[Worker]:
    """The workers that were forked ahead; they are handed out once."""
    taken = _ahead.copy()
    _ahead.clear()
    return taken


def fork_worker(serve: Serve) -> Worker:
    """Start a worker by the fork server, with the environment that this process has now."""
    return _start(_SERVER, _Begin(dict(os.environ), serve))


def _start(context: multiprocessing.context.BaseContext, serve: Serve) -> Worker:
    ours, theirs = multiprocessing.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)  # type: ignore[attr-defined]
    process.start()
    theirs.close()
    return Worker(process, ours)


@dataclass(frozen=True)
class _Begin:
    """Serves with the driver's environment; the server keeps the one it began with."""

    environment: dict[str, str]
    serve: Serve

    def __call__(self, pipe: Connection) -> None:
        os.environ.clear()
        os.environ.update(self.environment)
        self.serve(pipe)
