"""Which blocks will be read, how far each of them has come, and what is asked for next.

Of the disk it only asks which files are there, and now and then how many processes share them. The caller holds a lock
around every method but `is_announced`, which looks at one entry.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from maskmill.pipeline.loader.cache.block_cache import BlockCache
from maskmill.pipeline.loader.cache.cache_settings import Cache
from maskmill.pipeline.loader.cache.lead import Lead
from maskmill.pipeline.loader.cache.open_shards import OpenShards
from maskmill.pipeline.loader.cache.plan_fetches import RUN_BYTES, extend_run, limit_requests, limit_run
from maskmill.pipeline.loader.cache.upcoming_blocks import Run, Stage, Upcoming
from maskmill.pipeline.storage.datasets import ShardTable

UNDER_WAY_BYTES = 96 << 20  # of requests, and of blocks that found no room on disk; more would delay what comes first
DRAWN_AT_ONCE = 8  # an item takes some 50 us, and the reader must not wait for many of them
LATER_SECONDS = 0.05


@dataclass
class BlockQueue:
    """See above.

    Attributes:
        shards: The dataset's blocks.
        cache: Where blocks lie.
        settings: How to fetch.
        bytes_under_way: Of requests and held blocks, though most that is under way goes to the disk as it comes.
        has_more: Whether `next_run` stopped only to let others have their turn.
        is_waited_for: Whether a reader waits for more than the first blocks announced.
    """

    shards: ShardTable
    cache: BlockCache
    settings: Cache
    bytes_under_way: int = 0
    is_waited_for: bool = False
    has_more: bool = False
    _coming: Iterator[tuple[int, Sequence[int]]] | None = None
    _blocks: dict[tuple[int, int], Upcoming] = field(default_factory=dict)
    _queue: deque[Upcoming] = field(default_factory=deque)
    _urgent: deque[Upcoming] = field(default_factory=deque)
    _later: deque[Upcoming] = field(default_factory=deque)
    _recent: deque[tuple[int, int]] = field(default_factory=deque)
    _loading: set[tuple[int, int]] = field(default_factory=set)
    _alone: set[tuple[int, int]] = field(default_factory=set)
    _num_requests: int = 0

    def __post_init__(self) -> None:
        self._block_bytes = int(self.shards.block_lengths.max(initial=1))
        self._lead = Lead(self.cache.ledger, self._block_bytes)
        shard_bytes = int(self.shards.size_bytes.max(initial=1))
        self._open_shards = OpenShards(self.cache, self.settings.fetch, shard_bytes)

    @property
    def open_blocks(self) -> int:
        """How many blocks a reader holds at once; the first so many announced are asked for one by one."""
        return self._lead.least_blocks

    def hold_open(self, num_blocks: int) -> None:
        """Raise `open_blocks`."""
        self._lead.least_blocks = max(self._lead.least_blocks, num_blocks)

    def announce(self, coming: Iterator[tuple[int, Sequence[int]]]) -> None:
        """Replace what was announced; held blocks stay until their memory is wanted."""
        for entry in list(self._blocks.values()):
            if entry.uses and not entry.urgent:
                self._unannounce(entry)
                if entry.stage not in (Stage.HELD, Stage.LOADING):
                    self._forget(entry)
        self._queue.clear()
        self._later.clear()
        self._alone.clear()
        self._lead.begin_again()
        self._coming = coming

    def want(self, shard: int, block: int, *, fresh: bool = False) -> Upcoming:
        """The entry of a block that a reader waits for now."""
        if not self._lead.num_ahead:
            self._announce_more()  # a reader who is through with all that was announced reads the next item
        entry = self._blocks.get((shard, block))
        if entry is None or entry.uses == 0:
            entry = self._add(shard, block)
        if fresh:
            entry.fresh = True
            if entry.stage not in (Stage.LOADING, Stage.HELD):  # these come from the store already
                entry.stage = Stage.QUEUED
        entry.urgent = True
        if entry.stage is Stage.QUEUED:
            self._urgent.append(entry)
        return entry

    def take(self, entry: Upcoming) -> None:
        """Note that a block was read."""
        entry.urgent = entry.fresh = entry.alone = False
        self._lead.read(self.length(entry.shard, entry.block))
        self._recent.append((entry.shard, entry.block))
        self.cache.put(entry.shard, entry.block)
        while len(self._recent) > self.open_blocks:
            self.cache.remove(*self._recent.popleft())
        entry.uses -= 1
        if not entry.uses:
            entry.uses = 1
            self._unannounce(entry)
            self._forget(entry)

    def next_run(self) -> Run | None:
        """What to ask for now, its memory counted; `None` if there is nothing or no room."""
        while self._urgent:
            entry = self._urgent.popleft()
            if entry.stage is Stage.QUEUED:
                return self._begin(entry, self._extend(entry))
        self._look_at_later()
        self.has_more = False
        drawn = 0
        while self._queue or self._announce_more():
            if not self._queue:  # what was drawn is here already
                drawn += 1
                if drawn == DRAWN_AT_ONCE:
                    self.has_more = True
                    return None
                continue
            entry = self._queue[0]
            if entry.stage is not Stage.QUEUED or entry.uses == 0:
                self._queue.popleft()
                continue
            if not self._may_begin(entry):
                return None
            blocks = self._extend(entry)
            if not self._find_room(self._size(entry.shard, blocks)):
                return None
            self._queue.popleft()
            return self._begin(entry, blocks)
        return None

    def look_again(self, entry: Upcoming) -> None:
        """Queue a block that was put off, unless another process has brought it meanwhile."""
        if entry.stage is Stage.LATER:
            here = not entry.fresh and self.cache.find(entry.shard, entry.block, look=True) is not None
            entry.stage = Stage.CACHED if here else Stage.QUEUED
            if not here:
                if entry.urgent:
                    self._urgent.append(entry)
                else:
                    self._queue.appendleft(entry)  # the reader comes to it before what was announced since

    def ask_again(self, entry: Upcoming) -> None:
        """Queue a block that was here and cannot be read; at the second time without looking at the disk."""
        entry.stage = Stage.QUEUED
        entry.fresh, entry.alone = entry.alone, True
        (self._urgent if entry.urgent else self._queue).append(entry)

    def finish(self, run: Run, outcomes: dict[int, tuple[Stage, bytes | memoryview | Exception | None]]) -> None:
        """Note what became of a run: a stage for each of its blocks, with the bytes of held ones or an error."""
        self.bytes_under_way -= run.num_bytes
        self._num_requests -= 1
        for block in run.blocks:
            self._loading.discard((run.cause.shard, block))
            entry = self._blocks.get((run.cause.shard, block))
            if entry is None or entry.stage is not Stage.LOADING:
                continue
            entry.stage, value = outcomes[block]
            if isinstance(value, Exception):
                entry.error = value
            elif value is not None:
                entry.data = value
                self.bytes_under_way += len(value)
            if entry.fresh and entry.stage is Stage.CACHED:  # wanted from the store only after it went to the disk
                entry.stage = Stage.QUEUED
                self._urgent.append(entry)
            elif not entry.uses and entry.stage is not Stage.HELD:
                self._forget(entry)
            elif entry.stage is Stage.LATER:
                entry.check_at = time.monotonic() + LATER_SECONDS
                self._later.append(entry)

    def is_announced(self, shard: int, block: int) -> bool:
        """Whether a reader is going to read a block."""
        entry = self._blocks.get((shard, block))
        return entry is not None and entry.uses > 0

    @property
    def num_ahead(self) -> int:
        """Blocks announced and not yet read."""
        return self._lead.num_ahead

    @property
    def waits(self) -> bool:
        """Whether something was put off."""
        return bool(self._later)

    def length(self, shard: int, block: int) -> int:
        """Bytes of a block."""
        return int(self.shards.block_lengths[int(self.shards.first_block[shard]) + block])

    def _add(self, shard: int, block: int) -> Upcoming:
        length = self.length(shard, block)
        entry = self._blocks.get((shard, block))
        if entry is None:
            entry = self._blocks[shard, block] = Upcoming(shard, block)
            if (shard, block) in self._loading:
                entry.stage = Stage.LOADING
            elif self.cache.find(shard, block) is not None:
                entry.stage = Stage.CACHED
                self._open_shards.begin(shard, length)
            else:
                self._queue.append(entry)
        if entry.uses == 0:
            entry.place, entry.bytes_before = self._lead.num_announced, self._lead.announced_bytes
            self.cache.put(shard, block)
            self._open_shards.announce(shard)
        entry.uses += 1
        self._lead.announce(length)
        return entry

    def _announce_more(self) -> bool:
        """Draw the next item of what is coming, if the reader is near enough; False if nothing was drawn."""
        if self._coming is None or self._lead.is_full:
            return False
        item = next(self._coming, None)
        if item is None:
            self._coming = None
            return False
        for block in item[1]:
            self._add(int(item[0]), int(block))
        return True

    def _look_at_later(self) -> None:
        due = []
        while self._later and self._later[0].check_at <= time.monotonic():
            due.append(self._later.popleft())
        for entry in reversed(due):
            self.look_again(entry)

    def _may_begin(self, entry: Upcoming) -> bool:
        """Whether there may be a request more for what nobody waits for yet."""
        if self.is_waited_for or self._is_of_first_batch(entry):
            return True
        return self._num_requests < limit_requests(self._distance(entry), self._lead.horizon_bytes)

    def _is_of_first_batch(self, entry: Upcoming) -> bool:
        # The first batch takes a second block where its rows end one and begin the next.
        rounds = 2 if self._lead.num_read < self.open_blocks else 1
        return entry.place < rounds * self.open_blocks

    def _distance(self, entry: Upcoming) -> int:
        """Bytes that will be read before a block."""
        return entry.bytes_before - self._lead.read_bytes

    def _extend(self, entry: Upcoming) -> list[int]:
        shard = entry.shard
        num_blocks = int(self.shards.first_block[shard + 1] - self.shards.first_block[shard])
        if entry.fresh or entry.alone:
            return [entry.block]
        first_round = self._is_of_first_batch(entry)
        limit = RUN_BYTES
        whole = not first_round and self._open_shards.are_fetched_whole
        if whole:
            slack = self._distance(entry) // max(1, len(self._open_shards))
            limit = limit_run(self._open_shards.begun_bytes(shard), slack, is_waited_for=self.is_waited_for)
        elif first_round:
            self._alone.add((shard, entry.block))

        def is_wanted(block: int) -> bool | None:
            other = self._blocks.get((shard, block))
            if other is not None and other.uses > 0 and other.stage is Stage.QUEUED:
                return not first_round or other.urgent or other.place < self.open_blocks
            if whole and (shard, block) in self._alone:
                return None
            if not whole or other is not None or (shard, block) in self._loading:
                return False
            return self.cache.find(shard, block) is None

        return extend_run(entry.block, num_blocks, max(1, limit // self._block_bytes), is_wanted)

    def _begin(self, cause: Upcoming, blocks: list[int]) -> Run:
        for block in blocks:
            self._loading.add((cause.shard, block))
            entry = self._blocks.get((cause.shard, block))
            if entry is not None:
                entry.stage = Stage.LOADING
        run = Run(cause, blocks, self._size(cause.shard, blocks))
        self.bytes_under_way += run.num_bytes
        self._num_requests += 1
        self._open_shards.begin(cause.shard, run.num_bytes)
        return run

    def _size(self, shard: int, blocks: list[int]) -> int:
        return sum(self.length(shard, block) for block in blocks)

    def _find_room(self, num_bytes: int) -> bool:
        """Whether a request may begin; held blocks that nobody announced any more make room for it."""
        if self.bytes_under_way + num_bytes > UNDER_WAY_BYTES:
            for entry in [entry for entry in self._blocks.values() if not entry.uses and entry.stage is Stage.HELD]:
                self._forget(entry)
        return not self.bytes_under_way or self.bytes_under_way + num_bytes <= UNDER_WAY_BYTES

    def _unannounce(self, entry: Upcoming) -> None:
        entry.uses = 0
        self.cache.remove(entry.shard, entry.block)
        self._open_shards.leave(entry.shard)

    def _forget(self, entry: Upcoming) -> None:
        if entry.data is not None:
            self.bytes_under_way -= len(entry.data)
            entry.data = None
        del self._blocks[entry.shard, entry.block]
