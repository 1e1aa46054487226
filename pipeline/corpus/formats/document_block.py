"""Documents of one file as columns; whatever is not a document is rejected with its place and the reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Origin(Protocol):
    """The file that documents come from."""

    @property
    def path(self) -> str:
        """Its name in ids."""

    @property
    def source(self) -> str:
        """The source of its documents, unless they name one."""


class Reason(StrEnum):
    """Why an input was quarantined."""

    BROKEN_JSON = "broken JSON"
    NOT_AN_OBJECT = "not a JSON object"
    NO_TEXT = "no text field"
    TEXT_NOT_STRING = "text is not a string"
    EMPTY = "empty text"
    INVALID_UTF8 = "invalid UTF-8"
    TOO_LARGE = "document too large"
    BAD_ID = "id is neither text nor an integer"
    BAD_SOURCE = "source is not text"


@dataclass(frozen=True)
class Reject:
    """One rejected input: its place, why, its length and its first MiB of bytes."""

    path: str
    line: int
    reason: Reason
    size_bytes: int
    content: bytes


@dataclass
class DocumentBlock:
    """Some consecutive documents of one file, as columns, and what was rejected between them.

    `without_id` and `without_source` count those of the documents that do not have these themselves.
    """

    doc_id: list[str] = field(default_factory=list)
    source: list[str] = field(default_factory=list)
    line: list[int] = field(default_factory=list)
    text: list[bytes] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    without_id: int = 0
    without_source: int = 0
