"""Parse JSON of untrusted files within bounds: a small file can contain a great many objects."""

from __future__ import annotations

import json
from typing import Any

MAX_BRACKETS = 1 << 20
MAX_COMMAS = 4 << 20


def parse_json(content: bytes, max_bytes: int, *, has_unique_keys: bool = False) -> Any:
    """Parse JSON of a bounded size; reject NaN, Infinity and unpaired surrogates.

    Args:
        content: UTF-8.
        max_bytes: The largest size.
        has_unique_keys: Reject a key that occurs twice in an object; otherwise the last one counts.

    Raises:
        ValueError: It is too large, has more parts than `MAX_BRACKETS` or `MAX_COMMAS`, or is not such JSON.
    """
    check_parts(content, max_bytes)
    collect = _collect_keys if has_unique_keys else None
    try:
        found = json.loads(content.decode(), object_pairs_hook=collect, parse_constant=_refuse_constant)
        if b"\\u" in content:
            json.dumps(found, ensure_ascii=False).encode()  # raises if a string has an unpaired surrogate
    except RecursionError as error:
        raise ValueError(f"objects within objects: {error}") from None
    return found


def check_parts(content: bytes, max_bytes: int, max_brackets: int = MAX_BRACKETS, max_commas: int = MAX_COMMAS) -> None:
    """Reject JSON from which a parser would create too many objects.

    Args:
        content: The JSON.
        max_bytes: The largest size.
        max_brackets: Most objects and lists.
        max_commas: Most commas, which bounds the other values.

    Raises:
        ValueError: It is larger, or has more of them.
    """
    if len(content) > max_bytes:
        raise ValueError(f"{len(content)} bytes, and at most {max_bytes} are accepted")
    if content.count(b"{") + content.count(b"[") > max_brackets or content.count(b",") > max_commas:
        raise ValueError("more objects, lists or values than any such file has")


def _collect_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice in one object")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
