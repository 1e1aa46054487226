"""One reader's way through a dataset: for every partition it serves, the window of rows it is in."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.pipeline.loader.blocks.packed_dataset import PackedDataset
from maskmill.pipeline.loader.order.epoch_order import EpochOrder, OrderSettings, Window
from maskmill.pipeline.loader.rows.stage_rows import StagedRows

_EPOCHS_KEPT = 2  # a global batch may end one epoch and begin the next


class PartitionCursor:
    """Keeps rows staged for every partition that is asked for, and says ahead which blocks will be read.

    Args:
        dataset: Where rows come from.
        settings: What decides the order.
        rows_per_partition: Rows that each partition serves in an epoch.
        max_rows: The most rows of one partition that are asked for at once.
        static: Whether the stored masks are staged too.
        has_words: Whether it is staged where words start.
        stop_epoch: No epoch from this one on is read; None is without end.
    """

    def __init__(
        self,
        dataset: PackedDataset,
        settings: OrderSettings,
        rows_per_partition: int,
        max_rows: int,
        static: bool,
        has_words: bool = False,
        stop_epoch: int | None = None,
    ) -> None:
        self._dataset = dataset
        self._settings = settings
        self._rows_per_partition = rows_per_partition
        self._stop_epoch = stop_epoch
        capacity = settings.shuffle_blocks * dataset.manifest.block_rows + max_rows
        self.staged = StagedRows.allocate(dataset.manifest, settings.partitions, capacity, static, has_words)
        self._orders: dict[int, EpochOrder] = {}
        self._epoch = np.full(settings.partitions, -1, np.int64)
        self._first = np.zeros(settings.partitions, np.int64)
        self._stop = np.zeros(settings.partitions, np.int64)

    def find(
        self,
        numbers: npt.NDArray[np.int64],
        rows_per_epoch: int,
        slots: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
        epochs: npt.NDArray[np.int64],
    ) -> int:
        """Find rows, if all of them are staged and of one epoch.

        Args:
            numbers: `(m,)`, of the rows, through all epochs.
            rows_per_epoch: R.
            slots: `(m,)`, written: the slot of each.
            places: `(m,)`, written: its place there.
            epochs: `(m,)`, written: its epoch.

        Returns:
            Their epoch; -1 where they are not, and what was written means nothing.
        """
        staged = (self._epoch, self._first, self._stop)
        return int(_find(numbers, rows_per_epoch, self._settings.partitions, staged, slots, places, epochs))

    def stage(
        self, epoch: int, partitions: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Stage rows of one epoch; a jump to any place reads no more than a window for each partition.

        Args:
            epoch: From 0.
            partitions: `(m,)`, the partition of each row.
            offsets: `(m,)`, its place in the interval; those of one partition are consecutive.

        Returns:
            `(m,)` int64, the place of each row in the partition's slot.

        Raises:
            ShardCorruptError: A block is not what was written.
            TransientStorageError: The store failed every attempt.
        """
        lacking = (
            (self._epoch[partitions] != epoch)
            | (offsets < self._first[partitions])
            | (offsets >= self._stop[partitions])
        )
        if lacking.any():
            self._stage_lacking(epoch, partitions, offsets, np.unique(partitions[lacking]).tolist())
        places: npt.NDArray[np.int64] = offsets - self._first[partitions]
        return places

    def _stage_lacking(
        self, epoch: int, partitions: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], lacking: list[int]
    ) -> None:
        order = self._open_epoch(self._orders, epoch)
        needs = {}
        for partition in lacking:
            mine = offsets[partitions == partition]
            needs[partition] = int(mine.min()), int(mine.max()) + 1
        if not self._dataset.store.capabilities.local_paths and not all(
            self._is_announced(partition, epoch, first) for partition, (first, _) in needs.items()
        ):
            self._dataset.fetch_ahead(self._iter_upcoming(epoch, {p: first for p, (first, _) in needs.items()}))
        for partition, (first, stop) in needs.items():
            self._fill(order, epoch, partition, first, stop)

    def _fill(self, order: EpochOrder, epoch: int, partition: int, first: int, stop: int) -> None:
        staged = int(self._epoch[partition]) == epoch and self._first[partition] <= first < self._stop[partition]
        held = int(self._stop[partition]) - first if staged else 0
        if held:
            self.staged.move_to_front(partition, first - int(self._first[partition]), held)
        self._epoch[partition] = -1  # valid again once the slot is filled
        while held < stop - first:
            window = order.window_at(partition, first + held)
            self.staged.copy(self._dataset, partition, held, window.shard, window.blocks, window.rows, epoch)
            held += window.num_rows
        self._epoch[partition], self._first[partition], self._stop[partition] = epoch, first, first + held

    def _open_epoch(self, orders: dict[int, EpochOrder], epoch: int) -> EpochOrder:
        if epoch not in orders:
            while len(orders) >= _EPOCHS_KEPT:
                del orders[min(orders)]
            shards, block_rows = self._dataset.shards, self._dataset.manifest.block_rows
            orders[epoch] = EpochOrder(shards.rows, block_rows, self._settings, epoch, self._rows_per_partition)
        return orders[epoch]

    def _is_announced(self, partition: int, epoch: int, first: int) -> bool:
        """Whether this row's window follows the staged rows, as it was announced."""
        if self._epoch[partition] < 0:
            return False
        following = self._follow(int(self._epoch[partition]), int(self._stop[partition]))
        if following[0] != epoch:
            return int(self._epoch[partition]) == epoch and bool(
                self._first[partition] <= first < self._stop[partition]
            )
        if first < following[1]:
            return bool(first >= self._first[partition])
        window = self._open_epoch(self._orders, epoch).window_at(partition, following[1])
        return first < following[1] + window.num_rows

    def _follow(self, epoch: int, offset: int) -> tuple[int, int]:
        """The place after an offset: in its epoch, or at the start of the next."""
        return (epoch, offset) if offset < self._rows_per_partition else (epoch + 1, 0)

    def _iter_upcoming(self, epoch: int, firsts: dict[int, int]) -> Iterator[tuple[int, list[int]]]:
        """The windows to be read, in the order of their first rows, beginning with these rows.

        Reads no attribute that changes: another thread may draw from it.
        """
        places = [(epoch, first, partition) for partition, first in firsts.items()]
        places += [
            (*self._follow(int(self._epoch[partition]), int(self._stop[partition])), partition)
            for partition in np.flatnonzero(self._epoch >= 0).tolist()
            if partition not in firsts
        ]
        return self._iter_windows(places)

    def _iter_windows(self, places: list[tuple[int, int, int]]) -> Iterator[tuple[int, list[int]]]:
        orders: dict[int, EpochOrder] = {}
        heapq.heapify(places)
        while places and (self._stop_epoch is None or places[0][0] < self._stop_epoch):
            epoch, offset, partition = heapq.heappop(places)
            window: Window = self._open_epoch(orders, epoch).window_at(partition, offset)
            yield window.shard, window.blocks.tolist()
            heapq.heappush(places, (*self._follow(epoch, offset + window.num_rows), partition))


@njit(cache=True, nogil=True)
def _find(
    numbers: Any, rows_per_epoch: int, partitions: int, staged: Any, slots: Any, places: Any, epochs: Any
) -> np.int64:
    epoch_of, first, stop = staged
    for i in range(len(numbers)):
        epoch = numbers[i] // rows_per_epoch
        place = numbers[i] - epoch * rows_per_epoch
        offset = place // partitions
        partition = place - offset * partitions
        if epoch_of[partition] != epoch or not first[partition] <= offset < stop[partition]:
            return np.int64(-1)
        if epoch != numbers[0] // rows_per_epoch:
            return np.int64(-1)
        slots[i], places[i], epochs[i] = partition, offset - first[partition], epoch
    return np.int64(numbers[0] // rows_per_epoch)
