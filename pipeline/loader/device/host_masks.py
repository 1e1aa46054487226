"""Masks that are drawn on the host, in the form in which stored ones are sent to a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from maskmill.pipeline.loader.device.transfer_layout import WrittenMasks
from maskmill.pipeline.masking.mask_plan import MaskPlan
from maskmill.pipeline.masking.numba_masks import draw_row
from maskmill.pipeline.masking.scratch import POSITIONS, SCRATCH_ROWS, SHOWN


def draw_into(
    masks: WrittenMasks,
    word_starts: NDArray[np.bool_],
    row_ids: NDArray[np.uint64],
    epochs: NDArray[np.int64],
    plans: Mapping[int, MaskPlan],
) -> None:
    """Draw the masks of rows of several epochs into their places in a buffer.

    Args:
        masks: The rows, and the places of their masks.
        word_starts: bool `(B, S)`, whether a word starts at each position; `(B, 0)` where the ids say it.
        row_ids: uint64 `(B,)`.
        epochs: int64 `(B,)`.
        plans: Of each of these epochs.
    """
    rows, *lists, counts = masks
    for epoch, plan in plans.items():
        _draw_into(rows, word_starts, row_ids, epochs, epoch, plan, tuple(lists), counts)


@njit(cache=True, nogil=True)
def _draw_into(
    rows: Any, word_starts: Any, row_ids: Any, epochs: Any, epoch: int, plan: MaskPlan, lists: Any, counts: Any
) -> None:
    positions, shown, wanted = lists
    scratch = np.empty((SCRATCH_ROWS, rows.shape[1]), np.uint32)
    for b in range(rows.shape[0]):
        if epochs[b] == epoch:
            counts[b] = draw_row(rows[b], word_starts[b], row_ids[b], plan, scratch)
            for j in range(counts[b]):
                position = scratch[POSITIONS, j]
                positions[b, j] = position
                shown[b, j] = scratch[SHOWN, j]
                wanted[b, j] = rows[b, position]
