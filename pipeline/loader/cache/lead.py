"""How far what was announced is ahead of the reader."""

from __future__ import annotations

from dataclasses import dataclass

from maskmill.pipeline.loader.cache.cache_ledger import CacheLedger

HORIZON_BYTES = 512 << 20  # announced and not yet read: of 64 partitions 8 MiB each
HORIZON_BLOCKS = 4096


@dataclass
class Lead:
    """Counts of blocks and bytes since `announce`.

    Attributes:
        ledger: Of the cache, which bounds how far ahead one may be.
        block_bytes: Of the largest.
        least_blocks: Blocks that a reader holds at once: so many may always be announced.
        num_announced: Blocks.
        num_read: Blocks.
        announced_bytes: Of those announced.
        read_bytes: Of those read.
    """

    ledger: CacheLedger
    block_bytes: int
    least_blocks: int = 1
    num_announced: int = 0
    num_read: int = 0
    announced_bytes: int = 0
    read_bytes: int = 0

    @property
    def num_ahead(self) -> int:
        """Blocks announced and not yet read."""
        return self.num_announced - self.num_read

    @property
    def horizon_bytes(self) -> int:
        """How much may be announced and not yet read.

        At most a quarter of this reader's part of the cache, or what is open at once if that is more.
        """
        horizon = min(HORIZON_BYTES, self.ledger.max_bytes // (4 * self.ledger.count_readers()))
        return max(horizon, self.least_blocks * self.block_bytes)

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be announced before something was read."""
        ahead = self.announced_bytes - self.read_bytes
        return ahead >= self.horizon_bytes or self.num_ahead >= max(HORIZON_BLOCKS, self.least_blocks)

    def begin_again(self) -> None:
        """Forget what was announced and read."""
        self.num_announced = self.num_read = self.announced_bytes = self.read_bytes = 0

    def announce(self, num_bytes: int) -> None:
        """Count a block that was announced."""
        self.num_announced += 1
        self.announced_bytes += num_bytes

    def read(self, num_bytes: int) -> None:
        """Count a block that was read."""
        self.num_read += 1
        self.read_bytes += num_bytes
