"""A file object for Arrow that hashes what is written to it."""

from __future__ import annotations

import io
from typing import IO, Any

import xxhash


class HashingSink(io.RawIOBase):
    """A file that is written from its start to its end.

    Args:
        file: Where what is written goes; the caller closes it.

    Attributes:
        position: Bytes written so far.
        whole: xxh3-128 of them.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.position = 0
        self.whole = xxhash.xxh3_128()

    def write(self, data: Any) -> int:
        """Write bytes."""
        view = memoryview(data).cast("B")
        self._take(view)
        self.position += view.nbytes
        return view.nbytes

    def _take(self, view: memoryview) -> None:
        self._file.write(view)
        self.whole.update(view)

    def tell(self) -> int:
        """The position; Arrow asks for it."""
        return self.position

    def writable(self) -> bool:
        """True: Arrow asks before it writes."""
        return True
