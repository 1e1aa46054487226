"""Blocks of a remote dataset: several requests under way, ahead of the reader, in the order in which it will read.

Requests run in daemon threads: one that hangs in a store keeps neither the reader, who waits no longer than he was
told to, nor the end of the process.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from maskmill.pipeline.loader.cache.block_cache import BlockCache
from maskmill.pipeline.loader.cache.block_queue import BlockQueue
from maskmill.pipeline.loader.cache.cache_settings import Cache
from maskmill.pipeline.loader.cache.download_blocks import Downloads
from maskmill.pipeline.loader.cache.plan_fetches import MAX_REQUESTS
from maskmill.pipeline.loader.cache.upcoming_blocks import Run, Stage, Upcoming
from maskmill.pipeline.storage.datasets import ShardTable
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import TransientStorageError

_LOOK_SECONDS = 0.02  # how often one looks for a block that another process downloads
_BREATH_SECONDS = 0.001
_READS_A_WAKE = 32
_PATIENCE = 3  # after a third of its time it downloads that block itself


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
    """Brings blocks of one dataset to one process.

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
        self._queue = BlockQueue(shards, cache, settings)
        self._downloads = Downloads(store, shards, cache)
        self._lock = threading.Lock()
        self._has_work = threading.Condition(self._lock)
        self._is_done = threading.Condition(self._lock)
        self._threads: list[threading.Thread] = []
        self._closed = self._is_drawing = False
        self._unannounced = 0
        self._failure: BaseException | None = None
        cache.ledger.open_board()

    @property
    def fetched_bytes(self) -> int:
        """What was downloaded so far."""
        return self._downloads.num_bytes

    def hold_open(self, num_blocks: int) -> None:
        """Keep the last so many blocks that were read from being evicted, and ask for the first so many alone."""
        with self._lock:
            self._queue.hold_open(num_blocks)

    def announce(self, coming: Iterator[tuple[int, Sequence[int]]]) -> None:
        """Fetch ahead what is coming; drawn from in other threads, one at a time."""
        with self._lock:
            self._failure = None
            self._queue.announce(coming)
            self._start()
            self._has_work.notify()

    def read(self, shard: int, blocks: Sequence[int], *, fresh: bool = False) -> list[Fetched]:
        """Blocks of a shard, as soon as they are here.

        Args:
            shard: The shard.
            blocks: Its blocks.
            fresh: Ask the store, whatever lies on disk.

        Raises:
            TransientStorageError: One did not come in time.
            ShardCorruptError: The shard is gone.
        """
        begun = time.monotonic()
        deadline = begun + self._settings.timeout_seconds
        with self._lock:
            entries = [self._queue.want(shard, block, fresh=fresh) for block in blocks]
            try:
                while True:
                    found = self._collect(entries)
                    if found is not None:
                        return found
                    self._start()
                    self._wait(entries, begun, deadline)
            finally:
                self._queue.is_waited_for = False
                for entry in entries:
                    self._queue.take(entry)
                # Waking a thread for each block takes longer than reading it; with little left ahead it is worth it.
                self._unannounced += len(entries)
                if self._unannounced > min(_READS_A_WAKE, self._queue.num_ahead // 4):
                    self._unannounced = 0
                    self._has_work.notify()
                self.waited_seconds += time.monotonic() - begun

    def close(self) -> None:
        """End it; requests under way end on their own. In a forked process it is another's."""
        if self.pid != os.getpid():
            return
        with self._lock:
            self._closed = True
            self._has_work.notify_all()
        self._cache.ledger.close()

    def _collect(self, entries: list[Upcoming]) -> list[Fetched] | None:
        """All blocks if they are here; those that were evicted meanwhile are asked for again."""
        found = []
        for entry in entries:
            if entry.stage is Stage.FAILED and entry.error is not None:
                raise entry.error
            if entry.stage is Stage.HELD and entry.data is not None:
                found.append(Fetched(pa.py_buffer(entry.data), from_disk=False))
            elif entry.stage is Stage.CACHED:
                data = self._cache.read(entry.shard, entry.block)
                if data is None:  # evicted meanwhile, or damaged
                    self._queue.ask_again(entry)
                else:
                    found.append(Fetched(pa.py_buffer(data), from_disk=True))
        if len(found) == len(entries):
            return found
        if self._failure is not None:
            raise self._failure
        return None

    def _wait(self, entries: list[Upcoming], begun: float, deadline: float) -> None:
        now = time.monotonic()
        pending = [entry for entry in entries if entry.stage in (Stage.QUEUED, Stage.LOADING, Stage.LATER)]
        if now >= deadline and pending:
            raise self._explain_timeout(pending[0])
        for entry in pending:
            entry.alone = entry.alone or now > begun + self._settings.timeout_seconds / _PATIENCE
            if entry.stage is Stage.LATER and now >= entry.check_at:
                self._queue.look_again(entry)
        self._queue.is_waited_for = any(entry.place >= self._queue.open_blocks for entry in pending)
        self._has_work.notify()
        if all(entry.stage is not Stage.CACHED for entry in pending):
            looks = any(entry.stage is Stage.LATER for entry in pending)
            self._is_done.wait(min(deadline - now, _LOOK_SECONDS) if looks else deadline - now)

    def _explain_timeout(self, entry: Upcoming) -> TransientStorageError:
        return TransientStorageError(
            "a block did not come in time",
            path=self._store.locate(self._shards.path(entry.shard)),
            place=f"block {entry.block}",
            expected=f"within {self._settings.timeout_seconds:g} s",
            found=str(entry.error) if entry.error is not None else "no answer",
            action="look at the store and the way to it, or raise the cache's timeout_seconds",
        )

    def _start(self) -> None:
        while len(self._threads) < MAX_REQUESTS and not self._closed:
            thread = threading.Thread(target=self._work, name=f"maskmill-fetch-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while True:
            with self._lock:
                while (run := self._next_run()) is None:
                    if self._closed:
                        return
                    self._rest()
                self._has_work.notify()  # there may be more of it for another thread
            outcomes = self._downloads.bring(run, self._queue.is_announced)
            with self._lock:
                self._queue.finish(run, outcomes)
                self._is_done.notify_all()

    def _rest(self) -> None:
        """Let the lock go until there is work: one thread at a time looks through what is coming."""
        if self._queue.has_more and not self._is_drawing:
            self._is_drawing = True
            self._has_work.wait(_BREATH_SECONDS)
            self._is_drawing = False
        else:
            self._has_work.wait(_LOOK_SECONDS if self._queue.waits else None)

    def _next_run(self) -> Run | None:
        if self._closed or self._failure is not None:
            return None
        try:
            return self._queue.next_run()
        except BaseException as error:  # noqa: BLE001  # whatever the announced iterator raises is the reader's
            self._failure = error
            self._is_done.notify_all()
            return None
