"""The random choices of pairs: hashes of where they are made, so that nothing but the place decides them.

    key      = absorb(absorb(absorb(absorb(0, STREAM), seed), duplicate), document shard)      64 bits
    key      = the two words that split_row_key(key, document) gives, the second one the higher
    words    = split_row_key(key, chunk)                 the two words of a document's n-th pair, from 0
    draw     = hash_position(words, counter) * count div 2**32                a number below count

`absorb` and the two hashes are those of masks (see `maskmill.pipeline.masking.hashing`), under another stream. Each
choice has a counter of its own, so an independent program can make them in any order.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from maskmill.pipeline.keyed_order import derive_key
from maskmill.pipeline.masking.hashing import hash_position, split_row_key

PAIR_STREAM = 0x706169725F647277  # "pair_drw" in ASCII

IS_SHORT, SHORT_TARGET, SPLIT, KIND, OTHER_DOCUMENT, OTHER_START, TRUNCATE = range(7)
"""The counters. The first two belong to a document, and use the words of its chunk 0; token number t that a pair loses
has the counter `TRUNCATE + t`."""
SHORT_IN = 10
"""One document in so many is made into shorter pairs."""

_SHIFT_32 = np.uint64(32)


def derive_pair_key(seed: int, duplicate: int, document_shard: int) -> np.uint64:
    """The key of all draws of one duplicate of a document shard."""
    return derive_key(PAIR_STREAM, seed, duplicate, document_shard)


@njit(cache=True, nogil=True)
def derive_document_key(key: np.uint64, document: int) -> np.uint64:
    """The key of the draws of one document."""
    low, high = split_row_key(key, np.uint64(document))
    return np.uint64(low) | (np.uint64(high) << _SHIFT_32)


@njit(cache=True, nogil=True)
def draw_below(words: tuple[np.uint32, np.uint32], counter: int, count: int) -> int:
    """A number from 0 to `count - 1`; `count` is below 2^32."""
    drawn = np.uint64(hash_position(words[0], words[1], np.uint32(counter)))
    return int((drawn * np.uint64(count)) >> _SHIFT_32)
