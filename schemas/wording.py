"""Numbers and values as text for people."""

from __future__ import annotations

import json

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
    return "unset" if value is None else make_printable(json.dumps(value, ensure_ascii=False), SHOWN_CHARACTERS)
