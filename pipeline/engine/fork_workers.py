"""Where local workers come from: a process that has imported everything and done nothing, forked for each of them.

A worker that starts from nothing imports for 0.6 s, and loads what packing needs for 0.6 s more at its first unit;
one that is forked is there in 20 ms. The driver itself must not be forked: Arrow's and fsspec's threads hold locks.
Started at once when a command begins, the server imports beside the driver's own imports.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")


def start_fork_server(modules: Sequence[str] = ()) -> None:
    """Start the server, if none runs yet, and let it import these modules.

    One that runs already keeps what it has: workers import what they lack.
    """
    _CONTEXT.set_forkserver_preload(list(modules))
    forkserver.ensure_running()


def fork_worker(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a worker with the environment that this process has now; the server keeps the one it began with."""
    process = _CONTEXT.Process(target=_begin, args=(dict(os.environ), target, arguments), daemon=True)
    process.start()
    return process


def _begin(environment: dict[str, str], target: Callable[..., None], arguments: Sequence[Any]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    target(*arguments)
