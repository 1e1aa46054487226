"""Fetches blocks of a remote dataset ahead of the reader, in the order in which it will read them.

Several daemon threads each ask the planner for the next request, download it, and tell the planner what came of it; the
reader waits until the planner has its blocks. A request that hangs in a store holds up neither the reader, which waits
no longer than `timeout_seconds`, nor the end of the process.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from maskmill.pipeline.loader.cache.block_cache import BlockCache
from maskmill.pipeline.loader.cache.block_states import Request, Stage, WantedBlock
from maskmill.pipeline.loader.cache.cache_settings import Cache
from maskmill.pipeline.loader.cache.download_blocks import Downloads
from maskmill.pipeline.loader.cache.extents import MAX_REQUESTS
from maskmill.pipeline.loader.cache.fetch_planner import FetchPlanner
from maskmill.pipeline.storage.shard_table import ShardTable
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import TransientStorageError

_LOOK_SECONDS = 0.02  # interval of looking for a block that another process downloads
_YIELD_SECONDS = 0.001
_READS_A_WAKE = 32
_PATIENCE = 3  # after a third of the timeout a reader downloads that block itself


@dataclass(frozen=True)
class Fetched:
    """A block's bytes, unchecked where they come from the disk.

    Attributes:
        data: The bytes.
        from_disk: Whether the store was not asked for them just now.
    """

    data: pa.Buffer
    from_disk: bool


class BlockFetcher:
    """Fetches blocks of one dataset for one process.

    Args:
        store: The dataset's.
        shards: Its blocks.
        cache: Where they are kept.
        settings: How they are fetched.

    Attributes:
        waited_seconds: How long readers waited so far.
    """

    def __init__(self, store: Store, shards: ShardTable, cache: BlockCache, settings: Cache) -> None:
        self.pid = os.getpid()
        self.waited_seconds = 0.0
        self._store = store
        self._shards = shards
        self._cache = cache
        self._settings = settings
        self._planner = FetchPlanner(shards, cache, settings)
        self._downloads = Downloads(store, shards, cache)
        self._lock = threading.Lock()
        self._has_work = threading.Condition(self._lock)
        self._is_done = threading.Condition(self._lock)
        self._threads: list[threading.Thread] = []
        self._closed = self._is_drawing = False
        self._num_unnoticed = 0
        self._failure: BaseException | None = None
        cache.ledger.open_pins()
        cache.pin_table()  # the next process that opens the dataset need not download it

    @property
    def fetched_bytes(self) -> int:
        """Bytes downloaded so far."""
        return self._downloads.num_bytes

    def hold_open(self, num_blocks: int) -> None:
        """Keep the last `num_blocks` that were read from being evicted, and ask for the first ones one by one."""
        with self._lock:
            ahead = self._planner.read_ahead
            ahead.open_blocks = max(ahead.open_blocks, num_blocks)

    def announce(self, upcoming: Iterator[tuple[int, Sequence[int]]]) -> None:
        """Fetch ahead what will be read; other threads draw from it, one at a time."""
        with self._lock:
            self._failure = None
            self._planner.announce(upcoming)
            self._start()
            self._has_work.notify()

    def read(self, shard: int, blocks: Sequence[int], *, bypass_disk: bool = False) -> list[Fetched]:
        """Wait for blocks of a shard.

        Args:
            shard: The shard.
            blocks: Its blocks.
            bypass_disk: Ask the store, whatever is on disk.

        Raises:
            TransientStorageError: One did not come in time.
            ShardCorruptError: The shard is gone.
        """
        begun = time.monotonic()
        deadline = begun + self._settings.timeout_seconds
        with self._lock:
            entries = [self._planner.want(shard, block, bypass_disk=bypass_disk) for block in blocks]
            found: dict[int, Fetched] = {}
            try:
                while True:
                    self._collect(entries, found)
                    if len(found) == len(entries):
                        return [found[place] for place in range(len(entries))]
                    if self._failure is not None:
                        raise self._failure
                    self._start()
                    self._wait(entries, begun, deadline)
            finally:
                self._planner.is_behind = False
                for entry in entries:
                    self._planner.take(entry)
                # Waking a thread for each block takes longer than reading it; it pays only if few blocks are ahead.
                self._num_unnoticed += len(entries)
                if self._num_unnoticed > min(_READS_A_WAKE, self._planner.read_ahead.num_ahead // 4):
                    self._num_unnoticed = 0
                    self._has_work.notify()
                self.waited_seconds += time.monotonic() - begun

    def close(self) -> None:
        """End it; running requests end on their own. A forked process leaves it to its parent."""
        if self.pid != os.getpid():
            return
        with self._lock:
            self._closed = True
            self._has_work.notify_all()
        self._cache.ledger.close()

    def _collect(self, entries: list[WantedBlock], found: dict[int, Fetched]) -> None:
        """Add the blocks that have arrived, by their index; request again those that were evicted meanwhile."""
        for place, entry in enumerate(entries):
            if place in found:
                continue
            if entry.stage is Stage.FAILED and entry.error is not None:
                raise entry.error
            if entry.stage is Stage.IN_MEMORY and entry.data is not None:
                found[place] = Fetched(pa.py_buffer(entry.data), from_disk=False)
            elif entry.stage is Stage.CACHED:
                data = self._cache.read(entry.shard, entry.block)
                if data is None:  # evicted meanwhile, or damaged
                    self._planner.fetch_again(entry)
                else:
                    found[place] = Fetched(pa.py_buffer(data), from_disk=True)

    def _wait(self, entries: list[WantedBlock], begun: float, deadline: float) -> None:
        now = time.monotonic()
        pending = [entry for entry in entries if entry.stage in (Stage.QUEUED, Stage.LOADING, Stage.POSTPONED)]
        if now >= deadline and pending:
            raise self._explain_timeout(pending[0])
        for entry in pending:
            entry.ignores_claims = entry.ignores_claims or now > begun + self._settings.timeout_seconds / _PATIENCE
            if entry.stage is Stage.POSTPONED and now >= entry.retry_at:
                self._planner.retry(entry)
        self._planner.is_behind = any(entry.blocks_before >= self._planner.read_ahead.open_blocks for entry in pending)
        self._has_work.notify()
        if all(entry.stage is not Stage.CACHED for entry in pending):
            looks = any(entry.stage is Stage.POSTPONED for entry in pending)
            self._is_done.wait(min(deadline - now, _LOOK_SECONDS) if looks else deadline - now)

    def _explain_timeout(self, entry: WantedBlock) -> TransientStorageError:
        return TransientStorageError(
            "a block was not downloaded in time",
            path=self._store.locate(self._shards.path(entry.shard)),
            place=f"block {entry.block}",
            expected=f"within {self._settings.timeout_seconds:g} s",
            found=str(entry.error) if entry.error is not None else "no answer",
            action="check the store and the network, or raise the cache's timeout_seconds",
        )

    def _start(self) -> None:
        while len(self._threads) < MAX_REQUESTS and not self._closed:
            thread = threading.Thread(target=self._work, name=f"maskmill-fetch-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while True:
            with self._lock:
                while (request := self._next_request()) is None:
                    if self._closed:
                        return
                    self._rest()
                self._has_work.notify()  # there may be more work for another thread
            outcomes = self._downloads.download(request, self._planner.is_announced)
            with self._lock:
                self._planner.finish(request, outcomes)
                self._is_done.notify_all()

    def _rest(self) -> None:
        """Release the lock until there is work; one thread at a time draws from the announced blocks."""
        if self._planner.has_more and not self._is_drawing:
            self._is_drawing = True
            self._has_work.wait(_YIELD_SECONDS)
            self._is_drawing = False
        else:
            self._has_work.wait(_LOOK_SECONDS if self._planner.has_postponed else None)

    def _next_request(self) -> Request | None:
        if self._closed or self._failure is not None:
            return None
        try:
            return self._planner.next_request()
        except BaseException as error:  # noqa: BLE001  # whatever the announced iterator raises is the reader's
            self._failure = error
            self._is_done.notify_all()
            return None
