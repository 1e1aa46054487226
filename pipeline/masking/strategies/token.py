"""Tokens one by one: the same share of every row, without a sort, or each by itself.

For exact counts, those of the m maskable tokens of a row are selected that have the `count` smallest keys
`hash32 * 2**16 + position`. The hashes of a row are all different (see `hashing`), so any threshold that exactly
`count` of them do not exceed selects the same positions. Hashes are uniform, so interpolation search meets such a
threshold after 4 guesses on rows of 512 and 5 on rows of 65,536, each a vectorised count over the row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from maskmill.pipeline.masking.hashing import hash_position, split_row_key
from maskmill.pipeline.masking.mask_plan import MaskPlan
from maskmill.pipeline.masking.row_kernel import row_kernel
from maskmill.pipeline.masking.strategies.strategy import Strategy
from maskmill.pipeline.masking.strategies.weights import draw_key, find_weight
from maskmill.pipeline.masking.tables import UNMASKABLE
from maskmill.schemas import masking, shares

EXACT_TOKENS = Strategy(selector=0)
ANY_TOKENS = Strategy(selector=1)

_NEVER = np.uint32(2**32 - 1)
_INTERPOLATIONS = 16

count_selected = row_kernel(masking.count_selected)
"""For use inside numba kernels."""
_PPM = np.uint64(shares.PPM)
_SHIFT_32 = np.uint64(32)


@row_kernel
def find_threshold(hashes: Any, num_maskable: np.int64, count: np.int64) -> np.uint32:
    """Find a word that exactly `count` of the hashes do not exceed; 0 < count < num_maskable.

    Invariant: `below` hashes are <= low, `upto` maskable ones are <= high, and below < count < upto, so the
    wanted word lies strictly between. Bisection, should interpolation not end, bounds the search at 48 guesses
    whatever the hashes.
    """
    low, below = np.int64(-1), np.int64(0)
    high, upto = np.int64(_NEVER), np.int64(num_maskable)
    for step in range(_INTERPOLATIONS + 32):
        guess = (low + high) // 2
        if step < _INTERPOLATIONS:
            guess = low + (high - low) * (2 * (count - below) + 1) // (2 * (upto - below + 1))
            guess = min(max(guess, low + 1), high - 1)
        threshold = np.uint32(guess)
        found = np.uint32(0)
        for i in range(hashes.shape[0]):
            found = np.uint32(found + np.uint32(hashes[i] <= threshold))
        num_found = np.int64(found)
        if num_found == count:
            break
        if num_found < count:
            low, below = guess, num_found
        else:
            high, upto = guess, num_found
    return threshold


@row_kernel
def select_tokens(ids: Any, row_id: np.uint64, plan: MaskPlan, hashes: Any, positions: Any) -> np.int64:
    """Write the selected positions ascending to the front of `positions`; return how many they are."""
    b0, b1 = split_row_key(plan.selection_key, row_id)
    maskable = np.uint32(0)
    if plan.by_kind:
        beyond = np.int64(plan.kinds.shape[0] - 1)
        for i in range(ids.shape[0]):
            wanted = plan.kinds[min(np.int64(ids[i]), beyond)] != UNMASKABLE
            maskable = np.uint32(maskable + np.uint32(wanted))
            hashes[i] = draw_key(b0, b1, np.uint32(i), find_weight(ids[i], plan.weights)) if wanted else _NEVER
            positions[i] = np.uint32(wanted)
    else:
        # Four comparisons, not a table: they vectorise.
        for i in range(ids.shape[0]):
            token = np.uint32(ids[i])
            wanted = (token != plan.pad_id) & (token != plan.cls_id) & (token != plan.sep_id) & (token != plan.mask_id)
            maskable = np.uint32(maskable + np.uint32(wanted))
            hashes[i] = hash_position(b0, b1, np.uint32(i)) if wanted else _NEVER
            positions[i] = np.uint32(wanted)
    num_maskable = np.int64(maskable)
    count = np.int64(count_selected(num_maskable, plan.rate_ppm))
    filled = np.int64(0)
    if count == 0:
        return count
    if count == num_maskable:  # the largest word may be a real hash here, so no threshold tells it from _NEVER
        for i in range(ids.shape[0]):
            wanted = positions[i] != 0
            positions[filled] = np.uint32(i)
            filled += np.int64(wanted)
        return count
    threshold = find_threshold(hashes, num_maskable, count)
    for i in range(ids.shape[0]):
        positions[filled] = np.uint32(i)
        filled += np.int64(hashes[i] <= threshold)
    return count


@row_kernel
def select_any_tokens(ids: Any, row_id: np.uint64, plan: MaskPlan, positions: Any) -> np.int64:
    """Select each token by itself; as `select_tokens` otherwise.

    The hashes are the same, so the exact count of a row would be filled by the same tokens first.
    """
    b0, b1 = split_row_key(plan.selection_key, row_id)
    threshold = (np.uint64(plan.rate_ppm) << _SHIFT_32) // _PPM
    beyond = np.int64(plan.kinds.shape[0] - 1)
    filled = np.int64(0)
    for i in range(ids.shape[0]):
        positions[filled] = np.uint32(i)
        drawn = np.uint64(hash_position(b0, b1, np.uint32(i))) < threshold
        filled += np.int64(drawn & (plan.kinds[min(np.int64(ids[i]), beyond)] != UNMASKABLE))
    return filled
