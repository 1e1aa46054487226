"""The order of rows: by a keyed hash, so that a plain reader gets no batches sorted by length."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.keyed_order import GAMMA, mix_64

_MASK_64 = 2**64 - 1


def row_order_key(
    first_document: npt.NDArray[np.uint64], start: npt.NDArray[np.uint32], seed: int
) -> npt.NDArray[np.uint64]:
    """Hashes what a row begins with to a key that rows are sorted by.

    Each input goes through the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
    number generators", OOPSLA 2014, figure 17), chained: `mix(mix(mix(seed) + document) + start)`, with the
    golden gamma added before each mix. Integers only, so the key is the same on every machine.

    Args:
        first_document: Document id of each row's first segment (shard * 2^32 + row in shard), uint64 (R,).
        start: Tokens of that document before the segment, uint32 (R,).
        seed: Any integer; taken modulo 2^64.

    Returns:
        Keys, uint64 (R,). Two rows may share a key: order them by document and start then.
    """
    gamma = np.uint64(GAMMA)
    keyed = mix_64(np.array([(seed + GAMMA) & _MASK_64], np.uint64))
    keyed = mix_64(first_document.astype(np.uint64) + keyed + gamma)
    return mix_64(keyed + start.astype(np.uint64) + gamma)


def order_rows(
    first_document: npt.NDArray[np.uint64], start: npt.NDArray[np.uint32], seed: int
) -> npt.NDArray[np.int64]:
    """The rows in the order they are written: by key, then document, then start, which is a total order.

    Only rows of pairs may begin alike. The n-th of these, as they are numbered, is ordered by its key mixed n - 1 times
    more, so that they do not end up side by side.

    Args:
        first_document: Document id of each row's first segment, uint64 (R,).
        start: Tokens of that document before the segment, uint32 (R,).
        seed: Key of the hash.

    Returns:
        Indices of rows, int64 (R,).
    """
    key = row_order_key(first_document, start, seed)
    repeats = _count_repeats(first_document, start)
    for more in range(int(repeats.max(initial=0))):
        again = repeats > more
        key[again] = mix_64(key[again] + np.uint64(GAMMA))
    return np.lexsort((start, first_document, key)).astype(np.int64, copy=False)


def _count_repeats(first_document: npt.NDArray[np.uint64], start: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """How many rows before each begin as it does, int64 (R,)."""
    order = np.lexsort((start, first_document))  # stable
    document, offset = first_document[order], start[order]
    begins = np.ones(order.size, np.bool_)
    begins[1:] = (document[1:] != document[:-1]) | (offset[1:] != offset[:-1])
    places = np.arange(order.size)
    repeats = np.empty(order.size, np.int64)
    repeats[order] = places - np.maximum.accumulate(np.where(begins, places, 0))
    return repeats
