"""Rows made ready: for every partition a rank serves, the rows of its current window in the order they are served.

Staged rows are copied once out of their blocks, so that a batch is filled by one compiled loop with no Python at a
row, whatever number of partitions it draws from. For P partitions, windows of C rows and rows of S:
P * C * (S ids + S/3 sequence lengths) are held, 22 MB at 64 partitions of one 256 KiB block.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from pipeline.loader.epoch_order import EpochOrder, OrderSettings, Window
from pipeline.loader.packed_dataset import PackedDataset, list_column, row_matrix
from pipeline.masking.numba_masks import count_selected
from schemas.errors import ShardCorruptError
from schemas.rows import id_type

MIN_SEQUENCE_TOKENS = 3  # [CLS], a token, [SEP]


class StagedRows:
    """Rows copied out of their blocks into slots of C places.

    Args:
        dataset: Where rows come from.
        num_slots: L.
        capacity: C, rows that a slot holds.
        static: Whether the stored masks are staged too.

    Attributes:
        rows: `(L, C, S)` uint16 or uint32 token ids.
        row_ids: `(L, C)` uint64.
        lengths: `(L, C, S // 3)` uint16 sequence lengths.
        num_sequences: `(L, C)` int32, how many of them count.
        mask_positions: `(L, C, M)` uint16, static masks only; `mask_ids` and `mask_labels` beside it.
        num_masked: `(L, C)` int32, how many of them count.
    """

    def __init__(self, dataset: PackedDataset, num_slots: int, capacity: int, static: bool) -> None:
        manifest = dataset.manifest
        shape = (num_slots, capacity)
        ids = id_type(manifest.vocabulary.vocab_size).to_pandas_dtype()
        masked = count_selected(manifest.seq_len, manifest.masking.rate_ppm) if static else 0
        self._dataset = dataset
        self._static = static
        self.rows = np.empty((*shape, manifest.seq_len), ids)
        self.row_ids = np.empty(shape, np.uint64)
        self.lengths = np.empty((*shape, manifest.seq_len // MIN_SEQUENCE_TOKENS), np.uint16)
        self.num_sequences = np.empty(shape, np.int32)
        self.mask_positions = np.empty((*shape, masked), np.uint16)
        self.mask_ids = np.empty((*shape, masked), ids)
        self.mask_labels = np.empty((*shape, masked), ids)
        self.num_masked = np.zeros(shape, np.int32)

    def move_to_front(self, slot: int, start: int, count: int) -> None:
        """Keep `count` rows from place `start` on, at the front of their slot."""
        for column in self._columns():
            column[slot, :count] = column[slot, start : start + count].copy()

    def copy(
        self,
        slot: int,
        at: int,
        shard: int,
        blocks: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        epoch: int,
    ) -> None:
        """Copy rows to a slot from place `at` on.

        Args:
            slot: Where to.
            at: The first place.
            shard: Where from.
            blocks: The blocks that hold the rows.
            rows: Places in these blocks laid end to end, in the order they are served.
            epoch: Decides which stored copy of the masks is taken.

        Raises:
            ShardCorruptError: A block is not what was written.
        """
        start = 0
        block_rows = self._dataset.manifest.block_rows
        first_row_id = self._dataset.shards.first_row_id[shard]
        copy = epoch % max(1, self._dataset.manifest.copies)
        for block, batch in zip(blocks.tolist(), self._dataset.read_blocks(shard, blocks.tolist()), strict=True):
            here = np.flatnonzero((rows >= start) & (rows < start + batch.num_rows))
            local = rows[here] - start
            places = at + here
            _copy_rows(row_matrix(batch, self.rows.shape[2]), local, places, self.rows[slot])
            self.row_ids[slot, places] = first_row_id + (block * block_rows + local).astype(np.uint64)
            lists = {"sequence_lengths": (self.lengths, self.num_sequences)}
            if self._static:
                lists |= {
                    f"mask_{copy}_positions": (self.mask_positions, self.num_masked),
                    f"mask_{copy}_input_ids": (self.mask_ids, self.num_masked),
                    f"mask_{copy}_labels": (self.mask_labels, self.num_masked),
                }
            for name, (values, counts) in lists.items():
                if not _copy_lists(*list_column(batch, name), local, places, values[slot], counts[slot]):
                    raise ShardCorruptError(
                        f"a row has more {name} than its tokens allow",
                        path=self._dataset.store.locate(self._dataset.shards.path(shard)),
                        place=f"block {block}",
                        expected=f"at most {values.shape[2]}",
                        action="write the dataset again",
                    )
            start += batch.num_rows

    def _columns(self) -> tuple[npt.NDArray[Any], ...]:
        staged = (self.rows, self.row_ids, self.lengths, self.num_sequences)
        masks = (self.mask_positions, self.mask_ids, self.mask_labels, self.num_masked)
        return staged + masks if self._static else staged


class PartitionCursor:
    """Keeps the rows of the current global batch staged for every partition that a rank serves.

    Args:
        dataset: Where rows come from.
        settings: What decides the order.
        partitions: `(L,)` the partitions, one a slot.
        static: Whether the stored masks are staged too.
    """

    def __init__(
        self, dataset: PackedDataset, settings: OrderSettings, partitions: npt.NDArray[np.int64], static: bool
    ) -> None:
        self._dataset = dataset
        self._settings = settings
        self._partitions = partitions
        capacity = settings.shuffle_blocks * dataset.manifest.block_rows + settings.rows_per_step
        self.staged = StagedRows(dataset, len(partitions), capacity, static)
        self._order: EpochOrder | None = None
        self._epoch = -1
        self._first = np.zeros(len(partitions), np.int64)
        self._count = np.zeros(len(partitions), np.int64)
        self._upcoming: dict[int, Window] = {}

    def move_to(self, epoch: int, step: int, next_step: int | None = None) -> npt.NDArray[np.int64]:
        """Stage the rows of a global batch; a jump to any step reads no more than a window for each partition.

        Args:
            epoch: From 0.
            step: Global batch in the epoch.
            next_step: Where this cursor goes next in the same epoch, if it does: what to download ahead for.

        Returns:
            `(L,)` int64, where in each slot the partition's G/P rows of this step begin.

        Raises:
            ShardCorruptError: A block is not what was written.
            TransientStorageError: The store failed every attempt.
        """
        order = self._open_epoch(epoch)
        rows_per_step = self._settings.rows_per_step
        offset = step * rows_per_step
        lacking = (offset < self._first) | (offset + rows_per_step > self._first + self._count)
        if lacking.any():
            windows = {slot: self._find_windows(order, slot, offset) for slot in np.flatnonzero(lacking).tolist()}
            # All that this step waits for is asked for at once, and before anything that it does not.
            for window in (window for slot in windows.values() for window in slot):
                self._dataset.prefetch(window.shard, window.blocks.tolist())
            for slot, missing in windows.items():
                self._fill(slot, offset, missing)
            if next_step is not None and not self._dataset.store.is_local:
                for slot in windows:
                    self._prefetch(order, slot, next_step * rows_per_step)
        return offset - self._first

    def _open_epoch(self, epoch: int) -> EpochOrder:
        if self._order is None or epoch != self._epoch:
            for slot in list(self._upcoming):
                self._forget_upcoming(slot)
            self._order = EpochOrder(
                self._dataset.shards.rows, self._dataset.manifest.block_rows, self._settings, epoch
            )
            self._epoch = epoch
            self._count[:] = 0
        return self._order

    def _count_held(self, slot: int, offset: int) -> int:
        """Rows from `offset` on that are staged already."""
        first, stop = int(self._first[slot]), int(self._first[slot] + self._count[slot])
        return stop - offset if first <= offset < stop else 0

    def _find_windows(self, order: EpochOrder, slot: int, offset: int) -> list[Window]:
        """The windows that a slot lacks for the step that begins at `offset`."""
        windows: list[Window] = []
        held = self._count_held(slot, offset)
        while held < self._settings.rows_per_step:
            windows.append(order.window_at(int(self._partitions[slot]), offset + held))
            held += len(windows[-1].rows)
        return windows

    def _fill(self, slot: int, offset: int, windows: list[Window]) -> None:
        held = self._count_held(slot, offset)
        if held:
            self.staged.move_to_front(slot, offset - int(self._first[slot]), held)
        self._count[slot] = 0  # what stands here counts again once it is whole
        for window in windows:
            self.staged.copy(slot, held, window.shard, window.blocks, window.rows, self._epoch)
            held += len(window.rows)
        self._first[slot], self._count[slot] = offset, held

    def _prefetch(self, order: EpochOrder, slot: int, next_offset: int) -> None:
        self._forget_upcoming(slot)
        offset = max(int(self._first[slot] + self._count[slot]), next_offset)
        if offset < order.rows_per_partition // self._settings.rows_per_step * self._settings.rows_per_step:
            window = order.window_at(int(self._partitions[slot]), offset)
            self._dataset.prefetch(window.shard, window.blocks.tolist())
            self._upcoming[slot] = window

    def _forget_upcoming(self, slot: int) -> None:
        # What was used is gone from the downloads already; what several workers skipped must not pile up.
        window = self._upcoming.pop(slot, None)
        if window is not None:
            self._dataset.forget(window.shard, window.blocks.tolist())


@njit(cache=True, nogil=True)
def _copy_rows(matrix: Any, sources: Any, places: Any, out: Any) -> None:
    """Copy rows of a block (R, S) to places of a slot (C, S).

    Through a view of each row: 6 us for 256 rows of 512, 132 us with both indices in the inner loop.
    """
    for i in range(len(sources)):
        source, place = matrix[sources[i]], out[places[i]]
        for j in range(source.shape[0]):
            place[j] = source[j]


@njit(cache=True, nogil=True)
def _copy_lists(offsets: Any, values: Any, sources: Any, places: Any, out: Any, counts: Any) -> bool:
    """Copy the lists of some rows of a block to places of a slot, out (C, M), counts (C,); False if one is too long."""
    for i in range(len(sources)):
        start, stop = offsets[sources[i]], offsets[sources[i] + 1]
        if stop - start > out.shape[1]:
            return False
        counts[places[i]] = stop - start
        for j in range(stop - start):
            out[places[i], j] = values[start + j]
    return True
