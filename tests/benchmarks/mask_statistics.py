"""What masks of rows come to: rates, shares and lengths, counted over any number of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from maskmill.pipeline.masking.hashing import hash_position, split_row_key
from maskmill.pipeline.masking.mask_plan import MaskPlan
from maskmill.pipeline.masking.numba_masks import draw_row
from maskmill.pipeline.masking.plan_masks import plan_masks
from maskmill.pipeline.masking.scratch import POSITIONS, SCRATCH_ROWS, SHOWN
from maskmill.pipeline.masking.tables import UNMASKABLE, MaskTables
from maskmill.schemas.masking import Masking

MAX_LENGTH = 64


@dataclass(frozen=True)
class MaskStatistics:
    """Sums over masked rows.

    Attributes:
        rows: How many.
        maskable: Tokens that could be selected.
        selected: Tokens that were.
        masked: Of them, shown as [MASK].
        kept: Of them, shown as they are; random tokens that happen to be the true ones too.
        drawn: int64 (65,), how many lengths of so many words the masks' hashes mean, over all tokens.
    """

    rows: int
    maskable: int
    selected: int
    masked: int
    kept: int
    drawn: NDArray[np.int64]

    @property
    def rate(self) -> float:
        """Share of the maskable tokens that was selected."""
        return self.selected / self.maskable

    @property
    def mean_drawn(self) -> float:
        """Words of a unit, as drawn."""
        return float(self.drawn @ np.arange(len(self.drawn)) / self.drawn.sum())


def count_masks(rows: NDArray[Any], epochs: int, masking: Masking, tables: MaskTables) -> MaskStatistics:
    """Mask rows (R, S) in each of so many epochs, and count what comes of it."""
    sums = np.zeros(4, np.int64)
    drawn = np.zeros(MAX_LENGTH + 1, np.int64)
    for epoch in range(epochs):
        _count(rows, plan_masks(masking, tables, epoch), sums, drawn)
    return MaskStatistics(len(rows) * epochs, *sums.tolist(), drawn)


@njit(cache=True, nogil=True)
def _count(rows: Any, plan: MaskPlan, sums: Any, drawn: Any) -> None:
    scratch = np.empty((SCRATCH_ROWS, rows.shape[1]), np.uint32)
    beyond = plan.kinds.shape[0] - 1
    for b in range(rows.shape[0]):
        row = rows[b]
        word_starts = np.empty(0, np.bool_)
        count = draw_row(row, word_starts, np.uint64(b), plan, scratch)
        b0, b1 = split_row_key(plan.length_key, np.uint64(b))
        for i in range(row.shape[0]):
            if plan.kinds[min(np.int64(row[i]), beyond)] != UNMASKABLE:
                sums[0] += 1
                word = np.uint64(hash_position(b0, b1, np.uint32(i)))
                length = 1
                while length < plan.length_thresholds.shape[0] and word >= plan.length_thresholds[length - 1]:
                    length += 1
                drawn[length] += 1
        sums[1] += count
        for j in range(count):
            position = scratch[POSITIONS, j]
            shown = scratch[SHOWN, j]
            sums[2] += np.int64(shown == plan.mask_id)
            sums[3] += np.int64(shown == row[position])
