"""What an order does, without any data: how well it shuffles, and what each node reads.

The same arithmetic as the loader's, over the sizes of shards alone; for tests, and for people who choose
`partitions` and `shuffle_blocks`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.loader.order.epoch_order import EpochOrder, OrderSettings, measure_epoch

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ShuffleQuality:
    """How far apart an epoch serves rows that are neighbours on disk.

    Attributes:
        neighbour_steps: `(10, 25, 50, 75, 90)` percentiles of the distance, in global batches, between the places of
            rows that are neighbours on disk.
        together: Share of neighbours that fall into one global batch.
        shards: Shards that a global batch is worth: 1 / sum of squared shares, averaged over the epoch.
    """

    neighbour_steps: tuple[float, ...]
    together: float
    shards: float


PERCENTILES = (10, 25, 50, 75, 90)


def list_epoch(
    shard_rows: Int64s, block_rows: int, settings: OrderSettings, epoch: int, global_batch_rows: int
) -> Int64s:
    """Every row of an epoch in the order it is served.

    Args:
        shard_rows: `(K,)`, rows in each shard.
        block_rows: Rows in every block but the last of a shard.
        settings: What decides the order; P divides G.
        epoch: From 0.
        global_batch_rows: G.

    Returns:
        `(steps, G)`, numbers of rows in stored order, from 0 at the first row of the first shard.
    """
    length = measure_epoch(int(shard_rows.sum()), global_batch_rows, settings.partitions, settings.last_batch)
    order = EpochOrder(shard_rows, block_rows, settings, epoch, length.rows_per_partition)
    first_rows = np.concatenate([[0], np.cumsum(shard_rows)])
    intervals = np.empty((settings.partitions, length.rows_per_partition), np.int64)
    for partition in range(settings.partitions):
        offset = 0
        while offset < length.rows_per_partition:
            window = order.window_at(partition, offset)
            starts = window.blocks * block_rows
            sizes = np.minimum(block_rows, shard_rows[window.shard] - starts)
            places = np.concatenate([np.arange(n) + start for start, n in zip(starts, sizes, strict=True)])
            intervals[partition, offset : offset + window.num_rows] = first_rows[window.shard] + places[window.rows]
            offset += window.num_rows
    per_step = global_batch_rows // settings.partitions
    steps = intervals.reshape(settings.partitions, -1, per_step).transpose(1, 0, 2)
    return np.ascontiguousarray(steps.reshape(len(steps), global_batch_rows))


def measure_shuffle(rows: Int64s, shard_rows: Int64s) -> ShuffleQuality:
    """Measure an epoch.

    Args:
        rows: `(steps, G)`, as `list_epoch` gives it; no row twice.
        shard_rows: `(K,)`, rows in each shard.
    """
    distances = measure_neighbours(rows, shard_rows)
    shard_of = np.repeat(np.arange(len(shard_rows)), shard_rows)
    shares = np.apply_along_axis(lambda batch: (np.bincount(batch) ** 2).sum(), 1, shard_of[rows])
    return ShuffleQuality(
        tuple(np.percentile(distances, PERCENTILES).tolist()),
        float((distances == 0).mean()),
        float((rows.shape[1] ** 2 / shares).mean()),
    )


def measure_neighbours(rows: Int64s, shard_rows: Int64s) -> Int64s:
    """Distances, in global batches, of all pairs of rows that are neighbours on disk and are both served."""
    step_of = np.full(int(shard_rows.sum()), -1, np.int64)
    step_of[rows.reshape(-1)] = np.repeat(np.arange(len(rows)), rows.shape[1])
    shard_of = np.repeat(np.arange(len(shard_rows)), shard_rows)
    pairs = (shard_of[1:] == shard_of[:-1]) & (step_of[1:] >= 0) & (step_of[:-1] >= 0)
    distances: Int64s = np.abs(np.diff(step_of))[pairs]
    return distances


def count_blocks_by_node(rows: Int64s, shard_rows: Int64s, block_rows: int, nodes: int) -> Int64s:
    """How many blocks each node reads in an epoch; nodes serve equal shares of every global batch, in order.

    Args:
        rows: `(steps, G)`, as `list_epoch` gives it.
        shard_rows: `(K,)`, rows in each shard.
        block_rows: Rows in every block but the last of a shard.
        nodes: Divides G.

    Returns:
        `(nodes,)`.
    """
    first_block = np.concatenate([[0], np.cumsum(-(-shard_rows // block_rows))])
    inside = np.arange(int(shard_rows.sum())) - np.repeat(np.cumsum(shard_rows) - shard_rows, shard_rows)
    block_of = np.repeat(first_block[:-1], shard_rows) + inside // block_rows
    shares = np.split(block_of[rows], nodes, axis=1)
    return np.array([len(np.unique(share)) for share in shares])
