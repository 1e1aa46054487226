"""Tokens each by itself, at a rate that each sequence draws: the forward process of masked diffusion.

A sequence begins at each [CLS]. Its rate is uniform on [low, high] in whole ppm (MDLM, arXiv 2406.07524, section 3;
LLaDA, arXiv 2502.09992, section 2.1), and every token of it is selected with that probability. Lowering either bound
selects a subset: rates fall with it, and the words of the tokens stay the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from maskmill.pipeline.masking.hashing import hash_position, split_row_key
from maskmill.pipeline.masking.mask_plan import MaskPlan
from maskmill.pipeline.masking.row_kernel import row_kernel
from maskmill.pipeline.masking.strategies.strategy import Strategy
from maskmill.pipeline.masking.tables import UNMASKABLE
from maskmill.schemas.shares import PPM

SEQUENCE_TOKENS = Strategy(selector=4)

_PPM = np.uint64(PPM)
_SHIFT_32 = np.uint64(32)


@row_kernel
def draw_rate(b0: np.uint32, b1: np.uint32, start: np.uint32, least_ppm: np.int64, most_ppm: np.int64) -> np.uint64:
    """The rate of the sequence that begins at a position, in ppm; for use inside numba kernels."""
    width = np.uint64(most_ppm - least_ppm + 1)
    return np.uint64(least_ppm) + ((np.uint64(hash_position(b0, b1, start)) * width) >> _SHIFT_32)


@row_kernel
def select_at_sequence_rates(ids: Any, row_id: np.uint64, plan: MaskPlan, positions: Any) -> np.int64:
    """Write the selected positions ascending to the front of `positions`; return how many they are."""
    rate0, rate1 = split_row_key(plan.rate_key, row_id)
    b0, b1 = split_row_key(plan.selection_key, row_id)
    beyond = np.int64(plan.kinds.shape[0] - 1)
    threshold = (draw_rate(rate0, rate1, np.uint32(0), plan.least_ppm, plan.rate_ppm) << _SHIFT_32) // _PPM
    filled = np.int64(0)
    for i in range(ids.shape[0]):
        if np.uint32(ids[i]) == plan.cls_id:
            rate = draw_rate(rate0, rate1, np.uint32(i), plan.least_ppm, plan.rate_ppm)
            threshold = (rate << _SHIFT_32) // _PPM
        positions[filled] = np.uint32(i)
        drawn = np.uint64(hash_position(b0, b1, np.uint32(i))) < threshold
        filled += np.int64(drawn & (plan.kinds[min(np.int64(ids[i]), beyond)] != UNMASKABLE))
    return filled
