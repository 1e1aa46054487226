"""Blocks of remote datasets on a local disk, shared by every process of a node and bounded over all of them.

Neighbouring blocks that came by one request are one file, renamed into place when it is whole. (A file for each block
would be simpler, but ext4 takes 0.35 ms to create one, half as long as the block takes to download.)

Nothing here fails a read: where the disk is full, read-only or missing, blocks are not cached and a warning says so.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Iterable

import numpy as np
import xxhash

from maskmill.pipeline.loader.cache.block_writer import BlockWriter
from maskmill.pipeline.loader.cache.cache_ledger import CLAIMS, CacheLedger
from maskmill.pipeline.loader.cache.cache_locks import Claim, claim_numbers, number_block, number_shard
from maskmill.pipeline.loader.cache.evict_blocks import (
    TABLE_SHARD,
    delete_cached,
    list_runs,
    name_blocks,
    sort_runs,
)
from maskmill.pipeline.loader.cache.own_files import AS_FILE, is_own_file
from maskmill.pipeline.storage.shard_table import SHARD_TABLE, ShardTable

_LIST_SECONDS = 1.0
_TABLE_PART = 4  # a table of shards is pinned up to this part of the cache
_USED_SECONDS = 1.0  # resolution of a file's modification time, which records when it was last read


class BlockCache:
    """One process's view of a cache folder, for one dataset. Safe to call from several threads.

    Args:
        folder: Absolute path; created when first written to.
        max_bytes: The most it may hold.
        dataset: The dataset's fingerprint, under which its blocks are filed: one that replaces it shares nothing.
        shards: Its blocks; `None` before they are known.

    Attributes:
        dataset_folder: Where what belongs to the dataset is kept.
    """

    def __init__(self, folder: str, max_bytes: int, dataset: str, shards: ShardTable | None = None) -> None:
        self.ledger = CacheLedger(folder, max_bytes)
        self.folder = folder
        self.dataset_folder = os.path.join(folder, dataset)
        self._dataset = dataset
        self._user = os.geteuid()  # a system call that need not be made for every block
        self._shards = shards
        self._runs: dict[int, list[tuple[int, int]]] = {}
        self._listed_at: dict[int, float] = {}

    def locate(self, shard: int, first: int, count: int = 1) -> str:
        """Where neighbouring blocks are kept."""
        if shard == TABLE_SHARD:
            return os.path.join(self.dataset_folder, SHARD_TABLE)
        return f"{self.dataset_folder}/{shard:07d}/{name_blocks(first, count)}"

    def find(self, shard: int, block: int, *, look: bool = False) -> tuple[int, int] | None:
        """(first, how many) of the blocks in the file that holds one; `None` if there is no whole file.

        What other processes downloaded within the last second may be missed, unless it is told to `look`.
        """
        found = self._find_among(self._runs.get(shard, []), shard, block)
        return found or self._find_among(self._list_runs(shard, look=look), shard, block)

    def read(self, shard: int, block: int) -> bytes | None:
        """A block's bytes, still to be checked; `None` if it is not here.

        Read, not mapped: a map of an evicted file would keep its bytes on the disk, uncounted, and a file that is
        truncated would kill the process.
        """
        data = self._read_among(self._runs.get(shard, []), shard, block)
        return self._read_among(self._list_runs(shard, look=True), shard, block) if data is None else data

    def discard(self, shard: int, block: int) -> None:
        """Delete what holds a block whose bytes are bad, unless it holds others and all of those are good.

        Such a file stays for the others: the block itself is read from the smaller file that is written next. Another
        process may have written that one already; it stays, too.
        """
        run = (block, 1) if shard == TABLE_SHARD else self.find(shard, block, look=True)
        if run is not None and not self._is_good(shard, *run, block) and not self._has_good_rest(shard, *run, block):
            delete_cached(self.locate(shard, *run))

    def claim(self, shard: int, blocks: Iterable[int]) -> Claim | None:
        """Become the only process that downloads these blocks; `None` if another downloads one of them."""
        return claim_numbers(
            os.path.join(self.folder, CLAIMS), [number_block(self._dataset, shard, block) for block in blocks]
        )

    def begin(self, shard: int, first: int, most: int) -> BlockWriter:
        """Begin to write at most so many neighbouring blocks, for which bytes were reserved; the caller closes it."""
        return BlockWriter(self.ledger, functools.partial(self.locate, shard, first), first, most)

    def finish(self, writer: BlockWriter, shard: int) -> bool:
        """Make what was written visible; False where the disk failed."""
        is_whole = writer.finish()
        if is_whole and shard in self._runs:
            self._runs[shard] = sort_runs([*self._runs[shard], (writer.first, writer.stop - writer.first)])
        return is_whole

    def pin(self, shard: int, block: int | None) -> None:
        """Keep a block, or all of a shard (`None`), from being evicted: this process will soon read it."""
        self.ledger.pin(self._number(shard, block))

    def pin_table(self) -> None:
        """Keep the table of shards from being evicted, unless it takes more of the cache than blocks can do without."""
        with contextlib.suppress(OSError):
            if os.lstat(self.locate(TABLE_SHARD, 0)).st_size <= self.ledger.max_bytes // _TABLE_PART:
                self.pin(TABLE_SHARD, 0)

    def unpin(self, shard: int, block: int | None) -> None:
        """Take back one `pin`."""
        self.ledger.unpin(self._number(shard, block))

    def _has_good_rest(self, shard: int, first: int, count: int, bad: int) -> bool:
        rest = (block for block in range(first, first + count) if block != bad)
        return count > 1 and all(self._is_good(shard, first, count, block) for block in rest)

    def _is_good(self, shard: int, first: int, count: int, block: int) -> bool:
        if self._shards is None or shard == TABLE_SHARD:
            return False
        data = self._read_part(shard, first, count, block)
        checksum = int(self._shards.block_checksums[int(self._shards.first_block[shard]) + block])
        return data is not None and xxhash.xxh3_64_intdigest(data) == checksum

    def _read_among(self, runs: list[tuple[int, int]], shard: int, block: int) -> bytes | None:
        for first, count in runs:
            if first <= block < first + count:
                data = self._read_part(shard, first, count, block)
                if data is not None:
                    return data
        return None

    def _read_part(self, shard: int, first: int, count: int, block: int) -> bytes | None:
        try:
            descriptor = os.open(self.locate(shard, first, count), os.O_RDONLY | AS_FILE)
        except OSError:
            return None
        try:
            status = os.fstat(descriptor)
            if not is_own_file(status, self._user) or status.st_size != self._measure(shard, first, count):
                return None
            if abs(time.time() - status.st_mtime) > _USED_SECONDS:
                with contextlib.suppress(OSError):  # a read-only disk
                    os.utime(descriptor)
            length = self._measure(shard, block, 1)
            data = os.pread(descriptor, length, self._measure(shard, first, block - first))
            return data if len(data) == length else None
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def _find_among(self, runs: list[tuple[int, int]], shard: int, block: int) -> tuple[int, int] | None:
        for first, count in runs:
            if first <= block < first + count and self._is_whole(shard, first, count):
                return first, count
        return None

    def _list_runs(self, shard: int, *, look: bool) -> list[tuple[int, int]]:
        now = time.monotonic()
        if look or now > self._listed_at.get(shard, 0.0) + _LIST_SECONDS:
            self._runs[shard] = list_runs(os.path.join(self.dataset_folder, f"{shard:07d}"))
            self._listed_at[shard] = now
        return self._runs[shard]

    def _is_whole(self, shard: int, first: int, count: int) -> bool:
        try:
            status = os.lstat(self.locate(shard, first, count))
        except OSError:
            return False
        return is_own_file(status, self._user) and status.st_size == self._measure(shard, first, count)

    def _measure(self, shard: int, first: int, count: int) -> int:
        """The size of neighbouring blocks, in bytes."""
        if self._shards is None:
            raise ValueError("a cache that knows no shards holds no blocks")
        start = int(self._shards.first_block[shard]) + first
        if count == 1:
            return int(self._shards.block_lengths[start])
        return int(self._shards.block_lengths[start : start + count].sum(dtype=np.int64))

    def _number(self, shard: int, block: int | None) -> int:
        return number_shard(self._dataset, shard) if block is None else number_block(self._dataset, shard, block)
