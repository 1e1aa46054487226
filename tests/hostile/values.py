"""Values that a reader may trip over: numbers at every limit, other types, other texts."""

from __future__ import annotations

import random
from typing import Any

INTEGERS = (
    0, 1, 2, 3, 31, 127, 255, 256, 65_535, 65_536, 2**24, 10**9, 2**31 - 1, 2**31, 2**32 - 1, 2**32,
    2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, -1, -2, -(2**31), -(2**63),
)  # fmt: skip
ESCAPES = (
    "\x1b[2J",
    "\x1b]8;;x:y\x07z",
    "\x9b31m",
    "\u202eltr",
    "line\nfeed",
    "\r",
    "\x00",
    "\ud7ff",
    "\x07",
)
TEXTS = ("", "x", "../../etc/passwd", "/etc/passwd", "a" * 5000, "[bold]x", *(f"t{escape}t" for escape in ESCAPES))
OTHERS: tuple[Any, ...] = (None, True, 1.5, float("inf"), float("nan"), -0.0, 1e308, [], {}, "7", [[[]]], {"a": {}})

Place = tuple[Any, ...]


def draw_integer(draw: random.Random, bits: int = 64, signed: bool = False) -> int:
    """A number that fits so many bits."""
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return draw.choice([number for number in INTEGERS if low <= number <= high] + [draw.randint(low, high)])


def draw_value(draw: random.Random, old: Any = None) -> Any:
    """Any of JSON's values, most often one of the same type as the old."""
    if isinstance(old, int) and not isinstance(old, bool) and draw.random() < 0.8:
        return draw.choice([*INTEGERS, old + 1, old - 1, old * 2])
    if isinstance(old, str) and draw.random() < 0.8:
        return draw.choice([*TEXTS, old[:-1], old + "x", old.upper()])
    return draw.choice([*OTHERS, *INTEGERS, *TEXTS])


def list_places(value: Any, place: Place = ()) -> list[Place]:
    """The place of every value inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [inner for key, item in items for inner in [(*place, key), *list_places(item, (*place, key))]]


def at_place(value: Any, place: Place) -> Any:
    for key in place:
        value = value[key]
    return value


def set_place(value: Any, place: Place, new: Any) -> None:
    at_place(value, place[:-1])[place[-1]] = new


def mutate_json(value: Any, draw: random.Random) -> str:
    """Change a value inside a JSON value: replaced, removed, added, doubled or nested; says what."""
    place = draw.choice(list_places(value))
    old = at_place(value, place)
    how = draw.choices(("replace", "remove", "add", "nest", "double"), (10, 2, 2, 1, 1))[0]
    if how == "replace":
        new = draw_value(draw, old)
        set_place(value, place, new)
        return f"{place} = {new!r:.60} (was {old!r:.60})"
    if how == "remove":
        del at_place(value, place[:-1])[place[-1]]
    elif how == "add":
        parent = at_place(value, place[:-1])
        new = draw_value(draw)
        if isinstance(parent, dict):
            parent[draw.choice(("extra", "x\x1b[2J", ""))] = new
        else:
            parent.append(new)
    elif how == "nest":
        set_place(value, place, nest(draw.choice((3, 200, 900)), old))
    else:
        set_place(value, place, old * 3 if isinstance(old, (str, list)) else [old, old])
    return f"{how} {place}"


def nest(depth: int, inner: Any) -> Any:
    """A value in so many lists."""
    for _ in range(depth):
        inner = [inner]
    return inner


def deep_json(depth: int, opening: str = "[", closing: str = "]") -> str:
    """JSON text that a recursive parser follows down."""
    return opening * depth + "1" + closing * depth
