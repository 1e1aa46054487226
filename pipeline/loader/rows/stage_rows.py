"""Rows made ready: for every partition a rank serves, the rows of its current window in the order they are served.

Staged rows are copied once out of their blocks, so that a batch is filled by one compiled loop with no Python at a
row, whatever number of partitions it draws from. For P partitions, windows of C rows and rows of S:
P * C * (S ids + S/3 sequence lengths) are held, 22 MB at 64 partitions of one 256 KiB block; memory of partitions that
a rank never serves is never touched.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.pipeline.loader.blocks.packed_dataset import PackedDataset
from maskmill.pipeline.masking.numba_masks import count_selected
from maskmill.schemas.manifest import PackedManifest
from maskmill.schemas.rows import MIN_SEQUENCE_TOKENS, id_type


class StagedRows:
    """Rows copied out of their blocks into slots of C places.

    Args:
        num_slots: L.
        capacity: C, rows that a slot holds.
        seq_len: S.
        id_dtype: uint16 or uint32.
        num_masked: M, stored masks of a row; 0 where none are staged.

    Attributes:
        rows: `(L, C, S)` uint16 or uint32 token ids.
        row_ids: `(L, C)` uint64.
        lengths: `(L, C, S // 3)` uint16 sequence lengths.
        num_sequences: `(L, C)` int32, how many of them count.
        mask_positions: `(L, C, M)` uint16, static masks only; `mask_ids` and `mask_labels` beside it.
        num_masked: `(L, C)` int32, how many of them count.
    """

    def __init__(self, num_slots: int, capacity: int, seq_len: int, id_dtype: Any, num_masked: int) -> None:
        shape = (num_slots, capacity)
        self.rows = np.empty((*shape, seq_len), id_dtype)
        self.row_ids = np.empty(shape, np.uint64)
        self.lengths = np.empty((*shape, seq_len // MIN_SEQUENCE_TOKENS), np.uint16)
        self.num_sequences = np.empty(shape, np.int32)
        self.mask_positions = np.empty((*shape, num_masked), np.uint16)
        self.mask_ids = np.empty((*shape, num_masked), id_dtype)
        self.mask_labels = np.empty((*shape, num_masked), id_dtype)
        self.num_masked = np.zeros(shape, np.int32)

    @staticmethod
    def allocate(manifest: PackedManifest, num_slots: int, capacity: int, static: bool) -> StagedRows:
        """Room for rows of a dataset, with its stored masks or without."""
        ids = id_type(manifest.vocabulary.vocab_size).to_pandas_dtype()
        num_masked = count_selected(manifest.seq_len, manifest.masking.rate_ppm) if static else 0
        return StagedRows(num_slots, capacity, manifest.seq_len, ids, num_masked)

    @property
    def holds_masks(self) -> bool:
        """Whether stored masks are staged too."""
        return self.mask_positions.shape[2] > 0

    def move_to_front(self, slot: int, start: int, count: int) -> None:
        """Keep `count` rows from place `start` on, at the front of their slot."""
        for column in self._columns():
            column[slot, :count] = column[slot, start : start + count].copy()

    def copy(
        self,
        dataset: PackedDataset,
        slot: int,
        at: int,
        shard: int,
        blocks: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        epoch: int,
    ) -> None:
        """Copy rows to a slot from place `at` on.

        Args:
            dataset: Where from.
            slot: Where to.
            at: The first place.
            shard: Its shard.
            blocks: The blocks that hold the rows.
            rows: Places in these blocks laid end to end, in the order they are served.
            epoch: Decides which stored copy of the masks is taken.

        Raises:
            ShardCorruptError: A block is not what was written.
        """
        start = 0
        block_rows = dataset.manifest.block_rows
        first_row_id = int(dataset.shards.first_row_id[shard])
        copies = [epoch % dataset.manifest.copies] if self.holds_masks else []
        numbers = blocks.tolist()
        for number, block in zip(numbers, dataset.read_blocks(shard, numbers, copies), strict=True):
            block_row_id = np.uint64(first_row_id + number * block_rows)
            _copy_rows(block.input_ids, rows, start, at, block_row_id, self.rows[slot], self.row_ids[slot])
            offsets, lengths = block.sequence_offsets, block.sequence_lengths
            _copy_lists(offsets, lengths, rows, start, at, self.lengths[slot], self.num_sequences[slot])
            for copy in copies:
                offsets, *columns = block.masks[copy]
                staged = (self.mask_positions, self.mask_ids, self.mask_labels)
                for values, column in zip(columns, staged, strict=True):
                    _copy_lists(offsets, values, rows, start, at, column[slot], self.num_masked[slot])
            start += len(block)

    def take_rows(
        self,
        staged: StagedRows,
        slots: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
        targets: npt.NDArray[np.int64],
    ) -> None:
        """Copy rows that are staged elsewhere to places of slot 0.

        Args:
            staged: Where they stand.
            slots: `(m,)`, the slot of each there.
            places: `(m,)`, its place in that slot.
            targets: `(m,)`, its place here.
        """
        take_rows(
            (staged.rows, staged.row_ids, staged.lengths, staged.num_sequences), slots, places, targets,
            (self.rows[0], self.row_ids[0], self.lengths[0], self.num_sequences[0]),
        )  # fmt: skip
        if staged.holds_masks:
            take_masks(
                (staged.mask_positions, staged.mask_ids, staged.mask_labels, staged.num_masked), slots, places, targets,
                (self.mask_positions[0], self.mask_ids[0], self.mask_labels[0], self.num_masked[0]),
            )  # fmt: skip
        elif self.holds_masks:  # rows of a dataset with a rate of 0
            self.num_masked[0, targets] = 0

    def _columns(self) -> tuple[npt.NDArray[Any], ...]:
        staged = (self.rows, self.row_ids, self.lengths, self.num_sequences)
        masks = (self.mask_positions, self.mask_ids, self.mask_labels, self.num_masked)
        return staged + masks if self.holds_masks else staged


@njit(cache=True, nogil=True)
def _copy_rows(matrix: Any, rows: Any, start: int, at: int, first_row_id: np.uint64, out: Any, row_ids: Any) -> None:
    """Copy those rows that stand in a block (R, S), the `start`-th and following, to a slot (C, S), row i to `at + i`.

    Through a view of each row: with both indices in the inner loop it does not vectorise.
    """
    for i in range(len(rows)):
        row = rows[i] - start
        if 0 <= row < matrix.shape[0]:
            source, place = matrix[row], out[at + i]
            for j in range(source.shape[0]):
                place[j] = source[j]
            row_ids[at + i] = first_row_id + np.uint64(row)


@njit(cache=True, nogil=True)
def _copy_lists(offsets: Any, values: Any, rows: Any, start: int, at: int, out: Any, counts: Any) -> None:
    """The same for the lists of these rows, out (C, M), counts (C,); a block's reader saw to it that they fit."""
    for i in range(len(rows)):
        row = rows[i] - start
        if 0 <= row < len(offsets) - 1:
            first, length = offsets[row], offsets[row + 1] - offsets[row]
            counts[at + i] = length
            source, place = values[first : first + length], out[at + i]
            for j in range(source.shape[0]):
                place[j] = source[j]


@njit(cache=True, nogil=True)
def take_rows(staged: Any, slots: Any, places: Any, targets: Any, out: Any) -> None:
    """Copy rows, ids, lengths (0 behind the last) and numbers of sequences of staged rows to a batch's arrays."""
    rows, row_ids, lengths, counts = staged
    out_rows, out_ids, out_lengths, out_counts = out
    for i in range(len(slots)):
        slot, place, target = slots[i], places[i], targets[i]
        row, written = rows[slot, place], out_rows[target]  # views: their inner loops vectorise
        for j in range(row.shape[0]):
            written[j] = row[j]
        out_ids[target] = row_ids[slot, place]
        count = counts[slot, place]
        out_counts[target] = count
        staged_lengths, used, unused = lengths[slot, place], out_lengths[target, :count], out_lengths[target, count:]
        for j in range(used.shape[0]):
            used[j] = staged_lengths[j]
        for j in range(unused.shape[0]):
            unused[j] = 0


@njit(cache=True, nogil=True)
def take_masks(staged: Any, slots: Any, places: Any, targets: Any, out: Any) -> None:
    """Copy positions, ids, labels and numbers of stored masks of staged rows to a batch's arrays."""
    positions, ids, labels, counts = staged
    out_positions, out_ids, out_labels, out_counts = out
    for i in range(len(slots)):
        slot, place, target = slots[i], places[i], targets[i]
        count = counts[slot, place]
        out_counts[target] = count
        for j in range(count):
            out_positions[target, j] = positions[slot, place, j]
            out_ids[target, j] = ids[slot, place, j]
            out_labels[target, j] = labels[slot, place, j]
