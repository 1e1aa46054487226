"""One validator for everything that a user gives to the loader: a table of arguments, each with its pydantic type.

Arguments are checked where they are given: later a wrong one would fail far from its cause, or silently do harm.
"""

from __future__ import annotations

import math
import operator
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from numbers import Real
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, TypeAdapter

from maskmill.pipeline.settings import refuse_argument
from maskmill.pipeline.storage.paths import resolve_url
from maskmill.schemas.masking import Masking

MAX_GLOBAL_BATCH_ROWS = 1 << 24
MAX_WORLD_SIZE = 1 << 24
MAX_STEPS = 1 << 38
"""Global batches of a run: with the most rows that one may have, rows are numbered within 63 bits."""
MIN_TEMPERATURE = 0.05  # rows ** 20: with a smaller value only the largest dataset is read, and numbers overflow
MAX_WEIGHT = 1e12


@dataclass(frozen=True)
class Argument:
    """What an argument may be.

    Attributes:
        kind: Its pydantic type.
        expected: The same in words.
        action: What to do about another one.
        what: What is wrong with another one; by default that no such value exists.
    """

    kind: Any
    expected: str
    action: str = "give another value"
    what: str = ""

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """Validates it."""
        return TypeAdapter(self.kind)


def _as_integer(value: Any) -> int:
    """An integer of any kind, NumPy's too, as Python's own."""
    if isinstance(value, bool):
        raise ValueError("a truth value")  # noqa: TRY004  # as pydantic wants it
    return operator.index(value)


def _as_number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError("no number")  # noqa: TRY004  # as pydantic wants it
    return float(value)


def _as_text(value: Any) -> str:
    """A path or URL; a subclass of text as text itself."""
    if not isinstance(value, (str, os.PathLike)) or not isinstance(path := os.fspath(value), str) or not path:
        raise ValueError
    return str(path)


def _as_local_folder(value: Any) -> str:
    folder = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(folder, str) or "://" in folder or "\0" in folder:
        raise ValueError
    # Absolute, so that a later change of the working folder has no effect.
    return os.path.abspath(os.path.expanduser(folder)) if folder else ""


def _as_options(value: Any) -> dict[str, Any]:
    """A copy, so that what the caller changes later has no effect."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError
    return {name: _copy(inner) for name, inner in value.items()}


def _copy(value: Any) -> Any:
    """Copy only containers: a session or a lock among the values must stay the same object."""
    if type(value) is dict:
        return {name: _copy(inner) for name, inner in value.items()}
    return [_copy(inner) for inner in value] if type(value) is list else value


def _integer(least: int, most: int, *, optional: bool = False, **words: str) -> Argument:
    kind: Any = Annotated[int, BeforeValidator(_as_integer), Field(strict=True, ge=least, le=most)]
    return Argument(kind | None if optional else kind, f"a whole number from {least} to {most}", **words)


def _number(least: float, most: float, expected: str, *, above: bool = False, optional: bool = False) -> Argument:
    bounds: Any = Field(gt=least, le=most) if above else Field(ge=least, le=most)
    kind: Any = Annotated[float, BeforeValidator(_as_number), bounds]
    return Argument(kind | None if optional else kind, expected, "give another number")


_ROWS = _integer(1, MAX_GLOBAL_BATCH_ROWS, optional=True)
_STEPS = _integer(0, MAX_STEPS)
_MASKING = "give for example masking=Masking(rate=0.15)"
_FETCH = ("auto", "block", "shard")
_TIMEOUT, _BYTES = threading.TIMEOUT_MAX, sys.maxsize

ARGUMENTS = {
    "data": Argument(
        Annotated[str, PlainValidator(_as_text), AfterValidator(resolve_url)],
        "the path or URL of a packed dataset, a Source, a Mixture or Phases",
        "give the folder that holds its manifest.json",
        "this names no dataset",
    ),
    "global_batch_rows": _ROWS,
    "micro_batch_rows": _ROWS,
    "partitions": _ROWS,
    "batch_rows": _integer(1, MAX_GLOBAL_BATCH_ROWS),
    "rank": _integer(0, MAX_WORLD_SIZE),
    "world_size": _integer(1, MAX_WORLD_SIZE),
    "seed": _integer(0, (1 << 64) - 1),
    "shuffle_blocks": _integer(1, MAX_STEPS),
    "first_step": _STEPS,
    "max_epochs": _integer(1, MAX_STEPS, optional=True),
    "epoch": _STEPS,
    "number of epochs": _STEPS,
    "number of steps": _STEPS,
    "last_batch": Argument(Literal["drop", "wrap"], '"drop" or "wrap"', "give one of the two"),
    "masking": Argument(Masking, "a Masking", _MASKING),
    "masking or none": Argument(Masking | None, "a Masking or None", _MASKING),
    "masking or static": Argument(Masking | Literal["static"] | None, 'a Masking or "static"', _MASKING),
    "storage_options": Argument(
        Annotated[dict[str, Any], PlainValidator(_as_options)] | None,
        "a dictionary whose keys are names",
        'pass for example storage_options={"anon": True}',
        "storage_options is not a dictionary of options",
    ),
    "pairs": Argument(
        Literal["nsp", "sop"],
        "nsp or sop",
        'give "nsp" for next sentence prediction, "sop" for sentence order prediction, or None for any pairs',
        "no such pairs",
    ),
    "layout": Argument(
        Literal["sdpa", "varlen", "padded"],
        "sdpa, varlen or padded",
        'give "sdpa" for a mask, "varlen" for flash attention or "padded" for one sequence a row',
        "no such layout",
    ),
    "cache.folder": Argument(
        Annotated[str, PlainValidator(_as_local_folder)],
        "the path of a folder on a local disk",
        "give one, or leave it out for the user's own cache",
        "no such folder",
    ),
    "cache.max_bytes": _number(0, _BYTES, f"above 0, at most {_BYTES:g}", above=True),
    "cache.timeout_seconds": _number(0, _TIMEOUT, f"above 0, at most {_TIMEOUT:g}", above=True),
    "cache.fetch": Argument(Literal[_FETCH], f"one of {', '.join(_FETCH)}", "give one of these"),
    "mixture.weight": _number(0, MAX_WEIGHT, f"a number from 0 to {MAX_WEIGHT:g}"),
    "mixture.temperature": _number(MIN_TEMPERATURE, math.inf, f"a number from {MIN_TEMPERATURE:g} on", optional=True),
}
"""The arguments by their names in errors."""


def check(name: str, value: Any, *, called: str = "") -> Any:
    """Check an argument, and return it as its type is.

    Args:
        name: In `ARGUMENTS`.
        value: What was given.
        called: What errors call it; its name, if nothing is given.

    Raises:
        ConfigError: It may not be that; names the argument, what was expected and what was found.
    """
    argument = ARGUMENTS[name]
    adapter = argument.adapter
    try:
        return adapter.validate_python(value)
    except Exception as error:  # a ValidationError, or whatever a method of the value raised
        raise refuse_argument(called or name, value, argument.expected, argument.action, argument.what) from error


def check_settings(settings: Any, names: Mapping[str, str]) -> None:
    """Check the fields of a frozen dataclass, and set each to what its type makes of it.

    Args:
        settings: Just made.
        names: Of each field that is checked, its name in `ARGUMENTS`.

    Raises:
        ConfigError: See `check`.
    """
    for field in fields(settings):
        if field.name in names:
            object.__setattr__(settings, field.name, check(names[field.name], getattr(settings, field.name)))


def check_between(name: str, value: Any, least: int, most: int) -> int:
    """Check an integer whose bounds depend on what else was given.

    Raises:
        ConfigError: See `check`.
    """
    try:
        number = _as_integer(value)
    except Exception:  # noqa: BLE001  # a method of the value itself may raise anything
        number = None
    if number is None or not least <= number <= most:
        raise refuse_argument(name, value, f"a whole number from {least} to {most}")
    return number


def check_instance(name: str, value: Any, kind: type | tuple[type, ...], expected: str, action: str) -> None:
    """Check that an argument is of a class, one that this module does not know.

    Raises:
        ConfigError: See `check`.
    """
    if not isinstance(value, kind):
        raise refuse_argument(name, value, expected, action)
