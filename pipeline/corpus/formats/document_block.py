"""Documents of one file as columns; whatever is not a document is rejected with its place and the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from maskmill.pipeline.corpus.read_lines import Blocks


class Origin(Protocol):
    """The file that documents come from."""

    @property
    def path(self) -> str:
        """Its name in ids."""

    @property
    def source(self) -> str:
        """The source of its documents, unless they name one."""

    @property
    def format(self) -> str:
        """The name of its format."""


class Opened(Blocks, Protocol):
    """A file of raw text that is being read, or a part of one.

    Of a part, `read` gives the bytes of the documents that begin there; readers of rows choose them by its range.
    """

    @property
    def stop(self) -> int | None:
        """The byte behind the part; None for a whole file."""

    @property
    def size_bytes(self) -> int:
        """Of the stored file."""

    def open_seekable(self) -> Any:
        """The file as stored, for reading at any place."""

    def explain(self, kind: str) -> AbstractContextManager[None]:
        """Raise `InputDataError` where the libraries that read files of this kind fail."""


class Reason(StrEnum):
    """Why an input was quarantined."""

    BROKEN_JSON = "broken JSON"
    BROKEN_CSV = "broken CSV"
    NOT_AN_OBJECT = "not a JSON object"
    NO_TEXT = "no text field"
    TEXT_NOT_STRING = "text is not a string"
    EMPTY = "empty text"
    INVALID_UTF8 = "invalid UTF-8"
    TOO_LARGE = "document too large"
    BAD_ID = "id is neither text nor an integer"
    BAD_SOURCE = "source is not text"
    NO_PLAIN_TEXT = "not plain text"


ADVICE: Mapping[str, str] = {
    Reason.NO_PLAIN_TEXT: "extract the text of web pages first, for example with resiliparse or trafilatura, or take "
    "the WET files of the same crawl"
}
"""What to do where there are many rejects of a reason, unless the quarantine has to tell."""


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

    `is_numbered` says of each document whether its id is made of its line, since it has none itself. `without_source`
    counts those that have no source themselves.
    """

    doc_id: list[str] = field(default_factory=list)
    source: list[str] = field(default_factory=list)
    line: list[int] = field(default_factory=list)
    text: list[bytes] = field(default_factory=list)
    is_numbered: list[bool] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    without_source: int = 0

    def append(self, line: int, text: bytes, doc_id: bytes | None, source: bytes | None, file: Origin) -> None:
        """Add a document.

        Args:
            line: Its place in the file.
            text: UTF-8.
            doc_id: UTF-8; without it, its place is its id.
            source: UTF-8; without it, its source is the file's.
            file: Where it comes from.
        """
        self.doc_id.append(f"{file.path}#{line}" if doc_id is None else doc_id.decode())
        self.source.append(file.source if source is None else source.decode())
        self.without_source += source is None
        self.line.append(line)
        self.text.append(text)
        self.is_numbered.append(doc_id is None)

    def take(self, rows: Sequence[int], texts: list[bytes] | None = None) -> DocumentBlock:
        """The same block with some of its documents, and with other texts where these are given."""
        return DocumentBlock(
            doc_id=[self.doc_id[row] for row in rows],
            source=[self.source[row] for row in rows],
            line=[self.line[row] for row in rows],
            text=[self.text[row] for row in rows] if texts is None else texts,
            is_numbered=[self.is_numbered[row] for row in rows],
            rejects=self.rejects,
            without_source=self.without_source,
        )
