"""What a filter decides about a document."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Match:
    """Text that a document shares with an evaluation file.

    Attributes:
        file: The evaluation file.
        ngram: The first n-gram that is shared, as it is compared.
        around: The document's text around it.
    """

    file: str
    ngram: str
    around: str


@dataclass(frozen=True)
class Dropped:
    """The document is left out.

    Attributes:
        reason: Why, in a few words; documents are counted by it, so it names no part of the text.
        matches: What it shares with each evaluation file, of the filter that looks for that.
    """

    reason: str
    matches: tuple[Match, ...] = ()


@dataclass(frozen=True)
class Changed:
    """The document stays with another text, which is not empty.

    Attributes:
        text: The text.
        matches: As above.
    """

    text: str
    matches: tuple[Match, ...] = ()


Decision = Dropped | Changed | None
"""`None`: the document stays as it is."""
