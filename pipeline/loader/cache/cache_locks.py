"""Locks among the processes that share a cache: the kernel releases each when its holder ends, however it ends.

There are two kinds, and neither leaves anything to clean up:

- A byte range of one empty file for each block that is being downloaded ("open file description" locks, Linux 3.15).
  A lock file for each block would have to be created, and could not be deleted without a race.
- `flock` on a whole file, for the ledger and the pins.

A claim spares a second download and decides nothing else: a file system that knows no such locks, or a holder that
was stopped, costs traffic, never a wrong block.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
from collections.abc import Iterator, Sequence
from typing import Self

import xxhash

from maskmill.pipeline.loader.cache.own_files import open_own_file

_FLOCK = struct.Struct("hhqqi0q")  # Linux's `struct flock`: type, whence, start, length, pid
_MAX_BLOCKS = 1 << 24
_POLL_SECONDS = 0.002


def number_shard(dataset: str, shard: int) -> int:
    """The number that means a whole shard in claims and pins; the numbers of its blocks follow it.

    38 bits are of a hash: where two shards share them, one waits for the other or keeps it, and that is all.

    Args:
        dataset: Fingerprint of the dataset.
        shard: Number of the shard in it; -1 is the table of shards.
    """
    return (int(xxhash.xxh3_64_intdigest(f"{dataset}/{shard}".encode())) >> 26) * _MAX_BLOCKS + 1


def number_block(dataset: str, shard: int, block: int) -> int:
    """The number of a block: what is locked while it is downloaded."""
    return number_shard(dataset, shard) + 1 + block


class Claim:
    """Blocks that this caller downloads; others leave them to it until it is released."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Release it explicitly, not only by closing: a process forked meanwhile holds the same open file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                _set_lock(descriptor, fcntl.F_UNLCK, 0, 0)
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def claim_numbers(path: str, numbers: Sequence[int]) -> Claim | None:
    """Claim either all of some numbers at once or none.

    Args:
        path: The file whose bytes are the numbers; created if it is missing.
        numbers: Ascending.

    Returns:
        The claim, or `None` if another process holds one of the numbers.
    """
    try:
        descriptor = open_own_file(path, os.O_RDWR | os.O_CREAT)
    except OSError:
        return Claim(None)
    try:
        first = 0
        for index, number in enumerate(numbers):
            if index + 1 == len(numbers) or numbers[index + 1] != number + 1:
                _set_lock(descriptor, fcntl.F_WRLCK, numbers[first], index + 1 - first)
                first = index + 1
    except OSError as error:
        Claim(descriptor).release()
        # Any other failure: a file system without such locks. Then every process downloads for itself.
        return None if isinstance(error, (BlockingIOError, PermissionError)) else Claim(None)
    return Claim(descriptor)


@contextlib.contextmanager
def lock_file(path: str, wait_seconds: float) -> Iterator[int | None]:
    """Hold a file's lock; yields its descriptor, or `None` if the lock was not free in time.

    Raises:
        OSError: The file cannot be opened or locked at all.
    """
    descriptor = open_own_file(path, os.O_RDWR | os.O_CREAT)
    try:
        deadline = time.monotonic() + wait_seconds
        while not try_lock(descriptor):
            if time.monotonic() > deadline:
                yield None
                return
            time.sleep(_POLL_SECONDS)
        try:
            yield descriptor
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file if it is free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _set_lock(descriptor: int, kind: int, first: int, count: int) -> None:
    request = _FLOCK.pack(kind, os.SEEK_SET, first, count, 0)
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, request)
