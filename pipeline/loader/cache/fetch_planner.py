"""Plans the fetching: which blocks will be read, how far each of them has come, and what is requested next.

The reader announces blocks in the order in which it will read them, as an iterator; the planner draws from it while
`ReadAhead` allows. `next_request` then returns what to ask for: a block that the reader waits for, else the first
queued one, together with its neighbours in the same extent. `finish` notes what came of a request, and `take` that a
block was read. What always holds:

- A block is in at most one running request.
- Requests and blocks in memory together have at most `MAX_BYTES_IN_MEMORY`, or there is a single one. What the reader
  waits for is requested all the same.
- What is announced is pinned in the cache until it is read, and so are the last blocks that were read.

It does no I/O beside looking which files the cache has and, every few seconds, how many processes share it, which
cleans up after dead ones. The caller holds a lock around every method but `is_announced`, which looks at one entry.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence

from maskmill.pipeline.loader.cache.block_cache import BlockCache
from maskmill.pipeline.loader.cache.block_states import Request, Stage, WantedBlock
from maskmill.pipeline.loader.cache.cache_settings import Cache
from maskmill.pipeline.loader.cache.extents import (
    EXTENT_BYTES,
    FIRST_EXTENT_BYTES,
    MAX_PASSED,
    choose_blocks,
    find_extent,
    limit_requests,
)
from maskmill.pipeline.loader.cache.read_ahead import ReadAhead
from maskmill.pipeline.storage.shard_table import ShardTable

MAX_BYTES_IN_MEMORY = 96 << 20  # for requests, and for blocks that do not fit on the disk
DRAWN_AT_ONCE = 8  # an item takes some 50 us, and the reader should not wait for many
RETRY_SECONDS = 0.05

Outcome = tuple[Stage, bytes | memoryview | Exception | None]
"""What became of a block: its new stage, and its bytes or why it failed."""


class FetchPlanner:
    """See above.

    Args:
        shards: The dataset's blocks.
        cache: Where blocks are kept.
        settings: How to fetch.

    Attributes:
        read_ahead: What was announced and not yet read.
        bytes_in_memory: Of running requests and of blocks in memory, though most blocks go to the disk as they come.
        has_more: Whether `next_request` stopped only to let others have the lock.
        is_behind: Whether the reader waits for more than the first blocks announced.
    """

    def __init__(self, shards: ShardTable, cache: BlockCache, settings: Cache) -> None:
        block_bytes, shard_bytes = (int(sizes.max(initial=1)) for sizes in (shards.block_lengths, shards.size_bytes))
        self.read_ahead = ReadAhead(cache, settings.fetch, block_bytes, shard_bytes)
        self.bytes_in_memory = 0
        self.has_more = self.is_behind = False
        self._shards = shards
        self._cache = cache
        self._block_bytes = block_bytes
        self._announced: Iterator[tuple[int, Sequence[int]]] | None = None
        self._blocks: dict[tuple[int, int], WantedBlock] = {}
        self._awaited: deque[WantedBlock] = deque()
        self._queued: deque[WantedBlock] = deque()
        self._postponed: deque[WantedBlock] = deque()
        self._recent: deque[tuple[int, int]] = deque()
        self._loading: set[tuple[int, int]] = set()
        self._num_requests = 0

    def announce(self, blocks: Iterator[tuple[int, Sequence[int]]]) -> None:
        """Replace what was announced; blocks in memory stay until their memory is needed."""
        for entry in list(self._blocks.values()):
            if entry.reads and not entry.is_awaited:
                self._unannounce(entry)
                if entry.stage not in (Stage.IN_MEMORY, Stage.LOADING):
                    self._forget(entry)
        self._queued.clear()
        self._postponed.clear()
        self.read_ahead.start_again()
        self._announced = blocks

    def want(self, shard: int, block: int, *, bypass_disk: bool = False) -> WantedBlock:
        """The entry of a block that the reader waits for now."""
        if not self.read_ahead.num_ahead:
            self._draw()  # a reader that has read all that was announced reads the next item
        entry = self._blocks.get((shard, block))
        if entry is None or entry.reads == 0:
            entry = self._add(shard, block)
        if bypass_disk:
            entry.bypasses_disk = True
            if entry.stage not in (Stage.LOADING, Stage.IN_MEMORY):  # these come from the store already
                entry.stage = Stage.QUEUED
        entry.is_awaited = True
        if entry.stage is Stage.QUEUED:
            self._awaited.append(entry)
        return entry

    def take(self, entry: WantedBlock) -> None:
        """Note that a block was read."""
        entry.is_awaited = entry.bypasses_disk = entry.ignores_claims = entry.was_lost = False
        self.read_ahead.read(self._measure(entry.shard, [entry.block]))
        self._recent.append((entry.shard, entry.block))
        self._cache.pin(entry.shard, entry.block)
        while len(self._recent) > self.read_ahead.open_blocks:
            self._cache.unpin(*self._recent.popleft())
        entry.reads -= 1
        if not entry.reads:
            self._unannounce(entry)
            self._forget(entry)

    def next_request(self) -> Request | None:
        """What to ask for now, its memory counted; `None` if there is nothing, or no memory for it."""
        while self._awaited:
            entry = self._awaited.popleft()
            if entry.stage is Stage.QUEUED:
                return self._begin(entry, self._choose(entry))
        self._retry_postponed()
        self.has_more = False
        num_drawn = 0
        while self._queued or self._draw():
            if not self._queued:  # the drawn blocks are already here
                num_drawn += 1
                if num_drawn == DRAWN_AT_ONCE:
                    self.has_more = True
                    return None
                continue
            entry = self._queued[0]
            if entry.stage is not Stage.QUEUED or entry.reads == 0:
                self._queued.popleft()
                continue
            if not self._may_begin(entry):
                return None
            blocks = self._choose(entry)
            if not self._fits_in_memory(self._measure(entry.shard, blocks)):
                return None
            self._queued.popleft()
            return self._begin(entry, blocks)
        return None

    def finish(self, request: Request, outcomes: dict[int, Outcome]) -> None:
        """Note what became of each block of a request."""
        self.bytes_in_memory -= request.num_bytes
        self._num_requests -= 1
        for block in request.blocks:
            self._loading.discard((request.cause.shard, block))
            entry = self._blocks.get((request.cause.shard, block))
            if entry is None or entry.stage is not Stage.LOADING:
                continue
            entry.stage, value = outcomes[block]
            if isinstance(value, Exception):
                entry.error = value
            elif value is not None:
                entry.data = value
                self.bytes_in_memory += len(value)
            if entry.bypasses_disk and entry.stage is Stage.CACHED:  # the reader has refused the disk meanwhile
                entry.stage = Stage.QUEUED
                self._awaited.append(entry)
            elif not entry.reads and entry.stage is not Stage.IN_MEMORY:
                self._forget(entry)
            elif entry.stage is Stage.POSTPONED:
                entry.retry_at = time.monotonic() + RETRY_SECONDS
                self._postponed.append(entry)

    def retry(self, entry: WantedBlock) -> None:
        """Queue a postponed block, unless another process has downloaded it meanwhile."""
        if entry.stage is not Stage.POSTPONED:
            return
        if not entry.bypasses_disk and self._cache.find(entry.shard, entry.block, look=True) is not None:
            entry.stage = Stage.CACHED
            return
        entry.stage = Stage.QUEUED
        if entry.is_awaited:
            self._awaited.append(entry)
        else:
            self._queued.appendleft(entry)  # the reader needs it before later blocks

    def fetch_again(self, entry: WantedBlock) -> None:
        """Queue a block that was here and cannot be read, and those of its shard that are gone with it.

        The second time it bypasses the disk.
        """
        entry.stage = Stage.QUEUED
        entry.bypasses_disk, entry.was_lost = entry.was_lost, True
        for block in reversed(range(self._count_blocks(entry.shard))):
            other = self._blocks.get((entry.shard, block))
            if other is not None and other.stage is Stage.CACHED and self._cache.find(entry.shard, block) is None:
                other.stage = Stage.QUEUED
                (self._awaited if other.is_awaited else self._queued).appendleft(other)
        (self._awaited if entry.is_awaited else self._queued).appendleft(entry)

    def is_announced(self, shard: int, block: int) -> bool:
        """Whether the reader is going to read a block."""
        entry = self._blocks.get((shard, block))
        return entry is not None and entry.reads > 0

    @property
    def has_postponed(self) -> bool:
        """Whether something is to be tried again after a while."""
        return bool(self._postponed)

    def _draw(self) -> bool:
        """Draw the next announced item if it is not too far ahead; False if nothing was drawn."""
        if self._announced is None or self.read_ahead.is_full:
            return False
        item = next(self._announced, None)
        if item is None:
            self._announced = None
            return False
        for block in item[1]:
            self._add(int(item[0]), int(block))
        return True

    def _add(self, shard: int, block: int) -> WantedBlock:
        ahead = self.read_ahead
        entry = self._blocks.get((shard, block))
        if entry is None:
            entry = self._blocks[shard, block] = WantedBlock(shard, block)
            if (shard, block) in self._loading:
                entry.stage = Stage.LOADING
            elif self._cache.find(shard, block) is not None:
                entry.stage = Stage.CACHED
            else:
                self._queued.append(entry)
        if entry.reads == 0:
            entry.blocks_before, entry.bytes_before = ahead.num_announced, ahead.bytes_announced
            self._cache.pin(shard, block)
            ahead.open(shard)
        entry.reads += 1
        ahead.announce(self._measure(shard, [block]))
        return entry

    def _retry_postponed(self) -> None:
        due = []
        while self._postponed and self._postponed[0].retry_at <= time.monotonic():
            due.append(self._postponed.popleft())
        for entry in reversed(due):
            self.retry(entry)

    def _may_begin(self, entry: WantedBlock) -> bool:
        """Whether one more request may run for a block that the reader does not yet wait for."""
        if self.is_behind or self._is_of_first_batch(entry):
            return True
        bytes_before = entry.bytes_before - self.read_ahead.bytes_read
        return self._num_requests < limit_requests(bytes_before, self.read_ahead.max_bytes)

    def _is_of_first_batch(self, entry: WantedBlock) -> bool:
        # The first batch needs a second block if its rows end one and begin the next.
        ahead = self.read_ahead
        return entry.blocks_before < (2 if ahead.num_read < ahead.open_blocks else 1) * ahead.open_blocks

    def _choose(self, entry: WantedBlock) -> list[int]:
        """The blocks to request together with a block."""
        shard = entry.shard
        if entry.bypasses_disk or entry.ignores_claims:
            return [entry.block]
        is_first = self._is_of_first_batch(entry)
        takes_all = not is_first and self.read_ahead.fetches_whole_extents

        def is_wanted(block: int) -> bool:
            other = self._blocks.get((shard, block))
            if other is not None and other.reads > 0 and other.stage is Stage.QUEUED:
                return not is_first or other.is_awaited or other.blocks_before < self.read_ahead.open_blocks
            if not takes_all or other is not None or (shard, block) in self._loading:
                return False
            return self._cache.find(shard, block) is None

        # In a full cache two short requests find space where a longer one finds none.
        max_passed = MAX_PASSED if takes_all and self.read_ahead.has_space else 0
        return choose_blocks(entry.block, self._extent_of(entry), is_wanted, max_passed)

    def _extent_of(self, entry: WantedBlock) -> range:
        is_early = entry.bytes_before < self.read_ahead.max_bytes
        num_bytes = FIRST_EXTENT_BYTES if is_early else EXTENT_BYTES
        return find_extent(entry.block, self._count_blocks(entry.shard), num_bytes // self._block_bytes)

    def _count_blocks(self, shard: int) -> int:
        first = self._shards.first_block
        return int(first[shard + 1] - first[shard])

    def _begin(self, cause: WantedBlock, blocks: list[int]) -> Request:
        for block in blocks:
            self._loading.add((cause.shard, block))
            entry = self._blocks.get((cause.shard, block))
            if entry is not None:
                entry.stage = Stage.LOADING
        request = Request(cause, blocks, self._measure(cause.shard, blocks))
        self.bytes_in_memory += request.num_bytes
        self._num_requests += 1
        return request

    def _measure(self, shard: int, blocks: Sequence[int]) -> int:
        """The size of some blocks, in bytes."""
        first = int(self._shards.first_block[shard])
        return sum(int(self._shards.block_lengths[first + block]) for block in blocks)

    def _fits_in_memory(self, num_bytes: int) -> bool:
        """Whether a request may begin; drops blocks in memory that are no longer announced if needed."""
        if self.bytes_in_memory + num_bytes > MAX_BYTES_IN_MEMORY:
            for entry in [one for one in self._blocks.values() if not one.reads and one.stage is Stage.IN_MEMORY]:
                self._forget(entry)
        return not self.bytes_in_memory or self.bytes_in_memory + num_bytes <= MAX_BYTES_IN_MEMORY

    def _unannounce(self, entry: WantedBlock) -> None:
        entry.reads = 0
        self._cache.unpin(entry.shard, entry.block)
        self.read_ahead.leave(entry.shard)

    def _forget(self, entry: WantedBlock) -> None:
        if entry.data is not None:
            self.bytes_in_memory -= len(entry.data)
            entry.data = None
        del self._blocks[entry.shard, entry.block]
