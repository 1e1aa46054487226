"""How far the unit at work has come, for who watches a long one: told by the unit, heard by who runs it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

TELL_SECONDS = 1.0
"""How long a unit waits before it tells more."""


@dataclass(frozen=True)
class Progress:
    """What a worker sends to its driver: the share of its unit that is done, from 0 to 1."""

    share: float


@dataclass
class _Hearing:
    """Who hears the unit of this process, and when it told something last."""

    hear: Callable[[float], None] | None = None
    told_at: float = 0.0


_hearing = _Hearing()


def tell_share(share: float) -> None:
    """Tell how far the unit has come; called as often as it likes, heard once a second.

    Args:
        share: Of its work, from 0 to 1.
    """
    now = time.monotonic()
    if _hearing.hear is not None and now - _hearing.told_at >= TELL_SECONDS:
        _hearing.told_at = now
        _hearing.hear(min(1.0, share))


@contextlib.contextmanager
def heard_by(hear: Callable[[float], None]) -> Iterator[None]:
    """Let what the unit inside the block tells be heard; nothing is heard in its first second."""
    _hearing.hear, _hearing.told_at = hear, time.monotonic()
    try:
        yield
    finally:
        _hearing.hear = None
