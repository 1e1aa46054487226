"""Files on object stores: ranged reads with retries, writes that appear when complete.

fsspec's own file objects are not enough: a connection that breaks during a read fails for good, the garbage collector
completes a half-written upload after an error, and `memory://` shows a file from its first byte on.
"""

from __future__ import annotations

import contextlib
import errno
import io
from collections.abc import Callable
from typing import Any

# A smaller file is one PUT, retried as a whole; a larger one is uploaded in parts of this size as they come.
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
        """True."""
        return True

    def seekable(self) -> bool:
        """True: seeking costs nothing."""
        return True

    def tell(self) -> int:
        """The position of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = WHENCE_SET, /) -> int:
        """Set the position of the next read."""
        base = {WHENCE_SET: 0, WHENCE_CURRENT: self._position, WHENCE_END: self._size_bytes}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, "a position before the start of the file")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Fill `buffer`, up to the end of the object."""
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
    """A file being written: in memory up to `PART_BYTES`, then uploaded in parts; invisible until `commit`.

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
        """Discard everything; parts already uploaded are abandoned."""
        if self._large is not None:
            with contextlib.suppress(Exception):
                self._large.discard()
            # Otherwise its finaliser flushes once more.
            self._large.closed = True


class ExplainedWriter(io.BufferedIOBase):
    """The file object that a caller writes to: it counts bytes and hides everything else.

    Args:
        write: Takes bytes; raises maskmill's errors.
    """

    def __init__(self, write: Callable[[Any], object]) -> None:
        self._write = write
        self._position = 0

    def writable(self) -> bool:
        """True."""
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
