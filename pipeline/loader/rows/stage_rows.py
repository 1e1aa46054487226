"""Rows made ready: for every partition a rank serves, the rows of its current window in the order they are served.

Staged rows are copied once out of their blocks, so that a batch is filled by one compiled loop with no Python at a
row, for any number of partitions. For P partitions, windows of C rows and rows of S:
P * C * (S ids + S/3 sequence lengths) are held, 22 MB at 64 partitions of one 256 KiB block, for pairs S/2 segment
lengths and S/3 labels of a byte more, and S bytes more where datasets store where words start; memory of partitions
that a rank never serves is never touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.pipeline.loader.blocks.packed_dataset import PackedDataset
from maskmill.schemas.manifest import PackedManifest
from maskmill.schemas.rows import MASK_POSITIONS, Per, RowColumn, id_type, most_values, staged_lists


@dataclass(frozen=True)
class StagedLists:
    """The lists of staged rows, of all columns of one kind.

    Attributes:
        counts: `(L, C)` int32, how many values a row has.
        values: `(L, C, m)` of each column, by its name; a row's values come first.
    """

    counts: npt.NDArray[np.int32]
    values: dict[str, npt.NDArray[Any]]


class StagedRows:
    """Rows copied out of their blocks into slots of C places: the columns that `ROW_COLUMNS` says are staged.

    Args:
        num_slots: L.
        capacity: C, rows that a slot holds.
        seq_len: S.
        id_dtype: uint16 or uint32.
        num_masked: M, stored masks of a row; 0 where none are staged.
        has_pairs: Whether sequences are pairs, whose labels and segments are staged too.
        has_words: Whether it is staged where words start.

    Attributes:
        rows: `(L, C, S)` uint16 or uint32 token ids.
        word_starts: `(L, C, S)` bool, whether a word starts at a position; `(L, C, 0)` where it is not staged.
        row_ids: `(L, C)` uint64.
        lists: Of each kind of column that is staged; those of the masks hold nothing where M is 0.
    """

    def __init__(
        self,
        num_slots: int,
        capacity: int,
        seq_len: int,
        id_dtype: Any,
        num_masked: int,
        *,
        has_pairs: bool = False,
        has_words: bool = False,
    ) -> None:
        shape = (num_slots, capacity)
        most = most_values(seq_len, num_masked)
        self.rows = np.empty((*shape, seq_len), id_dtype)
        self.word_starts = np.empty((*shape, seq_len if has_words else 0), np.bool_)
        self.row_ids = np.empty(shape, np.uint64)
        self.lists = {
            per: StagedLists(
                np.zeros(shape, np.int32),
                {column.name: np.empty((*shape, most[per]), dtype_of(column, id_dtype)) for column in columns},
            )
            for per, columns in staged_lists(pairs=has_pairs).items()
        }
        self.has_pairs, self.has_words = has_pairs, has_words
        self._held = {per: lists for per, lists in self.lists.items() if most[per]}

    @staticmethod
    def allocate(
        manifest: PackedManifest, num_slots: int, capacity: int, static: bool, has_words: bool | None = None
    ) -> StagedRows:
        """Memory for rows of a dataset, with its stored masks or without.

        `has_words` says whether it is staged where words start; by default, if the dataset stores it.
        """
        ids = id_type(manifest.vocabulary.vocab_size).to_pandas_dtype()
        num_masked = manifest.masking.most_predicted(manifest.seq_len) if static else 0
        has_pairs = manifest.pairs is not None
        seq_len = manifest.seq_len
        has_words = manifest.has_word_starts if has_words is None else has_words
        return StagedRows(num_slots, capacity, seq_len, ids, num_masked, has_pairs=has_pairs, has_words=has_words)

    @property
    def seq_len(self) -> int:
        """S."""
        return int(self.rows.shape[2])

    @property
    def num_masked(self) -> int:
        """M, the most stored masks of a row."""
        return int(self.lists[Per.MASKED].values[MASK_POSITIONS].shape[2])

    def move_to_front(self, slot: int, start: int, count: int) -> None:
        """Keep `count` rows from place `start` on, at the front of their slot."""
        columns = [array for lists in self._held.values() for array in (lists.counts, *lists.values.values())]
        for column in (self.rows, self.word_starts, self.row_ids, *columns):
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
        copy = epoch % dataset.manifest.copies if self.num_masked else 0
        numbers = blocks.tolist()
        read = dataset.read_blocks(shard, numbers, [copy] if self.num_masked else [])
        for number, block in zip(numbers, read, strict=True):
            block_row_id = np.uint64(first_row_id + number * block_rows)
            _copy_rows(block.input_ids, rows, start, at, block_row_id, self.rows[slot], self.row_ids[slot])
            if self.has_words:
                word_starts = dataset.mark_word_starts(block)
                _copy_rows(word_starts, rows, start, at, block_row_id, self.word_starts[slot], self.row_ids[slot])
            for per, lists in self._held.items():
                stored = block.lists(per, copy)
                for name, out in lists.values.items():
                    values = stored.values[name]
                    _copy_lists(stored.offsets, values, rows, start, at, out[slot], lists.counts[slot])
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
            staged: Where they are.
            slots: `(m,)`, the slot of each there.
            places: `(m,)`, its place in that slot.
            targets: `(m,)`, its place here.
        """
        self.row_ids[0, targets] = staged.row_ids[slots, places]
        self.word_starts[0, targets] = staged.word_starts[slots, places]
        take_rows(staged.rows, slots, places, targets, self.rows[0])
        for per, lists in self.lists.items():
            for name, out in lists.values.items():
                take_lists(staged.lists[per], name, slots, places, targets, out[0], lists.counts[0])


def dtype_of(column: RowColumn, id_dtype: Any) -> np.dtype[Any]:
    """The type of a column's values in memory, beside token ids of some type."""
    dtype: np.dtype[Any] = np.dtype(id_dtype if column.type is None else column.type.to_pandas_dtype())
    return dtype


@njit(cache=True, nogil=True)
def _copy_rows(matrix: Any, rows: Any, start: int, at: int, first_row_id: np.uint64, out: Any, row_ids: Any) -> None:
    """Copy those rows that are in a block (R, S), the `start`-th and following, to a slot (C, S), row i to `at + i`.

    It uses a view of each row: with both indices in the inner loop it would not vectorise.
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
    """The same for the lists of these rows, out (C, M), counts (C,); the block's reader has checked that they fit."""
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
    """Copy staged rows (L, C, S) to targets in out (B, S)."""
    for i in range(len(slots)):
        row, written = staged[slots[i], places[i]], out[targets[i]]  # views: their inner loops vectorise
        for j in range(row.shape[0]):
            written[j] = row[j]


def take_lists(
    staged: StagedLists,
    name: str,
    slots: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    targets: npt.NDArray[np.int64],
    out: npt.NDArray[Any],
    counts: npt.NDArray[np.int32],
) -> None:
    """Copy the lists of a column of staged rows to targets in out (B, m), and their lengths to counts (B,)."""
    if staged.values[name].shape[2]:
        _take_lists(staged.values[name], staged.counts, slots, places, targets, out, counts)
    else:  # rows without masks, of a dataset with a rate of 0
        counts[targets] = 0


@njit(cache=True, nogil=True)
def _take_lists(values: Any, staged_counts: Any, slots: Any, places: Any, targets: Any, out: Any, counts: Any) -> None:
    for i in range(len(slots)):
        slot, place, target = slots[i], places[i], targets[i]
        count = staged_counts[slot, place]
        counts[target] = count
        source, written = values[slot, place, :count], out[target]
        for j in range(source.shape[0]):
            written[j] = source[j]
