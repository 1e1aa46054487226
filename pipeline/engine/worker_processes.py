"""Start local workers: forked from the driver at its beginning, or as new interpreters.

A new interpreter imports for 0.6 s, and loads what packing needs for 0.6 s more at its first unit; a forked worker is
ready in 20 ms. So a command forks its workers while it has done nothing but import. Later the driver
must not be forked, for fsspec's thread may hold a lock: a worker that is needed then, in place of a dead one or for a
program that calls `prepare`, is a new interpreter.

`multiprocessing` starts a new interpreter by running the program's main script in it. A script without a main guard
would begin its work again there, and one that Python read from standard input is not to be had. So the new interpreter
is told what to import, and never sees the script.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import spawn
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

Serve = Callable[[Connection, int], None]
"""A module-level function that a worker runs, given its end of the pipe and the driver's process id."""

_START = """\
import importlib, json, sys
from multiprocessing.connection import Connection
path, module, name, pipe, driver = json.loads(sys.argv[1])
sys.path[:] = path
getattr(importlib.import_module(module), name)(Connection(pipe), driver)
"""
CLOSING_SECONDS = 5.0
_ahead: list[Worker] = []


@dataclass
class Worker:
    """A worker process and the driver's end of the pipe to it."""

    process: BaseProcess | subprocess.Popen[bytes]
    pipe: Connection

    def end(self) -> None:
        """Kill the process; its result is no longer needed."""
        self.process.kill()
        self._wait(None)
        self.pipe.close()

    def await_end(self) -> int:
        """Wait for the end of a process that has closed its pipe, and is ending by itself.

        Returns:
            Its exit status, or the negative number of the signal that ended it.
        """
        status = self._wait(CLOSING_SECONDS)
        self.end()
        return -signal.SIGKILL if status is None else status

    def _wait(self, seconds: float | None) -> int | None:
        if isinstance(self.process, BaseProcess):
            self.process.join(seconds)
            return self.process.exitcode
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None


def fork_ahead(serve: Serve, num_workers: int) -> None:
    """Fork workers from this process, to be taken by `take_ahead`, if it runs no thread of Python's yet.

    Arrow's and OpenBLAS's own threads exist at that point in any process that has imported them; both libraries are
    made to be forked.

    Args:
        serve: What the workers do.
        num_workers: How many.
    """
    if sys.platform != "linux" or threading.active_count() > 1:
        return
    gc.freeze()  # a collection in a worker would write to, and so copy, every page that the driver's objects are on
    context = multiprocessing.get_context("fork")
    for _ in range(num_workers):
        ours, theirs = multiprocessing.Pipe()
        process = context.Process(target=serve, args=(theirs, os.getpid()), daemon=True)
        process.start()
        theirs.close()
        _ahead.append(Worker(process, ours))


def take_ahead() -> list[Worker]:
    """The workers that were forked ahead; they are handed out once."""
    taken = _ahead.copy()
    _ahead.clear()
    return taken


def start_worker(serve: Serve) -> Worker:
    """Start a worker as a new interpreter with the environment and the import path that this process has now."""
    ours, theirs = multiprocessing.Pipe()
    path = [folder for folder in sys.path if isinstance(folder, str)]
    told = json.dumps([path, serve.__module__, serve.__qualname__, theirs.fileno(), os.getpid()])
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001  # as multiprocessing does
    # With -c Python searches the working folder first, where a json.py of the user may lie; -P leaves it out.
    command = [os.fsdecode(spawn.get_executable()), *flags, "-P", "-c", _START, told]
    # Ctrl-C goes to every process of the terminal. A worker inherits that it is held back until it ignores it.
    held_back = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = subprocess.Popen(  # noqa: S603  # this interpreter and our own program
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,  # it may hold the rest of the driver's program
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held_back)
    theirs.close()
    return Worker(process, ours)
