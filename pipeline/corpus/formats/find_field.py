"""Fields of nested records by their paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

MISSING: Final = object()
"""What `find_field` gives where there is none; `None` is a value."""


def find_field(record: Mapping[str, Any], path: str) -> Any:
    """A field of a record: the key itself if the record has it, else one inside another, as `content.text`.

    Args:
        record: As JSON gives it.
        path: Keys, joined by dots.

    Returns:
        Its value, or `MISSING`.
    """
    if path in record:
        return record[path]
    for key, rest in iter_splits(path):
        inner = record.get(key)
        if isinstance(inner, dict) and (found := find_field(inner, rest)) is not MISSING:
            return found
    return MISSING


def iter_splits(path: str) -> Iterator[tuple[str, str]]:
    """Split a path at each dot into an outer key and the path below it, shortest key first."""
    for place, sign in enumerate(path):
        if sign == "." and 0 < place < len(path) - 1:
            yield path[:place], path[place + 1 :]
