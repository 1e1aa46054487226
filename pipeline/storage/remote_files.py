"""Files on object stores: reads in ranges that are tried again, writes that appear when complete.

fsspec's own file objects do not do: a body cut in the middle of a read fails for good, a failed block's
half-written upload is finished by the garbage collector, and `memory://` shows a file from its first byte on.
"""

from __future__ import annotations

import contextlib
import errno
import io
from collections.abc import Callable
from typing import Any

# Below it a file is one PUT, tried again as a whole; above it, parts of this size as they come.
PART_BYTES = 32 * 2**20
READ_AHEAD_BYTES = 1 << 20

WHENCE_SET, WHENCE_CURRENT, WHENCE_END = range(3)


class RangeReader(io.RawIOBase):
    """A seekable file over a function that fetches a range. Its object never changes, so its size is asked once.

    Args:
        fetch: `fetch(offset, length)` gives at most `length` bytes, fewer only at the end.
        size_bytes: Length of the object.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size_bytes: int) -> None:
        self._fetch = fetch
        self._size_bytes = size_bytes
        self._position = 0

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def seekable(self) -> bool:
        """Any position, at no cost."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = WHENCE_SET, /) -> int:
        """Go to a position."""
        base = {WHENCE_SET: 0, WHENCE_CURRENT: self._position, WHENCE_END: self._size_bytes}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, "a position before the start of the file")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Fill as much of `buffer` as the object has."""
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(view.nbytes, self._size_bytes - self._position))
        if wanted == 0:
            return 0
        data = self._fetch(self._position, wanted)
        if not data:
            raise EOFError(f"the object ended at byte {self._position} of {self._size_bytes}")
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


class RemoteOutput:
    """A file in the making: in memory up to `PART_BYTES`, then uploaded in parts; seen by nobody until `commit`.

    Args:
        put: Writes a whole small file at once.
        open_parts: Opens an fsspec file for a large one, or `None` where files only fit in memory anyway.
    """

    def __init__(self, put: Callable[[bytes], None], open_parts: Callable[[], Any] | None) -> None:
        self._put = put
        self._open_parts = open_parts
        self._small = io.BytesIO()
        self._large: Any = None

    def write(self, data: Any) -> None:
        """Add bytes."""
        if self._large is not None:
            self._large.write(data)
            return
        self._small.write(data)
        if self._open_parts is not None and self._small.tell() >= PART_BYTES:
            self._large = self._open_parts()
            self._large.write(self._small.getbuffer())
            self._small = io.BytesIO()

    def commit(self) -> None:
        """Make the file visible, whole."""
        if self._large is None:
            self._put(self._small.getvalue())
        else:
            self._large.close()
            self._large.commit()

    def discard(self) -> None:
        """Forget all of it; parts already uploaded are given up."""
        if self._large is not None:
            with contextlib.suppress(Exception):
                self._large.discard()
            # Otherwise its finaliser flushes once more.
            self._large.closed = True


class ExplainedWriter(io.BufferedIOBase):
    """What a caller writes into: counts bytes and lets nothing else of the file be touched.

    Args:
        write: Takes bytes; raises maskmill's errors.
    """

    def __init__(self, write: Callable[[Any], object]) -> None:
        self._write = write
        self._position = 0

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def tell(self) -> int:
        """Bytes written."""
        return self._position

    def write(self, data: Any, /) -> int:
        """Add bytes, all of them."""
        num_bytes = memoryview(data).nbytes
        self._write(data)
        self._position += num_bytes
        return num_bytes
