"""What callers give, checked at the door: numbers that are none would end in errors far from here, or in none."""

from __future__ import annotations

import operator
import os
from typing import Any

from pipeline.storage.paths import resolve_url
from schemas.errors import ConfigError

MAX_GLOBAL_BATCH_ROWS = 1 << 24
MAX_WORLD_SIZE = 1 << 24
MAX_STEPS = 1 << 38
"""Global batches of a run: with the most rows that one may have, rows are numbered within 63 bits."""


def check_integer(name: str, value: Any, least: int, most: int) -> int:
    """An integer of any kind, NumPy's too, as Python's.

    Raises:
        ConfigError: It is none, or out of range.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not least <= number <= most:
        raise ConfigError(
            f"no such {name}",
            path=name,
            expected=f"a whole number from {least} to {most}",
            found=repr(value),
            action=f"give another {name}",
        )
    return number


def check_url(value: Any) -> str:
    """A path or URL as a text that means the same wherever the process goes.

    Raises:
        ConfigError: It is neither.
    """
    if not isinstance(value, (str, os.PathLike)) or not isinstance(path := os.fspath(value), str) or not path:
        raise ConfigError(
            "this names no dataset",
            path="data",
            expected="the path or URL of a packed dataset, a Source, a Mixture or Phases",
            found=repr(value),
            action="give the folder that holds its manifest.json",
        )
    return resolve_url(path)
