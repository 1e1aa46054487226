"""Writes neighbouring blocks to one file of a cache as they are downloaded, renamed when it is whole.

The file is not flushed to the device: a reader compares length and checksum anyway, so what a power cut leaves is
fetched again. A disk that fails is no error: the ledger warns once and writes nothing to it for a while.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable

from maskmill.pipeline.loader.cache.cache_ledger import CacheLedger
from maskmill.pipeline.loader.cache.own_files import make_own_folder, open_own_file, open_own_folder
from maskmill.pipeline.storage.local_files import partial_name

CREATIONS = 3


class BlockWriter:
    """One file being written; invisible until `finish`.

    Args:
        ledger: Of the cache.
        locate: Where so many blocks, from the first one on, are kept.
        first: The first of them.
        most: How many there may be.

    Attributes:
        first: See above.
        stop: The block that comes next.
        num_bytes: Of what was added.
    """

    def __init__(self, ledger: CacheLedger, locate: Callable[[int], str], first: int, most: int) -> None:
        self.first = self.stop = first
        self.num_bytes = 0
        self._ledger = ledger
        self._locate = locate
        self._path, self._name = os.path.split(partial_name(locate(most)))
        self._folder: int | None = None
        self._descriptor: int | None = None
        self._is_good = True

    def add(self, data: bytes | memoryview) -> bool:
        """Write the next block; False, and the file is given up, where the disk fails."""
        try:
            self._write(data)
        except OSError as error:
            self._ledger.rest(error)
            self._is_good = False
        else:
            self.stop += 1
            self.num_bytes += len(data)
        return self._is_good

    def finish(self) -> bool:
        """Make what was added visible; False where the disk failed, or there is nothing."""
        if self._descriptor is None or not self._is_good:
            return False
        try:
            name = os.path.basename(self._locate(self.stop - self.first))
            os.replace(self._name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):  # else another process cleaned up: the disk did not fail
                self._ledger.rest(error)
            return False
        return True

    def close(self) -> None:
        """Close the file, and delete it if it was not finished."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):  # a network disk may report an exceeded quota here; readers check anyway
                os.close(self._descriptor)
            self._descriptor = None
            with contextlib.suppress(OSError):
                os.unlink(self._name, dir_fd=self._folder)
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None

    def _write(self, data: bytes | memoryview) -> None:
        if self._descriptor is None:
            self._descriptor = self._create()
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def _create(self) -> int:
        for _ in range(CREATIONS):
            with contextlib.suppress(FileNotFoundError):  # an eviction has just deleted the empty folder
                make_own_folder(self._path)
                self._folder = open_own_folder(self._path)
                return open_own_file(self._name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self._folder)
            if self._folder is not None:
                os.close(self._folder)
                self._folder = None
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._path)
