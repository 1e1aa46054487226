"""Shards on this machine, held open while they are read.

Read, not mapped: truncating a mapped file kills the process, a file that is overwritten could change between its
check and its use, and a process may map 65,530 regions. Copying a block once more is 6 us
of the 71 that a masked batch of 32 rows of 512 takes.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from functools import partial

from maskmill.pipeline.storage.datasets import explain_gone
from maskmill.pipeline.storage.failures import explained_failures, retry_transient
from maskmill.pipeline.storage.regular_files import open_descriptor
from maskmill.schemas.errors import RESTORE, MaskmillError, ShardCorruptError

MAX_OPEN_FILES = 256  # per reader, over all its datasets; many systems allow 1,024 per process


class ShardFiles:
    """The local shards of one reader, of all its datasets together; the least recently used is closed."""

    def __init__(self, max_open: int = MAX_OPEN_FILES) -> None:
        self._max_open = max_open
        self._open: OrderedDict[str, int] = OrderedDict()

    def read(self, path: str, size_bytes: int, offset: int, length: int) -> bytes:
        """Some bytes of a shard.

        Args:
            path: Of the shard.
            size_bytes: Its length when it was written.
            offset: Of the first byte.
            length: How many.

        Raises:
            ShardCorruptError: It is gone, or has another length.
            ConfigError: It may not be read.
            TransientStorageError: A file system failed every attempt.
        """
        data = retry_transient(partial(self._attempt, path, size_bytes, offset, length))
        if len(data) < length:
            raise _other_length(path, size_bytes, offset + len(data))
        return data

    def _attempt(self, path: str, size_bytes: int, offset: int, length: int) -> bytes:
        try:
            with explained_failures(path):
                descriptor = self._open.get(path)
                if descriptor is None:
                    descriptor = self._begin(path, size_bytes)
                else:
                    self._open.move_to_end(path)
                return os.pread(descriptor, length, offset)
        except FileNotFoundError:
            raise explain_gone(path) from None
        except MaskmillError:
            self._end(path)  # on a network file system an open file may be stale, and a new one valid
            raise

    def _end(self, path: str) -> None:
        descriptor = self._open.pop(path, None)
        if descriptor is not None:
            os.close(descriptor)

    def close(self) -> None:
        """Close them all."""
        while self._open:
            os.close(self._open.popitem()[1])

    def __del__(self) -> None:
        self.close()

    def _begin(self, path: str, size_bytes: int) -> int:
        descriptor = open_descriptor(path, ShardCorruptError)
        found = os.fstat(descriptor).st_size
        if found != size_bytes:
            os.close(descriptor)
            raise _other_length(path, size_bytes, found)
        self._open[path] = descriptor
        if len(self._open) > self._max_open:
            os.close(self._open.popitem(last=False)[1])
        return descriptor


def _other_length(path: str, expected: int, found: int) -> ShardCorruptError:
    return ShardCorruptError(
        "a shard has another length than when it was written",
        path=path,
        expected=f"{expected} bytes",
        found=f"{found}",
        action=RESTORE,
    )
