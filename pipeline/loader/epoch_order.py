"""The order of rows in an epoch: pure arithmetic on counters, the same for every rank, worker and world size.

    shards, permuted by a key of (seed, epoch)      [ shard 7 ][ shard 2 ][ shard 0 ] ...
    laid end to end, cut into P equal intervals     |  p = 0  |  p = 1  |  p = 2  | ...
    global batch t takes from every interval        its rows [t * G/P, (t + 1) * G/P)

Inside a shard the blocks are permuted, and the rows of every `shuffle_blocks` consecutive ones among themselves. So
a reader of one partition holds that many blocks at a time, and a resumed one fetches no others. Rows that are
neighbours on disk were put there by a keyed hash; across a global batch rows come from P places of the epoch.

Any world size that divides G sees the same global batches: rank r of W serves the slots [r * G/W, (r + 1) * G/W).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.keyed_order import derive_key, permute
from schemas.errors import ConfigError

Int64s = npt.NDArray[np.int64]

MAX_DEFAULT_PARTITIONS = 64
_SHARDS, _BLOCKS, _ROWS = 1, 2, 3


@dataclass(frozen=True)
class OrderSettings:
    """Everything but the dataset and the epoch that decides the order.

    Attributes:
        seed: Key of every permutation.
        global_batch_rows: G.
        partitions: P; divides G.
        shuffle_blocks: Consecutive blocks whose rows are permuted among themselves.
    """

    seed: int
    global_batch_rows: int
    partitions: int
    shuffle_blocks: int

    @property
    def rows_per_step(self) -> int:
        """Rows that each partition gives to a global batch, G/P."""
        return self.global_batch_rows // self.partitions


@dataclass(frozen=True)
class Window:
    """Rows of one partition that are read together.

    Attributes:
        shard: The shard they stand in.
        blocks: `(w,)` int64, its blocks that hold them, in the order the next field counts in.
        rows: `(M,)` int64, the rows in the order they are served, as places in the blocks end to end.
    """

    shard: int
    blocks: Int64s
    rows: Int64s


def default_partitions(global_batch_rows: int) -> int:
    """The largest divisor of G up to 64."""
    return max(p for p in range(1, MAX_DEFAULT_PARTITIONS + 1) if global_batch_rows % p == 0)


def check_settings(settings: OrderSettings, world_size: int, rank: int, num_rows: int, dataset: str) -> None:
    """Refuse settings that cannot give equal batches to every rank.

    Raises:
        ConfigError: G is not divided by W or P, the rank or the seed is out of range, or the dataset is smaller
            than G.
    """
    rows = settings.global_batch_rows
    if rows < 1 or world_size < 1 or rows % world_size:
        divisors = [w for w in range(1, rows + 1) if rows % w == 0] if rows > 0 else []
        raise ConfigError(
            "the world size does not divide the global batch",
            path=dataset,
            expected=f"one of {', '.join(map(str, divisors[:24]))}" if divisors else "a positive global_batch_rows",
            found=f"world_size {world_size}, global_batch_rows {rows}",
            action="choose another world size or global batch: unequal ranks would hang collectives",
        )
    if not 0 <= rank < world_size:
        raise ConfigError("no such rank", path=dataset, expected=f"0 to {world_size - 1}", found=str(rank))
    if settings.partitions < 1 or rows % settings.partitions:
        raise ConfigError(
            "the partitions do not divide the global batch",
            path=dataset,
            expected=f"a divisor of {rows}",
            found=str(settings.partitions),
        )
    if not 0 <= settings.seed < 1 << 64:
        raise ConfigError("the seed is out of range", path=dataset, expected="0 to 2^64 - 1", found=str(settings.seed))
    if settings.shuffle_blocks < 1:
        raise ConfigError(
            "shuffle_blocks is not positive",
            path=dataset,
            expected="at least 1",
            found=str(settings.shuffle_blocks),
        )
    if num_rows < rows:
        raise ConfigError(
            "the dataset is smaller than one global batch",
            path=dataset,
            expected=f"at least {rows} rows",
            found=f"{num_rows}",
            action="lower global_batch_rows or prepare more text",
        )


def count_steps(settings: OrderSettings, num_rows: int) -> int:
    """Global batches in an epoch. Fewer than G + P rows, at the ends of intervals, are left out; others each epoch."""
    return num_rows // settings.partitions // settings.rows_per_step


class EpochOrder:
    """The order of one epoch of one dataset.

    Args:
        shard_rows: `(K,)` int64, rows in each shard.
        block_rows: Rows in every block but the last of a shard.
        settings: What decides the order.
        epoch: From 0.
    """

    def __init__(self, shard_rows: Int64s, block_rows: int, settings: OrderSettings, epoch: int) -> None:
        self._shard_rows = shard_rows
        self._block_rows = block_rows
        self._settings = settings
        self._epoch = epoch
        self._shards = permute(len(shard_rows), derive_key(_SHARDS, settings.seed, epoch))
        self._starts = np.concatenate([[0], np.cumsum(shard_rows[self._shards])])
        self.rows_per_partition = int(self._starts[-1]) // settings.partitions

    def window_at(self, partition: int, offset: int) -> Window:
        """The rows of a partition from `offset` of its interval to the end of their window or of the interval.

        Args:
            partition: 0 <= partition < P.
            offset: 0 <= offset < `rows_per_partition`.

        Raises:
            ValueError: Either is out of range.
        """
        if not (0 <= partition < self._settings.partitions and 0 <= offset < self.rows_per_partition):
            raise ValueError(f"no row {offset} of {self.rows_per_partition} in partition {partition}")
        place = partition * self.rows_per_partition + offset
        last = (partition + 1) * self.rows_per_partition
        position = int(np.searchsorted(self._starts, place, side="right")) - 1
        shard = int(self._shards[position])
        inside = place - int(self._starts[position])
        num_rows = int(self._shard_rows[shard])
        blocks = permute(-(-num_rows // self._block_rows), derive_key(_BLOCKS, self._settings.seed, self._epoch, shard))
        sizes = np.minimum(self._block_rows, num_rows - blocks * self._block_rows)
        ends = np.cumsum(sizes)
        width = self._settings.shuffle_blocks
        first = int(np.searchsorted(ends, inside, side="right")) // width * width
        blocks = blocks[first : first + width]
        start = int(ends[first - 1]) if first else 0
        stop = int(ends[min(first + width, len(ends)) - 1])
        key = derive_key(_ROWS, self._settings.seed, self._epoch, shard, int(blocks[0]))
        rows = permute(stop - start, key)
        return Window(shard, blocks, rows[inside - start : min(stop, inside + last - place) - start])
