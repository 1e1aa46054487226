"""The loader's hot loop: staged rows to everything a batch carries, one compiled pass over each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from pipeline.loader.stage_rows import StagedRows
from pipeline.masking.numba_masks import MaskPlan, mask_row
from schemas.masking import IGNORE_INDEX


@dataclass(frozen=True)
class BatchArrays:
    """What a batch carries, as NumPy arrays of B rows and S positions.

    Attributes:
        input_ids: int64 `(B, S)`.
        labels: int64 `(B, S)`, IGNORE_INDEX where nothing is predicted.
        position_ids: int64 `(B, S)`, from 0 in every sequence and in the padding.
        segment_ids: int32 `(B, S)`, number of the sequence in its row from 1; 0 is padding.
        cu_seqlens: int32 `(N + 1,)` over the flattened rows; a row's padding counts as a sequence of its own.
        max_seqlen: The longest of them.
        row_ids: uint64 `(B,)`.
    """

    input_ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    position_ids: npt.NDArray[np.int64]
    segment_ids: npt.NDArray[np.int32]
    cu_seqlens: npt.NDArray[np.int32]
    max_seqlen: int
    row_ids: npt.NDArray[np.uint64]


def fill_batch(
    staged: StagedRows, slots: npt.NDArray[np.int64], places: npt.NDArray[np.int64], plan: MaskPlan | None
) -> BatchArrays:
    """Make a batch of staged rows.

    Args:
        staged: Rows made ready.
        slots: `(B,)`, the slot of each row of the batch.
        places: `(B,)`, its place in that slot.
        plan: The masks of this epoch; `None` takes the stored ones.
    """
    shape = (len(slots), staged.rows.shape[2])
    input_ids = np.empty(shape, np.int64)
    labels = np.empty(shape, np.int64)
    position_ids = np.empty(shape, np.int64)
    segment_ids = np.empty(shape, np.int32)
    # A row adds its sequences and perhaps its padding.
    cu_seqlens = np.empty(int(staged.num_sequences[slots, places].sum()) + len(slots) + 1, np.int32)
    if plan is None:
        _copy_stored_masks(
            staged.rows, staged.mask_positions, staged.mask_ids, staged.mask_labels, staged.num_masked,
            slots, places, input_ids, labels,
        )  # fmt: skip
    else:
        _draw_masks(staged.rows, staged.row_ids, slots, places, plan, input_ids, labels)
    ends, longest = _mark_sequences(
        staged.lengths, staged.num_sequences, slots, places, position_ids, segment_ids, cu_seqlens
    )
    return BatchArrays(
        input_ids=input_ids,
        labels=labels,
        position_ids=position_ids,
        segment_ids=segment_ids,
        cu_seqlens=cu_seqlens[:ends],
        max_seqlen=int(longest),
        row_ids=staged.row_ids[slots, places],
    )


@njit(cache=True, nogil=True)
def _draw_masks(rows: Any, row_ids: Any, slots: Any, places: Any, plan: MaskPlan, input_ids: Any, labels: Any) -> None:
    scratch = np.empty((3, rows.shape[2]), np.uint32)
    for b in range(len(slots)):
        row_id = row_ids[slots[b], places[b]]
        mask_row(rows[slots[b], places[b]], row_id, plan, input_ids[b], labels[b], scratch)


@njit(cache=True, nogil=True)
def _copy_stored_masks(
    rows: Any,
    positions: Any,
    ids: Any,
    true_ids: Any,
    counts: Any,
    slots: Any,
    places: Any,
    input_ids: Any,
    labels: Any,
) -> None:
    for b in range(len(slots)):
        slot, place = slots[b], places[b]
        row, shown, wanted = rows[slot, place], input_ids[b], labels[b]  # views: their inner loops vectorise
        for i in range(row.shape[0]):
            shown[i] = row[i]
        for i in range(row.shape[0]):
            wanted[i] = IGNORE_INDEX
        for j in range(counts[slot, place]):
            position = positions[slot, place, j]
            shown[position] = ids[slot, place, j]
            wanted[position] = true_ids[slot, place, j]


@njit(cache=True, nogil=True)
def _mark_sequences(
    lengths: Any, counts: Any, slots: Any, places: Any, position_ids: Any, segment_ids: Any, cu_seqlens: Any
) -> tuple[int, np.int64]:
    """Write positions, segment numbers and cumulative lengths; returns how many of those and the longest."""
    seq_len = position_ids.shape[1]
    cu_seqlens[0] = 0
    filled = 1
    longest = np.int64(0)
    for b in range(len(slots)):
        start = np.int64(0)
        for j in range(counts[slots[b], places[b]]):
            length = np.int64(lengths[slots[b], places[b], j])
            _mark(position_ids[b], segment_ids[b], start, length, j + 1)
            start += length
            longest = max(longest, length)
            cu_seqlens[filled] = b * seq_len + start
            filled += 1
        if start < seq_len:
            _mark(position_ids[b], segment_ids[b], start, seq_len - start, 0)
            longest = max(longest, seq_len - start)
            cu_seqlens[filled] = (b + 1) * seq_len
            filled += 1
    return filled, longest


@njit(cache=True, nogil=True)
def _mark(position_ids: Any, segment_ids: Any, start: np.int64, length: np.int64, number: int) -> None:
    for i in range(length):
        position_ids[start + i] = i
    for i in range(length):
        segment_ids[start + i] = number
