"""The documented order of rows in plain Python: no NumPy, nothing of the code under test."""

from __future__ import annotations

from collections.abc import Sequence

GAMMA = 0x9E3779B97F4A7C15


def mix(value: int) -> int:
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


def absorb(*words: int) -> int:
    key = 0
    for word in words:
        key = mix(((key ^ word) + GAMMA) % 2**64)
    return key


def permutation(count: int, key: int) -> list[int]:
    return sorted(range(count), key=lambda index: mix((key + index * GAMMA) % 2**64))


def order_shard(shard: int, num_rows: int, block_rows: int, seed: int, epoch: int, width: int) -> list[int]:
    """Row ids of one shard in the order of an epoch."""
    num_blocks = (num_rows + block_rows - 1) // block_rows
    blocks = permutation(num_blocks, absorb(2, seed, epoch, shard))
    ordered = []
    for first in range(0, num_blocks, width):
        window = blocks[first : first + width]
        rows = [row for block in window for row in range(num_rows) if row // block_rows == block]
        chosen = permutation(len(rows), absorb(3, seed, epoch, shard, window[0]))
        ordered += [shard * 2**32 + rows[index] for index in chosen]
    return ordered


def order_epoch(shard_rows: Sequence[int], block_rows: int, *, seed: int, epoch: int, width: int = 1) -> list[int]:
    """Row ids of the shuffled shards laid end to end."""
    shards = permutation(len(shard_rows), absorb(1, seed, epoch))
    return [row for shard in shards for row in order_shard(shard, shard_rows[shard], block_rows, seed, epoch, width)]


def global_batches(
    shard_rows: Sequence[int], block_rows: int, *, seed: int, epoch: int, rows: int, partitions: int, width: int = 1
) -> list[list[int]]:
    """Row ids of every global batch of an epoch."""
    ordered = order_epoch(shard_rows, block_rows, seed=seed, epoch=epoch, width=width)
    length, take = len(ordered) // partitions, rows // partitions
    return [
        [ordered[p * length + step * take + place] for p in range(partitions) for place in range(take)]
        for step in range(length // take)
    ]
