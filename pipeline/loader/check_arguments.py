"""Check arguments where they are given: later a wrong one would fail far from its cause, or silently do harm."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping
from typing import Any

from maskmill.pipeline.storage.paths import resolve_url
from maskmill.schemas.errors import ConfigError

MAX_GLOBAL_BATCH_ROWS = 1 << 24
MAX_WORLD_SIZE = 1 << 24
MAX_STEPS = 1 << 38
"""Global batches of a run: with the most rows that one may have, rows are numbered within 63 bits."""


def check_integer(name: str, value: Any, least: int, most: int) -> int:
    """Return an integer of any kind, NumPy's too, as Python's own.

    Raises:
        ConfigError: It is not an integer, or out of range.
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


def check_kind(name: str, value: Any, is_right: bool, expected: str, action: str) -> None:
    """Refuse an argument of the wrong kind.

    Raises:
        ConfigError: `is_right` is false.
    """
    if not is_right:
        raise ConfigError(f"no such {name}", path=name, expected=expected, found=repr(value), action=action)


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


def copy_options(options: Any) -> dict[str, Any] | None:
    """Copy the options of a file system, so that what the caller changes later has no effect.

    Raises:
        ConfigError: They are not a dictionary with names as its keys.
    """
    if options is not None and not (isinstance(options, Mapping) and all(isinstance(name, str) for name in options)):
        raise ConfigError(
            "storage_options does not hold options of a file system",
            path="storage_options",
            expected="a dictionary whose keys are names",
            found=repr(options),
            action='give for example storage_options={"anon": True}',
        )
    return None if options is None else {name: _copy(value) for name, value in options.items()}


def _copy(value: Any) -> Any:
    """Copy only containers: a session or a lock among the values must stay the caller's own."""
    if type(value) is dict:
        return {name: _copy(inner) for name, inner in value.items()}
    return [_copy(inner) for inner in value] if type(value) is list else value
