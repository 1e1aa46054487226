"""The documents of a text file that begin in a range of its bytes, as a stream of bytes of their own."""

from __future__ import annotations

from collections.abc import Callable

from maskmill.pipeline.corpus.formats.split import Boundary

MIN_RANGE_BYTES = 4
"""A range behind the first begins behind a byte order mark, of which no boundary may be a part."""


class TextRange:
    """The part of a file between the first boundary behind its range's start, and the first behind the range's end.

    Nothing before the start is read but one byte, and no more behind the end than up to the boundary there. Where a
    document is longer than the range, it belongs to the range that it begins in, and the others read on to their ends
    alone: so the ranges of a file together read each of its bytes at most twice.

    Args:
        read: Gives the next bytes of the file, from the byte before `start` on, or from byte 0 if that is the start;
            none at the end.
        start: The first byte of the range.
        stop: The one behind its last.
        new_boundary: Makes what finds boundaries.

    Attributes:
        first_byte: Where the part begins in the file; known once its first bytes have been read.
        line_ends: In what has been read of it.
    """

    def __init__(self, read: Callable[[], bytes], start: int, stop: int, new_boundary: Callable[[], Boundary]) -> None:
        self._read = read
        self._place = max(0, start - 1)  # of the next byte that `read` gives
        self._last = stop - 1  # the byte from which on the end is looked for
        self._first = new_boundary() if start else None
        self._end = new_boundary()
        self._is_at_end = False
        self.first_byte = start
        self.line_ends = 0

    def read(self) -> bytes:
        """The next bytes of the part; empty at its end."""
        while not self._is_at_end:
            data = self._read()
            part = self._cut(data)
            self._place += len(data)
            self._is_at_end |= not data
            if part:
                self.line_ends += part.count(b"\n")
                return part
        return b""

    def _cut(self, data: bytes) -> bytes:
        """What of the next bytes of the file belongs to the part."""
        start = 0 if self._first is None else self._first.feed(data)
        stop = None
        unseen = max(0, self._last - self._place)  # bytes before those in which the end is looked for
        if unseen < len(data):
            found = self._end.feed(data[unseen:])
            stop = None if found is None else unseen + found
            self._is_at_end = stop is not None
        if start is None:
            # Two that have come to the same state will find the same boundary, and nothing is between.
            self._is_at_end |= unseen < len(data) and self._first == self._end
            return b""
        if self._first is not None:
            self._first = None
            self.first_byte = self._place + start
        return data[start:stop]
