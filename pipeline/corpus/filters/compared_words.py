"""The words of a text as decontamination compares them, and hashes of their n-grams.

A word is a run of letters, digits and combining marks in lower case, each character by itself; all else is between
words. Chinese ideographs and kana are words of their own, since no space divides them. In all functions `codes` is
`(L,)` code points of a text, and `starts` and `stops` are `(W,)` where each word is in them.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.pipeline.corpus.filters.characters import CodePoints

NUM_CODE_POINTS = 0x110000
PART, ALONE = 1, 2
_ALONE = ((0x3041, 0x3097), (0x30A1, 0x30FB), (0x31F0, 0x3200), (0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00))
_ALONE_BEYOND = (0x20000, 0x40000)
_BASE = np.uint64(0x9E3779B97F4A7C15)
_SPREAD = np.uint64(0xD6E8FEB86659FD93)
_WORD_END = np.uint64(0x1F123BB5)
_HALF = np.uint64(32)

Integers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


@cache
def tables() -> tuple[npt.NDArray[np.uint8], CodePoints]:
    """`(NUM_CODE_POINTS,)` whether each code point is part of a word or one alone, and its lower case."""
    classes = np.zeros(NUM_CODE_POINTS, np.uint8)
    lower = np.arange(NUM_CODE_POINTS, dtype=np.uint32)
    for code in range(NUM_CODE_POINTS):
        character = chr(code)
        if character.isalnum() or unicodedata.category(character)[0] == "M":
            classes[code] = PART
            if len(small := character.lower()) == 1:
                lower[code] = ord(small)
    for first, stop in (*_ALONE, _ALONE_BEYOND):
        classes[first:stop][classes[first:stop] == PART] = ALONE
    return classes, lower


@njit(cache=True, nogil=True)
def find_words(
    codes: CodePoints, classes: npt.NDArray[np.uint8], lower: CodePoints
) -> tuple[Integers, Integers, Hashes]:
    """`starts`, `stops` and the hash of each word."""
    num_words = 0
    before = 0
    for code in codes:
        kind = classes[code]
        num_words += kind == ALONE or (kind == PART and before != PART)
        before = kind
    starts, stops = np.empty(num_words, np.int64), np.empty(num_words, np.int64)
    hashes = np.empty(num_words, np.uint64)
    word, before, hashed = -1, 0, _WORD_END
    for place in range(len(codes)):
        code = codes[place]
        kind = classes[code]
        if kind == ALONE or (kind == PART and before != PART):
            word += 1
            starts[word] = place
            hashed = _WORD_END
        if kind:
            hashed = _mix(hashed ^ np.uint64(lower[code]))
            hashes[word] = hashed
            stops[word] = place + 1
        before = kind
    return starts, stops, hashes


@njit(cache=True, nogil=True)
def hash_ngrams(hashes: Hashes, size: int) -> Hashes:
    """`(max(W - size + 1, 0),)` hash of each n-gram, from those of its words, in constant time for each."""
    num_ngrams = max(len(hashes) - size + 1, 0)
    hashed = np.empty(num_ngrams, np.uint64)
    if not num_ngrams:
        return hashed
    power, rolled = np.uint64(1), np.uint64(0)
    for word in range(size):
        rolled = rolled * _BASE + hashes[word]
        power *= _BASE
    hashed[0] = _mix(rolled ^ np.uint64(size))
    for start in range(1, num_ngrams):
        rolled = rolled * _BASE + hashes[start + size - 1] - power * hashes[start - 1]
        hashed[start] = _mix(rolled ^ np.uint64(size))
    return hashed


@njit(cache=True, nogil=True)
def spell_words(codes: CodePoints, starts: Integers, stops: Integers, lower: CodePoints) -> CodePoints:
    """The words as they are compared, with a space between them."""
    num_words = len(starts)
    spelt = np.empty(max(0, (stops - starts).sum() + num_words - 1), np.uint32)
    end = 0
    for word in range(num_words):
        if word:
            spelt[end] = 32
            end += 1
        for place in range(starts[word], stops[word]):
            spelt[end] = lower[codes[place]]
            end += 1
    return spelt


@njit(cache=True, nogil=True, inline="always")
def _mix(value: np.uint64) -> np.uint64:
    value = (value ^ (value >> _HALF)) * _SPREAD
    return value ^ (value >> _HALF)
