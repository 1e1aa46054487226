"""How numbers are said to a person."""

from __future__ import annotations


def count_of(number: int, one: str, several: str = "") -> str:
    """A number and what it counts: `1 unit`, `2,000 units`.

    Args:
        number: How many.
        one: What one of them is called.
        several: What several are called, where that is not `one` with an `s`.
    """
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"
