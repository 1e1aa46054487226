"""The shards that a reader is in: those of which a block is announced and not yet read."""

from __future__ import annotations

from collections import Counter

from maskmill.pipeline.loader.cache.block_cache import BlockCache
from maskmill.pipeline.loader.cache.plan_fetches import fetches_shards


class OpenShards:
    """Counts them, and what came of each; keeps those that are fetched whole from being evicted.

    Args:
        cache: Where blocks lie.
        fetch: `auto`, `block` or `shard`.
        shard_bytes: Of the largest.
    """

    def __init__(self, cache: BlockCache, fetch: str, shard_bytes: int) -> None:
        self._cache = cache
        self._fetch = fetch
        self._shard_bytes = shard_bytes
        self._announced: Counter[int] = Counter()
        self._kept: set[int] = set()
        self._begun_bytes: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._announced)

    @property
    def are_fetched_whole(self) -> bool:
        """Whether requests take blocks that are not announced yet."""
        ledger = self._cache.ledger
        if not ledger.takes_blocks:
            return False
        return fetches_shards(self._fetch, len(self), self._shard_bytes, ledger.max_bytes, ledger.count_readers())

    def begun_bytes(self, shard: int) -> int:
        """What of an open shard was asked for already, or was in the cache."""
        return self._begun_bytes[shard]

    def begin(self, shard: int, num_bytes: int) -> None:
        """Note that blocks of a shard are asked for, or are here."""
        self._begun_bytes[shard] += num_bytes

    def announce(self, shard: int) -> None:
        """Note that a block more of a shard will be read."""
        self._announced[shard] += 1
        if shard not in self._kept and self.are_fetched_whole:
            self._kept.add(shard)
            self._cache.put(shard, None)

    def leave(self, shard: int) -> None:
        """Note that a block of a shard was read, or will not be."""
        self._announced[shard] -= 1
        if not self._announced[shard]:
            del self._announced[shard]
            self._begun_bytes.pop(shard, None)
            if shard in self._kept:
                self._kept.discard(shard)
                self._cache.remove(shard, None)
