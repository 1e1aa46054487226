"""Count the repeated n-grams of words of one document, exactly.

An n-gram is found by a hash and then compared, so equal hashes of different n-grams cost time and change no count.
Hashes are polynomials modulo a prime, of which that of an n-gram follows from those of its words; two of 31 bits make
62, which fit into the signed integers that numba is quick with.

In all functions `letters` is `(L,)` code points of all words, one after the other, `ends` is `(W + 1,)` where each word
ends in them, from 0, and `hashed` is `(W, 4)`: two hashes of each word and the powers by which they shift others.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.pipeline.corpus.filters.characters import CodePoints

_PRIME = (1 << 31) - 1
_FACTORS = (0x2545F491, 0x1B873593)
"""Bases of the two hash polynomials: arbitrary numbers below the prime."""
_FIRST, _SECOND = _FACTORS
_SPREAD = 0x2127599BF4325C37
"""An odd number whose product with a hash has well mixed bits from the 20th on."""

Integers = npt.NDArray[np.int64]


@njit(cache=True, nogil=True, inline="always")
def _reduce(value: int) -> int:
    """A value below 2**62 modulo the prime."""
    value = (value & _PRIME) + (value >> 31)
    value = (value & _PRIME) + (value >> 31)
    return value - _PRIME if value >= _PRIME else value


@njit(cache=True, nogil=True)
def hash_words(letters: CodePoints, ends: Integers) -> Integers:
    """Hash every word; gives `hashed`."""
    hashed = np.empty((len(ends) - 1, 4), np.int64)
    for word in range(len(hashed)):
        first = second = 0
        first_power = second_power = 1
        for place in range(ends[word], ends[word + 1]):
            letter = np.int64(letters[place]) + 1
            first = _reduce(first * _FIRST + letter)
            second = _reduce(second * _SECOND + letter)
            first_power = _reduce(first_power * _FIRST)
            second_power = _reduce(second_power * _SECOND)
        hashed[word, 0], hashed[word, 1] = first, second
        hashed[word, 2], hashed[word, 3] = first_power, second_power
    return hashed


@njit(cache=True, nogil=True)
def number_words(letters: CodePoints, ends: Integers, hashed: Integers) -> Integers:
    """`(W,)` number of each word: that of the first place of an equal word."""
    num_words = len(hashed)
    numbers = np.empty(num_words, np.int64)
    table = _make_table(num_words)
    for word in range(num_words):
        slot = _find_slot(_join(hashed[word, 0], hashed[word, 1]), len(table))
        while table[slot] >= 0 and not _are_equal(letters, ends, table[slot], word, 1):
            slot = (slot + 1) & (len(table) - 1)
        if table[slot] < 0:
            table[slot] = word
        numbers[word] = table[slot]
    return numbers


@njit(cache=True, nogil=True)
def count_top_ngram(numbers: Integers, ends: Integers, size: int) -> int:
    """Characters in all occurrences of the n-gram that occurs most often, with a space between words.

    Of several it is the one that occurs first. If none occurs twice, it is the first of all.

    Args:
        numbers: `(W,)` as `number_words` gives them.
        ends: As above.
        size: Words of an n-gram.
    """
    num_ngrams = len(numbers) - size + 1
    if num_ngrams <= 0:
        return 0
    table = _make_table(num_ngrams)
    counts = np.zeros(num_ngrams, np.int64)
    for start in range(num_ngrams):
        key = 0
        for word in range(start, start + size):
            key = (key ^ (numbers[word] + 1)) * _SPREAD
            key ^= key >> 29
        slot = _find_slot(key, len(table))
        while table[slot] >= 0:
            same = True
            for word in range(size):
                same &= numbers[table[slot] + word] == numbers[start + word]
            if same:
                break
            slot = (slot + 1) & (len(table) - 1)
        if table[slot] < 0:
            table[slot] = start
        counts[table[slot]] += 1
    top = np.argmax(counts)
    characters: int = (ends[top + size] - ends[top] + size - 1) * counts[top]
    return characters


@njit(cache=True, nogil=True)
def count_repeated_ngrams(letters: CodePoints, ends: Integers, hashed: Integers, size: int) -> int:
    """Characters in n-grams that occurred before, without spaces; after one that did, the next begins behind it.

    N-grams are equal if their letters are, wherever the spaces between them are, as in the published code.

    Args:
        letters: As above.
        ends: As above.
        hashed: As above.
        size: Words of an n-gram.
    """
    num_ngrams = len(hashed) - size + 1
    if num_ngrams <= 0:
        return 0
    table = _make_table(num_ngrams)
    keys = np.empty(num_ngrams, np.int64)
    repeated = start = 0
    while start < num_ngrams:
        first, second = hashed[start, 0], hashed[start, 1]
        for word in range(start + 1, start + size):
            first = _reduce(first * hashed[word, 2] + hashed[word, 0])
            second = _reduce(second * hashed[word, 3] + hashed[word, 1])
        key = keys[start] = _join(first, second)
        slot = _find_slot(key, len(table))
        while table[slot] >= 0:
            before = table[slot]
            if keys[before] == key and _are_equal(letters, ends, before, start, size):
                break
            slot = (slot + 1) & (len(table) - 1)
        if table[slot] >= 0:
            repeated += ends[start + size] - ends[start]
            start += size
        else:
            table[slot] = start
            start += 1
    return repeated


@njit(cache=True, nogil=True, inline="always")
def _join(first: int, second: int) -> int:
    return (first << 31) | second


@njit(cache=True, nogil=True, inline="always")
def _find_slot(key: int, num_slots: int) -> int:
    """The slot of a table at which the search for a key begins."""
    return ((key * _SPREAD) >> 20) & (num_slots - 1)


@njit(cache=True, nogil=True, inline="always")
def _make_table(num_entries: int) -> npt.NDArray[np.int32]:
    """An empty table of at least twice as many slots, a power of two."""
    num_slots = 2
    while num_slots < 2 * num_entries:
        num_slots *= 2
    return np.full(num_slots, -1, np.int32)


@njit(cache=True, nogil=True, inline="always")
def _are_equal(letters: CodePoints, ends: Integers, one: int, other: int, size: int) -> bool:
    """Whether the words from two places on have the same letters."""
    length = ends[one + size] - ends[one]
    if ends[other + size] - ends[other] != length:
        return False
    place = 0
    while place < length and letters[ends[one] + place] == letters[ends[other] + place]:
        place += 1
    return bool(place == length)
