"""Keyed content hashes: the order of documents, the choice of the held-out ones and exact duplicates.

The order is that of a 128-bit xxh3 of the text keyed with the seed, so it is a function of the set of documents and
the seed alone. Which documents are held out is decided by a second hash with another key: with the same key,
the held-out documents would be the first of the order.

Where documents count as equal whose text differs in case or white space alone, what is hashed and compared is the text
in which both are normalised: equal documents must meet in one bucket, and none may be held out of another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash

UInt64s = npt.NDArray[np.uint64]
Comparison = Callable[[bytes], bytes]
"""What of a text, UTF-8, is hashed, and compared with that of others."""


def compare_bytes(text: bytes) -> bytes:
    """The text itself."""
    return text


def compare_words(text: bytes) -> bytes:
    """The text in one case, by Unicode's full case folding, with a space for each run of white space between words."""
    return " ".join(text.decode().casefold().split()).encode()


def comparison_of(deduplicate: bool | str) -> Comparison:
    """How texts are compared with a value of `documents.deduplicate`."""
    return compare_words if deduplicate == "normalised" else compare_bytes


@dataclass(frozen=True)
class ContentHashes:
    """Hashes of N documents.

    Attributes:
        high: `(N,)` uint64, the upper half of the order's hash.
        low: `(N,)` uint64, its lower half.
        held_out: `(N,)` bool.
    """

    high: UInt64s
    low: UInt64s
    held_out: npt.NDArray[np.bool_]


def hash_documents(
    texts: Sequence[bytes], seed: int, held_out_share: float, compare: Comparison = compare_bytes
) -> ContentHashes:
    """Hash documents by content.

    Args:
        texts: UTF-8 bytes of each document.
        seed: Key of both hashes.
        held_out_share: Expected share of documents to hold out.
        compare: What of them is hashed.
    """
    order_key = xxhash.xxh3_64_intdigest(f"maskmill order {seed}".encode())
    held_out_key = xxhash.xxh3_64_intdigest(f"maskmill held out {seed}".encode())
    threshold = int(held_out_share * (1 << 64))
    digests = bytearray()
    held_out = np.empty(len(texts), np.bool_)
    for number, text in enumerate(map(compare, texts)):
        digests += xxhash.xxh3_128_digest(text, order_key)
        held_out[number] = xxhash.xxh3_64_intdigest(text, held_out_key) < threshold
    halves = np.frombuffer(digests, dtype=">u8").reshape(-1, 2).astype(np.uint64)
    return ContentHashes(np.ascontiguousarray(halves[:, 0]), np.ascontiguousarray(halves[:, 1]), held_out)


def assign_to_intervals(high: UInt64s, num_intervals: int) -> npt.NDArray[np.int64]:
    """Which of `num_intervals` equal intervals of the hash's range each document falls into.

    Exact integer arithmetic on the upper 32 bits: floor(h * n / 2**32).
    """
    return ((high >> np.uint64(32)) * np.uint64(num_intervals) >> np.uint64(32)).astype(np.int64)


def sort_by_hash(high: UInt64s, low: UInt64s) -> npt.NDArray[np.intp]:
    """The order of the hashes; equal ones keep the order they came in (`lexsort` is stable on every CPU)."""
    return np.lexsort((low, high))


def find_duplicates(
    high: UInt64s, low: UInt64s, texts: Sequence[bytes], compare: Comparison = compare_bytes
) -> npt.NDArray[np.bool_]:
    """Which documents of a list sorted by hash equal an earlier one, by what is compared of them.

    Two different texts with one hash are both kept: xxh3 is not a cryptographic hash, and a file from others may
    contain constructed collisions.
    """
    duplicate = np.zeros(len(texts), dtype=np.bool_)
    same_hash = np.flatnonzero((high[1:] == high[:-1]) & (low[1:] == low[:-1])) + 1
    group_end = -1
    seen: set[bytes] = set()
    for index in same_hash.tolist():
        if index != group_end + 1:
            seen = {compare(texts[index - 1])}
        compared = compare(texts[index])
        duplicate[index] = compared in seen
        seen.add(compared)
        group_end = index
    return duplicate
