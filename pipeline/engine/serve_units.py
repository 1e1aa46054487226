"""The worker's side of the local engine: runs the units that come through its pipe, and ends when its driver does."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from maskmill.pipeline.engine.activity import Progress, progress_reported_to
from maskmill.pipeline.engine.answers import answer_unit
from maskmill.pipeline.engine.keep_freed_memory import keep_freed_memory
from maskmill.pipeline.engine.leave_out_pandas import leave_out_pandas
from maskmill.pipeline.engine.units import UnitDescription, UnitFunction
from maskmill.pipeline.standard_error import guard_worker
from maskmill.pipeline.storage.store import Store

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Work:
    """What all units of a stage share; a worker receives it once, before the first of them."""

    function: UnitFunction
    context: Any
    output: Store


def serve_units(pipe: Connection, driver: int) -> None:
    """Answer every unit that comes through the pipe until it is closed.

    Args:
        pipe: Brings `Work` and units, takes answers.
        driver: The process id of the driver, this process's parent.
    """
    # Ctrl-C goes to every process of the terminal; the driver takes it and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    guard_worker()
    leave_out_pandas()
    keep_freed_memory()
    threading.Thread(target=_end_with, args=(driver,), daemon=True).start()
    work: Work | None = None
    while True:
        try:
            message: Work | UnitDescription = pipe.recv()
        except EOFError:
            return
        if isinstance(message, Work):
            work = message
        elif work is not None:
            with progress_reported_to(lambda share: pipe.send(Progress(share))):
                answer = answer_unit(work.function, work.context, work.output, message)
            pipe.send(answer)


def _end_with(driver: int) -> None:
    # The pipe does not show this: every worker that was forked later also holds its other end, and a stopped one
    # would keep the others alive.
    with contextlib.suppress(AttributeError, OSError):  # elsewhere than on Linux
        ended = os.pidfd_open(driver)
        if os.getppid() == driver:
            wait([ended])
    while os.getppid() == driver:
        time.sleep(POLL_SECONDS)
    os._exit(1)
