"""The order of rows in an epoch: pure arithmetic on counters, the same for every rank, worker and world size.

    shards, permuted by a key of (seed, epoch)      [ shard 7 ][ shard 2 ][ shard 0 ] ...
    laid end to end, cut into P equal intervals     |  p = 0  |  p = 1  |  p = 2  | ...
    row k of the epoch is                           row k // P of interval k mod P

Inside a shard the blocks are permuted, and the rows of every `shuffle_blocks` consecutive ones among themselves. So
a reader of one partition holds that many blocks at a time, and a resumed one fetches no others. Rows that are
neighbours on disk were put there by a keyed hash; across a global batch rows come from P places of the epoch.

A global batch of G rows takes the next G of them and serves them partition by partition: partition p fills slots
[p * G/P, (p + 1) * G/P). Any world size W that divides G sees the same global batches: rank r serves the slots
[r * G/W, (r + 1) * G/W), and with P at least the number of nodes a node reads about 1/nodes of the bytes.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.keyed_order import derive_key, permute

Int64s = npt.NDArray[np.int64]

MAX_DEFAULT_PARTITIONS = 64
MIN_DEFAULT_PARTITIONS = 16
_SHARDS, _BLOCKS, _ROWS = 1, 2, 3


class LastBatch(StrEnum):
    """What happens to the rows at an epoch's end that do not fill a global batch."""

    DROP = "drop"
    """They are left out: fewer than G rows, different ones each epoch."""
    WRAP = "wrap"
    """Every row is served, and fewer than G of them a second time."""


@dataclass(frozen=True)
class OrderSettings:
    """What decides the order beside the dataset and the epoch.

    Attributes:
        seed: Key of every permutation.
        partitions: P.
        shuffle_blocks: Consecutive blocks whose rows are permuted among themselves.
        last_batch: Whether intervals leave rows out or overlap.
    """

    seed: int
    partitions: int
    shuffle_blocks: int
    last_batch: LastBatch = LastBatch.DROP


@dataclass(frozen=True)
class Window:
    """Rows of one partition that are read together.

    Attributes:
        shard: Their shard.
        blocks: `(w,)` int64, its blocks that hold them, in the order `rows` counts in.
        num_rows: M.
    """

    shard: int
    blocks: Int64s
    num_rows: int
    _rows_in_blocks: int
    _first: int
    _key: np.uint64

    @functools.cached_property
    def rows(self) -> Int64s:
        """`(M,)` int64, the rows in the order they are served, as places in the blocks end to end.

        Permuted when first asked for: who only looks ahead for blocks does without.
        """
        return permute(self._rows_in_blocks, self._key)[self._first : self._first + self.num_rows]


@dataclass(frozen=True)
class EpochLength:
    """How much of a dataset an epoch serves.

    Attributes:
        rows_per_partition: Rows that each of the P intervals serves.
        rows: All of them, `P * rows_per_partition`.
        dropped: Rows of the dataset that the epoch leaves out.
        repeated: Rows that it serves a second time.
    """

    rows_per_partition: int
    rows: int
    dropped: int
    repeated: int


def default_partitions(global_batch_rows: int) -> int:
    """The largest divisor of G up to 64; where that is below 16, the smallest one above, if there is any.

    A prime G of 251 rows would else be 251 neighbours of one shard; with 251 partitions it is 251 places.
    """
    divisors = list_divisors(global_batch_rows)
    largest = max(p for p in divisors if p <= MAX_DEFAULT_PARTITIONS)
    if largest >= MIN_DEFAULT_PARTITIONS:
        return largest
    return min((p for p in divisors if p > MAX_DEFAULT_PARTITIONS), default=largest)


def list_divisors(number: int) -> list[int]:
    """All divisors of a positive number, ascending."""
    small = [divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0]
    return sorted({*small, *(number // divisor for divisor in small)})


def measure_epoch(num_rows: int, global_batch_rows: int, partitions: int, last_batch: LastBatch) -> EpochLength:
    """How long an epoch of whole global batches is.

    Args:
        num_rows: N, rows of the dataset; at least G.
        global_batch_rows: G.
        partitions: P; divides G.
        last_batch: Whether what fills no global batch is left out or filled up.
    """
    rows_per_step = global_batch_rows // partitions
    if last_batch is LastBatch.WRAP:
        steps = -(-num_rows // global_batch_rows)
    else:
        steps = num_rows // partitions // rows_per_step
    served = steps * global_batch_rows
    return EpochLength(steps * rows_per_step, served, max(0, num_rows - served), max(0, served - num_rows))


def measure_flowing_epoch(num_rows: int, partitions: int) -> EpochLength:
    """How long an epoch is that may end inside a global batch: fewer than P rows are left out, others each epoch."""
    rows_per_partition = num_rows // partitions
    served = rows_per_partition * partitions
    return EpochLength(rows_per_partition, served, num_rows - served, 0)


class EpochOrder:
    """The order of one epoch of one dataset.

    Args:
        shard_rows: `(K,)` int64, rows in each shard.
        block_rows: Rows in every block but the last of a shard.
        settings: What decides the order.
        epoch: From 0.
        rows_per_partition: Rows that each interval serves; by default as many as all of them can.
    """

    def __init__(
        self,
        shard_rows: Int64s,
        block_rows: int,
        settings: OrderSettings,
        epoch: int,
        rows_per_partition: int | None = None,
    ) -> None:
        self._shard_rows = shard_rows
        self._block_rows = block_rows
        self._settings = settings
        self._epoch = epoch
        self._shards = permute(len(shard_rows), derive_key(_SHARDS, settings.seed, epoch))
        self._starts = np.concatenate([[0], np.cumsum(shard_rows[self._shards])])
        self._num_rows = int(self._starts[-1])
        self.rows_per_partition = (
            self._num_rows // settings.partitions if rows_per_partition is None else rows_per_partition
        )

    def _interval_start(self, partition: int) -> int:
        if self._settings.last_batch is LastBatch.WRAP:
            return partition * self._num_rows // self._settings.partitions
        return partition * (self._num_rows // self._settings.partitions)

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
        # An interval that overlaps the next one may wrap around from the epoch's last row to its first.
        place = (self._interval_start(partition) + offset) % self._num_rows
        position = int(np.searchsorted(self._starts, place, side="right")) - 1
        shard = int(self._shards[position])
        inside = place - int(self._starts[position])
        seed = self._settings.seed
        blocks, ends = _order_blocks(int(self._shard_rows[shard]), self._block_rows, seed, self._epoch, shard)
        width = self._settings.shuffle_blocks
        first = int(np.searchsorted(ends, inside, side="right")) // width * width
        blocks = blocks[first : first + width]
        start = int(ends[first - 1]) if first else 0
        stop = int(ends[min(first + width, len(ends)) - 1])
        key = derive_key(_ROWS, seed, self._epoch, shard, int(blocks[0]))
        last = min(stop, inside + self.rows_per_partition - offset)
        return Window(shard, blocks, last - inside, stop - start, inside - start, key)


@functools.lru_cache(512)  # for the current and the next shards of all partitions: each is needed once per block
def _order_blocks(num_rows: int, block_rows: int, seed: int, epoch: int, shard: int) -> tuple[Int64s, Int64s]:
    """The blocks of a shard in the order of an epoch, and the cumulative number of rows at the end of each."""
    blocks = permute(-(-num_rows // block_rows), derive_key(_BLOCKS, seed, epoch, shard))
    ends = np.cumsum(np.minimum(block_rows, num_rows - blocks * block_rows))
    blocks.flags.writeable = ends.flags.writeable = False
    return blocks, ends
