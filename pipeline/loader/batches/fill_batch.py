"""The loader's hot loop: rows to everything a batch carries, one compiled pass over each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.pipeline.loader.rows.found_rows import FoundRows
from maskmill.pipeline.masking.numba_masks import MaskPlan, mask_row
from maskmill.schemas.masking import IGNORE_INDEX


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


def fill_batch(found: FoundRows, plans: Mapping[int, MaskPlan] | None) -> BatchArrays:
    """Make the fields of a batch.

    Args:
        found: Its rows.
        plans: The masks of every epoch that a row is in; `None` takes the stored ones.
    """
    staged, slots, places = found.staged, found.slots, found.places
    shape = (len(slots), staged.rows.shape[2])
    ids = np.empty((3, *shape), np.int64)  # one piece of memory: 2 us less than three
    segment_ids = np.empty(shape, np.int32)
    cu_seqlens = np.empty(shape[0] * (staged.lengths.shape[2] + 1) + 1, np.int32)  # a row may add its padding, too
    row_ids = np.empty(shape[0], np.uint64)
    rows = (staged.rows, staged.row_ids, staged.lengths, staged.num_sequences)
    out = (ids, segment_ids, cu_seqlens, row_ids)
    if plans is None:
        masks = (staged.mask_positions, staged.mask_ids, staged.mask_labels, staged.num_masked)
        ends, longest = _fill_stored(rows, masks, slots, places, out)
    else:
        for epoch, plan in plans.items():
            ends, longest = _fill_drawn(rows, slots, places, found.epochs, epoch, plan, out)
    return BatchArrays(ids[0], ids[1], ids[2], segment_ids, cu_seqlens[:ends], int(longest), row_ids)


@njit(cache=True, nogil=True)
def _fill_drawn(rows: Any, slots: Any, places: Any, epochs: Any, epoch: int, plan: MaskPlan, out: Any) -> Any:
    """Fill the rows that are in an epoch, with masks of its plan; number the sequences of all of them."""
    ids, segment_ids, cu_seqlens, row_ids = out
    staged, staged_ids, lengths, counts = rows
    scratch = np.empty((3, staged.shape[2]), np.uint32)
    for b in range(len(slots)):
        row_ids[b] = staged_ids[slots[b], places[b]]
        if epochs[b] == epoch:
            mask_row(staged[slots[b], places[b]], row_ids[b], plan, ids[0, b], ids[1, b], scratch)
    return _mark_sequences(lengths, counts, slots, places, ids[2], segment_ids, cu_seqlens)


@njit(cache=True, nogil=True)
def _fill_stored(rows: Any, masks: Any, slots: Any, places: Any, out: Any) -> Any:
    ids, segment_ids, cu_seqlens, row_ids = out
    staged, staged_ids, lengths, counts = rows
    positions, shown_ids, true_ids, num_masked = masks
    for b in range(len(slots)):
        slot, place = slots[b], places[b]
        row_ids[b] = staged_ids[slot, place]
        row, shown, wanted = staged[slot, place], ids[0, b], ids[1, b]  # views: their inner loops vectorise
        for i in range(row.shape[0]):
            shown[i] = row[i]
        for i in range(row.shape[0]):
            wanted[i] = IGNORE_INDEX
        for j in range(num_masked[slot, place]):
            position = positions[slot, place, j]
            shown[position] = shown_ids[slot, place, j]
            wanted[position] = true_ids[slot, place, j]
    return _mark_sequences(lengths, counts, slots, places, ids[2], segment_ids, cu_seqlens)


@njit(cache=True, nogil=True)
def _mark_sequences(
    lengths: Any, counts: Any, slots: Any, places: Any, position_ids: Any, segment_ids: Any, cu_seqlens: Any
) -> Any:
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
    positions, segments = position_ids[start : start + length], segment_ids[start : start + length]
    for i in range(positions.shape[0]):
        positions[i] = i
    for i in range(segments.shape[0]):
        segments[i] = number
