"""What was announced and not yet read: how many blocks and bytes, and of which shards."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from maskmill.pipeline.loader.cache.block_cache import BlockCache
from maskmill.pipeline.loader.cache.extents import fetches_whole_extents

MAX_BYTES_AHEAD = 512 << 20  # with 64 partitions, 8 MiB each
MAX_BLOCKS_AHEAD = 4096


@dataclass
class ReadAhead:
    """Counts since `start_again`; pins the open shards whose extents are fetched whole.

    A shard is open while a block of it is announced and not yet read.

    Attributes:
        cache: Its size bounds how far ahead blocks may be announced.
        fetch: `auto`, `block` or `shard`.
        block_bytes: Of the largest block.
        shard_bytes: Of the largest shard.
        open_blocks: Blocks that a reader has open at once: so many may always be announced.
        num_announced: Blocks.
        num_read: Blocks.
        bytes_announced: Of those announced.
        bytes_read: Of those read.
    """

    cache: BlockCache
    fetch: str
    block_bytes: int
    shard_bytes: int
    open_blocks: int = 1
    num_announced: int = 0
    num_read: int = 0
    bytes_announced: int = 0
    bytes_read: int = 0
    _open_shards: Counter[int] = field(default_factory=Counter)
    _pinned_shards: set[int] = field(default_factory=set)

    @property
    def num_ahead(self) -> int:
        """Blocks announced and not yet read."""
        return self.num_announced - self.num_read

    @property
    def max_bytes(self) -> int:
        """How much may be announced and not yet read.

        At most a quarter of this reader's part of the cache, or what is open at once if that is more.
        """
        ledger = self.cache.ledger
        ahead = min(MAX_BYTES_AHEAD, ledger.max_bytes // (4 * ledger.count_readers()))
        return max(ahead, self.open_blocks * self.block_bytes)

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be announced before something was read."""
        bytes_ahead = self.bytes_announced - self.bytes_read
        return bytes_ahead >= self.max_bytes or self.num_ahead >= max(MAX_BLOCKS_AHEAD, self.open_blocks)

    @property
    def fetches_whole_extents(self) -> bool:
        """Whether requests also take blocks of an extent that are not announced yet."""
        return self._fetches_whole_extents(self.fetch)

    @property
    def has_space(self) -> bool:
        """Whether the open shards of all processes fill at most half of the cache, whatever `fetch` says."""
        return self._fetches_whole_extents("auto")

    def _fetches_whole_extents(self, fetch: str) -> bool:
        ledger, num_shards = self.cache.ledger, len(self._open_shards)
        return ledger.takes_blocks and fetches_whole_extents(
            fetch, num_shards, self.shard_bytes, ledger.max_bytes, ledger.count_readers()
        )

    def start_again(self) -> None:
        """Forget how much was announced and read."""
        self.num_announced = self.num_read = self.bytes_announced = self.bytes_read = 0

    def announce(self, num_bytes: int) -> None:
        """Count a block that was announced."""
        self.num_announced += 1
        self.bytes_announced += num_bytes

    def read(self, num_bytes: int) -> None:
        """Count a block that was read."""
        self.num_read += 1
        self.bytes_read += num_bytes

    def open(self, shard: int) -> None:
        """Note that one more block of a shard will be read."""
        self._open_shards[shard] += 1
        if shard not in self._pinned_shards and self.fetches_whole_extents:
            self._pinned_shards.add(shard)
            self.cache.pin(shard, None)

    def leave(self, shard: int) -> None:
        """Note that a block of a shard was read, or will not be."""
        self._open_shards[shard] -= 1
        if not self._open_shards[shard]:
            del self._open_shards[shard]
            if shard in self._pinned_shards:
                self._pinned_shards.discard(shard)
                self.cache.unpin(shard, None)
