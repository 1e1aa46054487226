"""Weights of tokens: a token of weight w draws w hashes and keeps the smallest.

The smallest of w uniform draws is above x with the probability (1 - x)^w. So of any tokens each has the smallest key
with a probability proportional to its weight, and so has each of those that are left after it: sampling without
replacement by weight (Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006), in integers. The
first draw is the hash of the position itself, so weights of 1 change nothing, and hashes of a row are all different, so
ties cannot occur.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from maskmill.pipeline.masking.hashing import hash_position
from maskmill.pipeline.masking.row_kernel import row_kernel
from maskmill.schemas.rows import MAX_SEQ_LEN

_NEXT_DRAW = np.uint32(MAX_SEQ_LEN)  # no position of a row


@row_kernel
def find_weight(token: Any, weights: Any) -> np.uint32:
    """The weight of an id; 1 where all weigh the same."""
    if weights.shape[0] == 0:
        return np.uint32(1)
    return np.uint32(weights[min(np.int64(token), np.int64(weights.shape[0] - 1))])


@row_kernel
def draw_key(b0: np.uint32, b1: np.uint32, position: np.uint32, weight: np.uint32) -> np.uint32:
    """The smallest of as many hashes of a position as it weighs."""
    key = hash_position(b0, b1, position)
    for draw in range(1, weight):
        key = min(key, hash_position(b0, b1, np.uint32(position + np.uint32(draw) * _NEXT_DRAW)))
    return np.uint32(key)
