"""What a filter decides about a document."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dropped:
    """The document is left out.

    Attributes:
        reason: Why, in a few words; documents are counted by it, so it names no part of the text.
    """

    reason: str


@dataclass(frozen=True)
class Changed:
    """The document stays with another text, which is not empty."""

    text: str


Decision = Dropped | Changed | None
"""`None`: the document stays as it is."""
