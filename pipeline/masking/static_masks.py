"""Static copies: masks made once, when rows are written, in the sparse form that packed shards store."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from maskmill.pipeline.masking.mask_plan import MaskPlan
from maskmill.pipeline.masking.numba_masks import check_rows, check_word_starts, draw_row
from maskmill.pipeline.masking.plan_masks import plan_masks
from maskmill.pipeline.masking.scratch import POSITIONS, SCRATCH_ROWS, SHOWN
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.schemas.masking import Masking


@njit(cache=True, nogil=True)
def _mask_sparsely(
    rows: Any,
    word_starts: Any,
    row_ids: Any,
    plan: MaskPlan,
    offsets: Any,
    positions: Any,
    masked_ids: Any,
    labels: Any,
) -> None:
    scratch = np.empty((SCRATCH_ROWS, rows.shape[1]), dtype=np.uint32)
    filled = np.int64(0)
    offsets[0] = 0
    for b in range(rows.shape[0]):
        count = draw_row(rows[b], word_starts[b], row_ids[b], plan, scratch)
        for j in range(count):
            position = scratch[POSITIONS, j]
            positions[filled] = position
            masked_ids[filled] = scratch[SHOWN, j]
            labels[filled] = rows[b, position]
            filled += 1
        offsets[b + 1] = filled


def static_masks(
    rows: NDArray[Any],
    row_ids: NDArray[Any],
    copy: int,
    masking: Masking,
    tables: MaskTables,
    word_starts: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.uint16], NDArray[Any], NDArray[Any]]:
    """Make one static copy of the masks of rows: copy k is the dynamic mask of epoch k, to the bit; empty at rate 0.

    Args:
        rows: uint16 or uint32 (B, S), ids as packed; S at most 65,536.
        row_ids: uint64 (B,), or int64 with the same bits.
        copy: Counted from 0.
        masking: The settings in force.
        tables: Built from the dataset's vocabulary.
        word_starts: bool (B, S), whether a word starts at each position, where rows store it; else their ids say it.

    Returns:
        `offsets` int32 (B + 1,), where row b's entries are those from `offsets[b]` to `offsets[b + 1]`;
        `positions` uint16, ascending in each row; `masked_ids`, what the model reads there, and `labels`, the
        true ids, both of the rows' dtype.

    Raises:
        ValueError: A shape or dtype is not as described above, the rows' dtype cannot hold every id of the
            vocabulary, or there are too many selected positions for int32 offsets.
    """
    if rows.dtype not in (np.uint16, np.uint32):
        raise ValueError(f"packed rows are uint16 or uint32, got {rows.dtype}")
    if tables.vocabulary.vocab_size > int(np.iinfo(rows.dtype).max) + 1:
        raise ValueError(f"{rows.dtype} cannot hold the {tables.vocabulary.vocab_size} ids of the vocabulary")
    ids, keys = check_rows(rows, row_ids)
    num_rows, seq_len = ids.shape
    most = num_rows * masking.most_predicted(seq_len)
    if most > np.iinfo(np.int32).max:
        raise ValueError(f"{num_rows} rows may select {most} positions, more than int32 offsets count: split them")
    offsets = np.empty(num_rows + 1, dtype=np.int32)
    positions = np.empty(most, dtype=np.uint16)
    masked_ids = np.empty(most, dtype=ids.dtype)
    labels = np.empty(most, dtype=ids.dtype)
    starts = check_word_starts(word_starts, ids)
    _mask_sparsely(ids, starts, keys, plan_masks(masking, tables, copy), offsets, positions, masked_ids, labels)
    used = int(offsets[-1])
    return offsets, positions[:used].copy(), masked_ids[:used].copy(), labels[:used].copy()
