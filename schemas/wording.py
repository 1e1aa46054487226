"""Numbers and values as text for people."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from pydantic import BaseModel

from maskmill.schemas.printable import SHOWN_CHARACTERS, make_printable


def count_of(number: int, one: str, several: str = "") -> str:
    """A number and what it counts: `1 unit`, `2,000 units`.

    Args:
        number: The number.
        one: The singular.
        several: The plural, if it is not `one` with an `s`.
    """
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def size_of(num_bytes: int) -> str:
    """A number of bytes in a suitable unit: `12 bytes`, `38.1 GB`."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return count_of(num_bytes, "byte")


def setting_of(value: object) -> str:
    """A value as it is written in a run file, shortened if it is long; `unset` for `None`."""
    return "unset" if value is None else make_printable(write_value(value), SHOWN_CHARACTERS)


def write_value(value: object) -> str:
    """A value of a setting as TOML on one line; a model, such as a schedule, is written as an inline table."""
    if isinstance(value, BaseModel):
        return write_value(value.model_dump(mode="json", by_alias=True, exclude_none=True))
    if isinstance(value, Mapping):
        pairs = (f"{_write_key(str(key))} = {write_value(inner)}" for key, inner in value.items() if inner is not None)
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(write_value, value))}]"
    if isinstance(value, float):
        return repr(float(value))  # json writes the infinities in words that TOML does not know
    return json.dumps(value if isinstance(value, bool | int | str) else str(value), ensure_ascii=False)


def _write_key(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def say_gap(gap: float) -> str:
    """Compare a held-out loss with the unigram entropy, in nats; a positive gap means that the loss is below it."""
    return f"{abs(gap):.3f} nats {'below' if gap >= 0 else 'above'} the unigram entropy"
