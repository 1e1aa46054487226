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

    Args:
        first_document: Document id of each row's first segment, uint64 (R,).
        start: Tokens of that document before the segment, uint32 (R,).
        seed: Key of the hash.

    Returns:
        Indices of rows, int64 (R,).
    """
    key = row_order_key(first_document, start, seed)
    return np.lexsort((start, first_document, key)).astype(np.int64, copy=False)
