"""The normalizers of a `tokenizer.json` that are accepted, and how far each lets a text grow.

Anything else is rejected before `tokenizers` reads it: some values make that library panic or end the process (an
invalid character map), others keep it busy for ever (patterns that backtrack, replacements that multiply the text).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import FailFast, Field, model_validator

from maskmill.schemas.tokenizer.patterns import MAX_PARTS, Part, Pattern, Text

MAX_GROWTH = 8
"""The factor by which all replacements of a normalizer together may lengthen a text, in bytes. Unicode's own forms and
the normalizer of BERT add a constant factor of at most 11."""


class BertNormalizer(Part):
    """The normalizer of BERT."""

    type: Literal["BertNormalizer"]
    clean_text: bool
    handle_chinese_chars: bool
    strip_accents: bool | None = None
    lowercase: bool


class PlainNormalizer(Part):
    """Normalizers without settings."""

    type: Literal["NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase", "StripAccents", "ByteLevel"]

    def growth(self) -> int:
        """The factor by which a text may grow, apart from Unicode's own forms."""
        return 2 if self.type == "ByteLevel" else 1


class StripNormalizer(Part):
    """Removes whitespace from the ends."""

    type: Literal["Strip"]
    strip_left: bool
    strip_right: bool


class ReplaceNormalizer(Part):
    """Replaces everything that the pattern matches by `content`."""

    type: Literal["Replace"]
    pattern: Pattern
    content: Text

    def growth(self) -> int:
        """The factor by which a text may grow."""
        return max(1, math.ceil(len(self.content.encode()) / self.pattern.measure()))

    @model_validator(mode="after")
    def _grows_little(self) -> ReplaceNormalizer:
        check_growth([self])
        return self


class PrependNormalizer(Part):
    """Puts `prepend` before a text."""

    type: Literal["Prepend"]
    prepend: Annotated[Text, Field(min_length=1)]  # on an empty one the library panics

    def growth(self) -> int:
        """The factor by which a text may grow: the worst case is one character."""
        return 1 + len(self.prepend.encode())

    @model_validator(mode="after")
    def _grows_little(self) -> PrependNormalizer:
        check_growth([self])
        return self


_OneNormalizer = Annotated[
    BertNormalizer | PlainNormalizer | StripNormalizer | ReplaceNormalizer | PrependNormalizer,
    Field(discriminator="type"),
]


def check_growth(normalizers: Sequence[Any]) -> None:
    """Reject normalizers that together make a text too long.

    Raises:
        ValueError: They make it too long.
    """
    growth = math.prod(one.growth() for one in normalizers if hasattr(one, "growth"))
    if growth > MAX_GROWTH:
        raise ValueError(f"replacements may make a text {growth} times as long, and at most {MAX_GROWTH} are accepted")
    if sum(getattr(one, "type", "") in ("NFKC", "NFKD") for one in normalizers) > 1:
        raise ValueError("more than one compatibility form, NFKC or NFKD, which replacements between them multiply")


class NormalizerSequence(Part):
    """One normalizer after the other."""

    type: Literal["Sequence"]
    normalizers: Annotated[list[_OneNormalizer], FailFast(), Field(max_length=MAX_PARTS)]

    @model_validator(mode="after")
    def _grows_little(self) -> NormalizerSequence:
        check_growth(self.normalizers)
        return self


Normalizer = Annotated[
    BertNormalizer | PlainNormalizer | StripNormalizer | ReplaceNormalizer | PrependNormalizer | NormalizerSequence,
    Field(discriminator="type"),
]
