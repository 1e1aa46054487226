"""The patterns of a `tokenizer.json` that are accepted: those that are searched for in linear time."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator

MAX_PARTS = 16
"""Most parts of a sequence."""
MAX_TEXT = 256
"""Most characters of a pattern, a replacement or a prefix."""

Text = Annotated[str, StringConstraints(max_length=MAX_TEXT)]

_CATEGORY = r"\\[pP]\{\^?(?:L[ultmo]?|M[nce]?|N[dlo]?|P[cdseifo]?|S[mcko]?|Z[slp]?|C[cfo]?)\}"
_NUMBER = r"\\(?:x[0-7][0-9A-Fa-f]|u[0-9A-Fa-f]{4})"  # in ASCII and in the basic plane
_ESCAPE = rf"(?:{_CATEGORY}|\\[sSdDwWnrt]|\\[!-/:-@\[-`{{-~])"
_IN_CLASS = rf"(?:{_NUMBER}|[^\\\[\]&\-]|&(?!&))"  # two of these are an operator on classes
_IN_CLASS_ONCE = rf"(?:{_ESCAPE}|{_IN_CLASS}(?:-{_IN_CLASS})?)"
_CLASS = rf"\[\^?(?!\^)(?:-{_IN_CLASS_ONCE}*|{_IN_CLASS_ONCE}+-?)\]"
_ATOM = rf"(?:{_ESCAPE}|{_NUMBER}|{_CLASS}|[^\\\[\](){{}}*+?|^$])"
_REPEAT = r"(?:[*+?]|\{\d{1,3}(?:,\d{0,3})?\})"
_ALTERNATIVE = re.compile(rf"({_ATOM}*?)({_ATOM})({_REPEAT})?(?:\||\Z)", re.DOTALL)
_SINGLE = re.compile(_ATOM, re.DOTALL)
_ONE_CLASS = re.compile(_CLASS)
_RANGE = re.compile(rf"({_IN_CLASS})-({_IN_CLASS})")


class Part(BaseModel):
    """The base class of a tokenizer's parts: nothing is converted, and nothing unknown is accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def measure_pattern(pattern: str) -> int:
    r"""The least number of characters that a pattern matches.

    Accepted are alternatives of single characters and classes, of which only the last may repeat: `\s+`, ` {2,}`,
    `[a-z]|\p{Lu}`. Such a pattern is found in time that is linear in the text. With groups, or with anything after a
    repetition, there are patterns that take quadratic or exponential time.

    Raises:
        ValueError: It is not such a pattern.
    """
    least: list[int] = []
    start = 0
    while start < len(pattern) or not least:
        found = _ALTERNATIVE.match(pattern, start)
        if found is None or (found.end() == len(pattern) and pattern.endswith("|")):
            raise ValueError("not alternatives of single characters and classes, the last of which may repeat")
        for first, last in _RANGE.findall(" ".join(_ONE_CLASS.findall(found[0]))):
            if _number(first) > _number(last):
                raise ValueError(f"the range {first}-{last} is empty")
        least.append(len(_SINGLE.findall(found[1])) + _least_repeat(found[3]))
        start = found.end()
    if not min(least):
        raise ValueError("it matches the empty string")
    return min(least)


def _number(character: str) -> int:
    return ord(character) if len(character) == 1 else int(character.lstrip("\\ux"), 16)


def _least_repeat(repeat: str | None) -> int:
    if repeat is None or repeat == "+":
        return 1
    if repeat in "*?":
        return 0
    least, _, most = repeat[1:-1].partition(",")
    if most and int(most) < int(least):
        raise ValueError(f"{repeat} repeats at least more often than at most")
    return int(least)


class Pattern(Part):
    """What to search for: a string, or a pattern that `measure_pattern` accepts."""

    String: Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT)] | None = None
    Regex: Text | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Pattern:
        if (self.String is None) == (self.Regex is None):
            raise ValueError("either a String or a Regex")
        if self.Regex is not None:
            measure_pattern(self.Regex)
        return self

    def measure(self) -> int:
        """The least number of bytes that it matches."""
        return len(self.String.encode()) if self.String is not None else measure_pattern(self.Regex or "")
