"""The progress of the running unit: reported by the unit's function, passed on by whoever runs the unit."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

REPORT_SECONDS = 1.0
"""The least time between two reports that are passed on."""


@dataclass(frozen=True)
class Progress:
    """What a worker sends to its driver: the share of its unit that is done, from 0 to 1."""

    share: float


@dataclass
class _Reporting:
    """The callback that receives the reports of this process's unit, and when it was last called."""

    callback: Callable[[float], None] | None = None
    called_at: float = 0.0


_reporting = _Reporting()


def report_progress(share: float) -> None:
    """Report how far the unit has come. May be called at any rate: at most one call a second is passed on.

    Args:
        share: Part of the unit's work that is done, from 0 to 1.
    """
    now = time.monotonic()
    if _reporting.callback is not None and now - _reporting.called_at >= REPORT_SECONDS:
        _reporting.called_at = now
        _reporting.callback(min(1.0, share))


@contextlib.contextmanager
def progress_reported_to(callback: Callable[[float], None]) -> Iterator[None]:
    """Pass what the unit inside the block reports to a callback; nothing is passed on in the first second.

    Args:
        callback: Receives the share of the unit that is done.
    """
    _reporting.callback, _reporting.called_at = callback, time.monotonic()
    try:
        yield
    finally:
        _reporting.callback = None
