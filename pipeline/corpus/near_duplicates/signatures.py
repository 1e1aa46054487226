"""MinHash signatures of documents: the smallest hashes of their shingles under each of K permutations.

A shingle is a run of so many words. Two documents have the same minimum under a random permutation with the probability
of their Jaccard similarity, the share of the shingles of both that are in either (Broder, "On the resemblance and
containment of documents", 1997). A shingle is hashed to 32 bits; permutation k is the bijection `a[k] * x + b[k]`
modulo 2**32, with odd `a[k]`.

A document is read once, character by character, so that one of 64 MiB needs no more memory than its text. All
arithmetic is of integers. 30 million shingles of 112 permutations take a second on one core.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.pipeline.corpus.near_duplicates.characters import (
    IGNORED,
    KIND_SHIFT,
    LETTER,
    MARK,
    NUM_CHARACTERS,
    SEPARATOR,
    WORD,
)
from maskmill.pipeline.keyed_order import derive_key

UInt32s = npt.NDArray[np.uint32]
UInt64s = npt.NDArray[np.uint64]

PERMUTATIONS_STREAM = 0x6D696E68_61736821  # "minhash!" in ASCII
SHINGLES_AT_ONCE = 512
"""Hashed before they meet the permutations: they stay in the first cache."""
NO_MINIMUM = (1 << 32) - 1

# Typed: in numba an unsigned word that meets a Python int becomes a float64 or a wider integer.
_WORD_FACTOR, _WORD_SEED = np.uint64(0x9E3779B97F4A7C15), np.uint64(0x2545F4914F6CDD1D)
_SHINGLE_FACTOR, _CHECK_FACTOR = np.uint64(0xD6E8FEB86659FD93), np.uint64(0xC2B2AE3D27D4EB4F)
_BAND_FACTOR = np.uint64(0xFF51AFD7ED558CCD)
_ONE, _SHIFT_29, _SHIFT_32 = np.uint64(1), np.uint64(29), np.uint64(32)
_LOWERED = np.uint32((1 << KIND_SHIFT) - 1)


@dataclass(frozen=True)
class Permutations:
    """K permutations of 32-bit words.

    Attributes:
        factors: `(K,)` uint32, odd.
        addends: `(K,)` uint32.
    """

    factors: UInt32s
    addends: UInt32s

    @staticmethod
    def of(seed: int, count: int) -> Permutations:
        """The first permutations that belong to a seed."""
        drawn = np.array([derive_key(PERMUTATIONS_STREAM, seed, k) for k in range(count)], np.uint64)
        return Permutations(drawn.astype(np.uint32) | np.uint32(1), (drawn >> _SHIFT_32).astype(np.uint32))


@njit(cache=True, nogil=True)
def sign_documents(  # noqa: C901  # one pass over the characters; numba inlines no generator
    text: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int32],
    characters: UInt32s,
    factors: UInt32s,
    addends: UInt32s,
    shingle_words: int,
    minima: UInt32s,
    exact: UInt64s,
) -> npt.NDArray[np.int64]:
    """Sign N documents.

    Args:
        text: Their UTF-8, one after the other, validated.
        offsets: `(N + 1,)` where each begins.
        characters: From `tabulate_characters`.
        factors: `(K,)` of the permutations.
        addends: `(K,)`.
        shingle_words: Words of a shingle.
        minima: `(N, K)`, filled; of a document without a shingle with `NO_MINIMUM`.
        exact: `(N, 2)`, filled with 128 bits of all the document's words, where they are fewer than those of a shingle.

    Returns:
        `(N,)` words of each document.
    """
    num_words = np.zeros(len(offsets) - 1, np.int64)
    last_words = np.zeros(shingle_words, np.uint64)
    shingles = np.empty(SHINGLES_AT_ONCE, np.uint32)
    minima[:] = NO_MINIMUM
    for document in range(len(offsets) - 1):
        place, stop = offsets[document], offsets[document + 1]
        words = filled = 0
        word, check = _WORD_SEED, _WORD_SEED
        opened: int | np.int64 = SEPARATOR  # the kind of the word that is being read
        while place <= stop:
            entry = np.uint32(0)  # behind the end is a separator
            if place < stop:
                byte = np.uint32(text[place])
                if byte < 0x80:
                    entry = characters[byte]
                    place += 1
                else:
                    following = 1 if byte < 0xE0 else 2 if byte < 0xF0 else 3
                    code_point = byte & np.uint32(0x3F >> following)
                    for ahead in range(1, following + 1):
                        code_point = np.uint32(code_point << 6) | np.uint32(text[place + ahead] & 0x3F)
                    place += following + 1
                    if code_point < NUM_CHARACTERS:
                        entry = characters[code_point]
            else:
                place += 1
            kind = np.int64(entry >> KIND_SHIFT)
            if kind == IGNORED:
                continue
            if opened != SEPARATOR and (kind in (SEPARATOR, WORD) or (kind == LETTER and opened == WORD)):
                last_words[words % shingle_words] = word
                words += 1
                if words >= shingle_words:
                    shingle = _WORD_SEED
                    for back in range(words - shingle_words, words):
                        shingle = (shingle ^ last_words[back % shingle_words]) * _SHINGLE_FACTOR
                        shingle ^= shingle >> _SHIFT_32
                    shingles[filled] = np.uint32(shingle)
                    filled += 1
                    if filled == SHINGLES_AT_ONCE:
                        _lower_minima(shingles, filled, factors, addends, minima[document])
                        filled = 0
                else:
                    check = (check ^ word) * _CHECK_FACTOR
                    check ^= check >> _SHIFT_29
                word, opened = _WORD_SEED, SEPARATOR
            if kind != SEPARATOR:
                letter = np.uint64(entry & _LOWERED)
                word = (word ^ letter) * _WORD_FACTOR
                word ^= word >> _SHIFT_32
                if words < shingle_words:
                    check = (check ^ (letter + _ONE)) * _CHECK_FACTOR
                    check ^= check >> _SHIFT_29
                opened = LETTER if kind == MARK and opened == SEPARATOR else opened if kind == MARK else kind
        _lower_minima(shingles, filled, factors, addends, minima[document])
        num_words[document] = words
        if words < shingle_words:
            whole = _WORD_SEED
            for number in range(words):
                whole = (whole ^ last_words[number]) * _SHINGLE_FACTOR
                whole ^= whole >> _SHIFT_32
            exact[document, 0], exact[document, 1] = whole, check
    return num_words


@njit(cache=True, nogil=True)
def _lower_minima(shingles: UInt32s, filled: int, factors: UInt32s, addends: UInt32s, minima: UInt32s) -> None:
    """Work shingles into the minima of a document."""
    for k in range(len(factors)):
        factor, addend, least = factors[k], addends[k], minima[k]
        for place in range(filled):
            least = min(least, np.uint32(np.uint32(factor * shingles[place]) + addend))
        minima[k] = least


@njit(cache=True, nogil=True)
def hash_bands(minima: UInt32s, bands: int, rows: int, keys: UInt64s) -> None:
    """Hash each band of N signatures to 128 bits.

    Args:
        minima: `(N, K)` with K = bands * rows.
        bands: Of a signature.
        rows: Minima of a band.
        keys: `(N, bands, 2)`, filled.
    """
    for document in range(len(minima)):
        for band in range(bands):
            first = (_WORD_SEED ^ np.uint64(band)) * _BAND_FACTOR
            second = (_WORD_FACTOR ^ np.uint64(band)) * _CHECK_FACTOR
            for row in range(band * rows, (band + 1) * rows):
                minimum = np.uint64(minima[document, row])
                first = (first ^ minimum) * _BAND_FACTOR
                first ^= first >> _SHIFT_32
                second = (second ^ minimum) * _CHECK_FACTOR
                second ^= second >> _SHIFT_29
            keys[document, band, 0], keys[document, band, 1] = first, second
