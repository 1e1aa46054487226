"""The documented order of mixtures and curricula in plain Python: rows counted one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.loader.order.order_oracle import order_epoch


@dataclass(frozen=True)
class Stored:
    """A dataset: its shards' rows, its partitions."""

    shard_rows: Sequence[int]
    partitions: int


def spread(thousandths: Sequence[int], seed: int) -> list[int]:
    """A thousand datasets in a row: the j-th of m at (2j + 1) / 2m, in hundred-thousand-millionths to have integers."""
    scale = 1
    for count in thousandths:
        scale *= max(1, count)
    places = sorted(
        ((2 * j + 1) * scale // count, dataset) for dataset, count in enumerate(thousandths) for j in range(count)
    )
    pattern = [dataset for _, dataset in places]
    turned = seed % 1000
    return pattern[turned:] + pattern[:turned]


def iter_steps(
    stretches: Sequence[tuple[int, int, Sequence[int]]], datasets: Sequence[Stored], block_rows: int, seed: int
) -> Iterator[list[tuple[int, int, int]]]:
    """(dataset, its epoch, row id) in every slot of every global batch.

    Args:
        stretches: First step, rows of a global batch, thousandths of each dataset.
        datasets: Where rows come from.
        block_rows: Rows of a block.
        seed: Of the order.
    """
    given = [0] * len(datasets)
    orders: dict[tuple[int, int], list[int]] = {}
    step = 0
    while True:
        first, rows, thousandths = [s for s in stretches if s[0] <= step][-1]
        alone = [d for d, count in enumerate(thousandths) if count]
        pattern = spread(thousandths, seed) if len(alone) > 1 else alone * 1000
        batch: list[tuple[int, int, int]] = [(-1, -1, -1)] * rows
        choices = [pattern[((step - first) * rows + slot) % 1000] for slot in range(rows)]
        for dataset, stored in enumerate(datasets):
            slots = [slot for slot in range(rows) if choices[slot] == dataset]
            numbers = range(given[dataset], given[dataset] + len(slots))
            given[dataset] += len(slots)
            interval = sum(stored.shard_rows) // stored.partitions
            for slot, number in zip(slots, sorted(numbers, key=lambda k: (k % stored.partitions, k)), strict=True):
                epoch, place = divmod(number, interval * stored.partitions)
                if (dataset, epoch) not in orders:
                    orders[dataset, epoch] = order_epoch(stored.shard_rows, block_rows, seed=seed, epoch=epoch)
                offset, partition = divmod(place, stored.partitions)
                batch[slot] = dataset, epoch, orders[dataset, epoch][partition * interval + offset]
        yield batch
        step += 1
