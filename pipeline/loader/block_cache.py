"""Blocks of remote datasets on a local disk, shared by every process of a node and bounded over all of them.

Neighbouring blocks that came together lie in one file, renamed into place when it is whole. (A file a block would be
simpler, but ext4 takes 0.35 ms to create one, half as long as the block takes to come.) It is not flushed to the
device: a reader compares length and checksum anyway, so what a power cut leaves is fetched again. `ledger` counts the
bytes in the folder, from above: a process adds what it will write before it writes. At the bound, one process, holding
the ledger's lock, lists the folder, deletes the least recently used files that are on nobody's board, and puts the
true number in the ledger; a process killed between counting and writing therefore costs nothing but an early look.

Nothing here fails a read: where the disk is full, read-only or not there, blocks go uncached and a warning says so.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

from pipeline.loader.cache_locks import Claim, claim_numbers, lock_file, number_block, number_shard
from pipeline.loader.evict_blocks import (
    TABLE_SHARD,
    choose_victims,
    delete_cached,
    list_cached,
    list_runs,
    name_blocks,
    sweep_partials,
)
from pipeline.loader.needs_board import NeedsBoard, read_needs
from pipeline.storage.datasets import SHARD_TABLE, ShardTable
from pipeline.storage.local_files import partial_name

Result = TypeVar("Result")

_WARNED_OF: set[str] = set()

LEDGER = "ledger"
CLAIMS = "claims"
BOARDS = "boards"
_WORD_BYTES = 8
_LOCK_WAIT_SECONDS = 5.0
_LOW_WATER = 0.9  # an eviction makes this much room, so that the next one is far
_REST_SECONDS = 1.0  # after an eviction that found no room
_DISK_REST_SECONDS = 60.0  # after a disk that would not take a block
_COUNT_SECONDS = 5.0
_LIST_SECONDS = 1.0


class BlockCache:
    """One process's view of a cache folder, for one dataset. Safe to call from several threads.

    Args:
        folder: Absolute path; created when first written to.
        max_bytes: The most it may hold.
        dataset: The dataset's fingerprint, under which its blocks are filed: one that replaces it shares nothing.
        shards: Its blocks; `None` before they are known.
    """

    def __init__(self, folder: str, max_bytes: int, dataset: str, shards: ShardTable | None = None) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._dataset = dataset
        self._shards = shards
        self._runs: dict[int, list[tuple[int, int]]] = {}
        self._listed_at: dict[int, float] = {}
        self._board: NeedsBoard | None = None
        self._board_lock = threading.Lock()
        self._closed = False
        self._no_room_until = self._no_disk_until = self._counted_at = 0.0
        self._num_readers = 1

    @property
    def dataset_folder(self) -> str:
        """Where what belongs to the dataset is kept."""
        return os.path.join(self.folder, self._dataset)

    def locate(self, shard: int, first: int, count: int = 1) -> str:
        """Where neighbouring blocks are kept."""
        if shard == TABLE_SHARD:
            return os.path.join(self.dataset_folder, SHARD_TABLE)
        return os.path.join(self.dataset_folder, f"{shard:07d}", name_blocks(first, count))

    def find(self, shard: int, block: int, *, look: bool = False) -> tuple[int, int] | None:
        """(first, how many) of the blocks that are kept together with one; `None` if it is not here, or not whole.

        What other processes brought within the last moment may be missed, unless it is asked to `look`.
        """
        for runs in (self._runs.get(shard, []), self._list_runs(shard, look=look)):
            for first, count in runs:
                if first <= block < first + count and self._is_whole(shard, first, count):
                    return first, count
        return None

    def read(self, shard: int, block: int) -> bytes | None:
        """A block's bytes, still to be checked; `None` if it is not here.

        Read, not mapped: a map of an evicted file would keep its bytes on the disk, uncounted, and a file that somebody
        cuts short would kill the process.
        """
        run = self.find(shard, block, look=True)
        if run is None:
            return None
        start = self._measure(shard, run[0], block - run[0])
        length = self._measure(shard, block, 1)
        try:
            descriptor = os.open(self.locate(shard, *run), os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = os.pread(descriptor, length, start)
                os.utime(descriptor)  # used now
            finally:
                os.close(descriptor)
        except OSError:
            return None
        return data if len(data) == length else None

    def discard(self, shard: int, block: int) -> None:
        """Delete what holds a block whose bytes are bad."""
        run = (block, 1) if shard == TABLE_SHARD else self.find(shard, block, look=True)
        if run is not None:
            delete_cached(self.locate(shard, *run))

    def claim(self, shard: int, blocks: Iterable[int]) -> Claim | None:
        """Become the one process that downloads these blocks; `None` if another downloads one of them."""
        return claim_numbers(self._path(CLAIMS), [number_block(self._dataset, shard, block) for block in blocks])

    def reserve(self, num_bytes: int) -> bool:
        """Make room for bytes that will be written, evicting where needed; `settle` them afterwards.

        Returns:
            Whether there is room now: not where everything is soon needed by some process, nor on a disk that failed.
        """
        now = time.monotonic()
        if self._closed or now < max(self._no_room_until, self._no_disk_until):
            return False
        try:
            with self._hold_ledger() as ledger:
                if ledger is None:
                    return False
                used = _read_count(ledger)
                if used is None or used + num_bytes > self.max_bytes:
                    used = self._evict(num_bytes)
                fits = used + num_bytes <= self.max_bytes
                if fits:
                    self._count_reserved(num_bytes)
                _write_count(ledger, used + num_bytes if fits else used)
        except OSError as error:
            self._rest(error)
            return False
        if not fits:
            self._no_room_until = now + _REST_SECONDS
        return fits

    def settle(self, num_bytes: int, written_bytes: int) -> None:
        """End a reservation: so much of it was written."""
        self._count_reserved(-num_bytes)
        if written_bytes < num_bytes:
            with contextlib.suppress(OSError), self._hold_ledger() as ledger:
                used = None if ledger is None else _read_count(ledger)
                if ledger is not None and used is not None:
                    _write_count(ledger, max(0, used - num_bytes + written_bytes))

    def write(self, shard: int, first: int, count: int, parts: Iterable[bytes | memoryview]) -> bool:
        """Write neighbouring blocks for which room was reserved, visible when whole.

        Returns:
            False, after a warning, where the disk does not take them.

        Raises:
            Exception: What drawing from `parts` raises; nothing is then written.
        """
        path = self.locate(shard, first, count)
        partial = partial_name(path)
        descriptor = -1
        try:
            descriptor = self._on_disk(lambda: _create(partial), -1)
            if descriptor < 0 or not all(
                self._on_disk(functools.partial(_write_all, descriptor, part), False) for part in parts
            ):
                return False
            stands = self._on_disk(lambda: _rename(partial, path), False)
            if stands and shard in self._runs:
                self._runs[shard] = [*self._runs[shard], (first, count)]
            return stands
        finally:
            if descriptor >= 0:
                os.close(descriptor)
                with contextlib.suppress(OSError):
                    os.unlink(partial)

    def put(self, shard: int, block: int | None) -> None:
        """Say that this process will soon read a block, or a whole shard (`None`)."""
        with self._board_lock:
            if self._board is not None:
                self._board.put(self._number(shard, block))

    def remove(self, shard: int, block: int | None) -> None:
        """Take back one `put`."""
        with self._board_lock:
            if self._board is not None:
                self._board.remove(self._number(shard, block))

    def open_board(self) -> None:
        """Begin to say what is needed, and clean up after dead processes. Without a board nothing is written here."""
        try:
            with self._hold_ledger() as ledger:
                if ledger is not None:
                    self._sweep(ledger)
                    self._board = NeedsBoard(self._path(BOARDS))
        except OSError as error:
            self._rest(error)

    def count_readers(self) -> int:
        """How many processes share the folder, counted every few seconds."""
        now = time.monotonic()
        if now > self._counted_at + _COUNT_SECONDS:
            self._counted_at = now
            with contextlib.suppress(OSError), self._hold_ledger(wait_seconds=0.0) as ledger:
                if ledger is not None:
                    self._num_readers = max(1, self._sweep(ledger))
        return self._num_readers

    def close(self) -> None:
        """Take the board down; what is in the folder stays."""
        self._closed = True
        with self._board_lock:
            board, self._board = self._board, None
            if board is not None:
                board.close()

    @property
    def takes_blocks(self) -> bool:
        """Whether the disk took the last block it was given, or it is time to try again."""
        return self._board is not None and not self._closed and time.monotonic() >= self._no_disk_until

    def _sweep(self, ledger: int) -> int:
        """Clean up after dead processes, if there are any; returns the number of live ones."""
        needs = read_needs(self._path(BOARDS))
        if needs.num_dead:
            _write_count(ledger, self._evict(0))
        return needs.num_boards

    def _evict(self, num_bytes: int) -> int:
        """Make room under the ledger's lock; returns the bytes then in use, reserved ones included."""
        # Boards first: what is written between the two looks is then counted twice, never not at all.
        needs = read_needs(self._path(BOARDS))
        files = sweep_partials(list_cached(self.folder), self._is_claimed)
        used = needs.reserved_bytes + sum(file.size_bytes for file in files)
        if used + num_bytes > self.max_bytes:
            excess = used - min(int(self.max_bytes * _LOW_WATER), self.max_bytes - num_bytes)
            for file in choose_victims((file for file in files if not file.partial), needs.numbers, excess):
                delete_cached(file.path)
                used -= file.size_bytes
        return used

    def _is_claimed(self, number: int) -> bool:
        claim = claim_numbers(self._path(CLAIMS), [number])
        if claim is not None:
            claim.release()
        return claim is None

    def _list_runs(self, shard: int, *, look: bool) -> list[tuple[int, int]]:
        now = time.monotonic()
        if look or now > self._listed_at.get(shard, 0.0) + _LIST_SECONDS:
            self._listed_at[shard] = now
            self._runs[shard] = list_runs(os.path.join(self.dataset_folder, f"{shard:07d}"))
        return self._runs[shard]

    def _is_whole(self, shard: int, first: int, count: int) -> bool:
        try:
            return os.stat(self.locate(shard, first, count)).st_size == self._measure(shard, first, count)
        except OSError:
            return False

    def _measure(self, shard: int, first: int, count: int) -> int:
        """Bytes of neighbouring blocks."""
        if self._shards is None:
            raise ValueError("a cache that knows no shards holds no blocks")
        start = int(self._shards.first_block[shard]) + first
        return int(self._shards.block_lengths[start : start + count].sum(dtype=np.int64))

    def _count_reserved(self, num_bytes: int) -> None:
        with self._board_lock:
            if self._board is not None:
                self._board.add_reserved(num_bytes)

    def _number(self, shard: int, block: int | None) -> int:
        return number_shard(self._dataset, shard) if block is None else number_block(self._dataset, shard, block)

    def _hold_ledger(self, wait_seconds: float = _LOCK_WAIT_SECONDS) -> contextlib.AbstractContextManager[int | None]:
        os.makedirs(self.folder, exist_ok=True)
        return lock_file(self._path(LEDGER), wait_seconds)

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _on_disk(self, call: Callable[[], Result], failed: Result) -> Result:
        try:
            return call()
        except OSError as error:
            self._rest(error)
            return failed

    def _rest(self, error: OSError) -> None:
        self._no_disk_until = time.monotonic() + _DISK_REST_SECONDS
        if self.folder not in _WARNED_OF:
            _WARNED_OF.add(self.folder)
            warnings.warn(
                f"{self.folder}: the cache takes no blocks ({error.strerror}): they are read without it; "
                "free space there or give another cache folder",
                RuntimeWarning,
                stacklevel=2,
            )


def _create(path: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        # Its folder was not made yet, or an eviction that emptied it has just taken it away.
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, flags, 0o666)


def _write_all(descriptor: int, data: bytes | memoryview) -> bool:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    return True


def _rename(partial: str, path: str) -> bool:
    os.replace(partial, path)
    return True


def _read_count(ledger: int) -> int | None:
    data = os.pread(ledger, _WORD_BYTES, 0)
    return int.from_bytes(data, "little") if len(data) == _WORD_BYTES else None


def _write_count(ledger: int, used: int) -> None:
    os.pwrite(ledger, used.to_bytes(_WORD_BYTES, "little"), 0)
