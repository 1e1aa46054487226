"""The words that fix the mask of a row, derived on the host for rows of different epochs.

They are the whole of what a mask knows of seed, epoch and row id (see `hashing`): two words of 32 bits for each of
three streams. A device that is sent them is spared the small kernels, over thirty, that would derive them there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from maskmill.pipeline.keyed_order import absorb
from maskmill.pipeline.masking.hashing import ACTION_STREAM, REPLACEMENT_STREAM, SELECTION_STREAM, split_row_key

STREAMS = (SELECTION_STREAM, ACTION_STREAM, REPLACEMENT_STREAM)

_SHIFT_32 = np.uint64(32)


def derive_seed_keys(seed: int) -> tuple[int, ...]:
    """What an epoch is absorbed into, for each of `STREAMS`: unsigned 64-bit words."""
    return tuple(absorb(stream, seed) for stream in STREAMS)


def derive_row_words(seed: int, epochs: NDArray[np.int64], row_ids: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Derive the two words `b0` and `b1` of rows for each of `STREAMS`, in their order.

    Args:
        seed: Of the masks, 0 <= seed < 2**64.
        epochs: int64 `(B,)`, the epoch that each row is masked for, from 0.
        row_ids: uint64 `(B,)`.

    Returns:
        int64 `(2, 3, B)`, words in [0, 2**32).

    Raises:
        ValueError: An epoch is negative.
    """
    if len(epochs) and epochs.min() < 0:
        raise ValueError(f"epochs count from 0, got {epochs.min()}")
    words = np.empty((2, len(STREAMS), len(row_ids)), np.int64)
    _derive_row_words(np.array(derive_seed_keys(seed), np.uint64), epochs.view(np.uint64), row_ids, words)
    return words


@njit(cache=True, nogil=True)
def _derive_row_words(seed_keys: Any, epochs: Any, row_ids: Any, words: Any) -> None:
    for stream in range(len(seed_keys)):
        for b in range(len(row_ids)):
            # An epoch is absorbed as a row id is: the two halves of what comes of it are the stream's key.
            low, high = split_row_key(seed_keys[stream], epochs[b])
            stream_key = np.uint64(low) | (np.uint64(high) << _SHIFT_32)
            words[0, stream, b], words[1, stream, b] = split_row_key(stream_key, row_ids[b])
