"""Where a file of a format may be cut, so that several units can read it.

A file is cut into ranges of bytes before anybody has opened it, and each unit moves both ends of its range to the next
boundary between documents, by the same rule. So ranges that cover a file give each of its documents once, in order, as
reading it whole does.

Files of rows need no such rule: their readers take the row groups or record batches that begin in the range.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from maskmill.pipeline.corpus.read_lines import is_blank
from maskmill.schemas.run_file import InputSection


class Boundary(Protocol):
    """Finds the next boundary between documents in bytes that come in pieces; equal ones will find the same one."""

    def feed(self, data: bytes) -> int | None:
        """How many of these bytes come before the boundary; None if it is behind them."""


@dataclass(frozen=True)
class Splitting:
    """How files are read in parts.

    Attributes:
        new_boundary: Makes what finds the first boundary behind the first byte that it is fed; None where files are
            cut between rows, or not at all.
        reason: Why they are not cut; empty where they are.
    """

    new_boundary: Callable[[], Boundary] | None = None
    reason: str = ""


def split_lines(_: InputSection) -> Splitting:
    """Cut at line ends."""
    return Splitting(LineEnd)


def split_rows(_: InputSection) -> Splitting:
    """Cut between row groups or record batches."""
    return Splitting()


def split_texts(settings: InputSection) -> Splitting:
    """Cut plain text by what a document is."""
    if settings.text_separator is not None:
        separator = settings.text_separator.encode()
        if any(separator.startswith(separator[start:]) for start in range(1, len(separator))):
            return Splitting(
                reason="input.text_separator ends as it begins, so where one is depends on those before it"
            )
        return Splitting(lambda: Separator(separator))
    if settings.text_document == "line":
        return Splitting(LineEnd)
    if settings.text_document == "blank_line":
        return Splitting(lambda: BlankLine(settings.max_text_bytes))
    return Splitting(reason=f'input.text_document = "{settings.text_document}"')


def split_records(_: InputSection) -> Splitting:
    """Cut no file of quoted records."""
    return Splitting(reason="a line end may be inside quotes")


def split_warc(_: InputSection) -> Splitting:
    """Cut no file of records that say how long they are."""
    return Splitting(reason="its records can only be read one after the other")


@dataclass
class LineEnd:
    """The end of a line."""

    def feed(self, data: bytes) -> int | None:
        """See `Boundary`."""
        return data.find(b"\n") + 1 or None


@dataclass
class BlankLine:
    """The end of a blank line that begins behind the first line end.

    Attributes:
        max_line_bytes: A longer line is not blank, whatever it holds.
    """

    max_line_bytes: int
    _line: bytes | None = None
    """The current line; None before the first line end, and where it is too long to be blank."""

    def feed(self, data: bytes) -> int | None:
        """See `Boundary`."""
        start = 0
        while (stop := data.find(b"\n", start)) >= 0:
            self._add(data, start, stop)
            if self._line is not None and is_blank(self._line.removesuffix(b"\r")):
                return stop + 1
            self._line = b""
            start = stop + 1
        self._add(data, start, len(data))
        return None

    def _add(self, data: bytes, start: int, stop: int) -> None:
        if self._line is None:
            return
        size = len(self._line) + stop - start
        ends_with_cr = data.startswith(b"\r", stop - 1) if stop > start else self._line.endswith(b"\r")
        self._line = None if size - ends_with_cr > self.max_line_bytes else self._line + data[start:stop]


@dataclass
class Separator:
    """The end of a separator.

    Attributes:
        separator: No beginning of it is its end too, so that one never overlaps another: each that is found counts.
    """

    separator: bytes
    _before: bytes = b""

    def feed(self, data: bytes) -> int | None:
        """See `Boundary`."""
        whole = self._before + data
        found = whole.find(self.separator)
        if found >= 0:
            return found + len(self.separator) - len(self._before)
        self._before = whole[max(0, len(whole) + 1 - len(self.separator)) :]
        return None
