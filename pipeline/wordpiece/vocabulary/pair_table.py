"""How often two pieces are adjacent, and in which words: a hash table in flat arrays, for numba loops."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Pairs(NamedTuple):
    """Two neighbouring pieces -> their count, and the list of words being gathered for the next entry."""

    slots: npt.NDArray[np.int32]  # pair number or -1; a power of two long, at most half full
    keys: npt.NDArray[np.int64]  # left id * 2**32 + right id
    counts: npt.NDArray[np.int64]
    last_words: npt.NDArray[np.int32]  # the last word on the list, so that a word is on it once
    list_lengths: npt.NDArray[np.int32]
    cursors: npt.NDArray[np.int64]  # where the next word of the list goes in the pool


class Gathered(NamedTuple):
    """Which word belongs on which pair's list, in the order met."""

    pairs: npt.NDArray[np.int32]
    words: npt.NDArray[np.int32]


@njit(cache=True, nogil=True)
def make_pairs(capacity: int) -> Pairs:
    """Make an empty table for this many pairs."""
    num_slots = 16
    while num_slots < 2 * capacity:
        num_slots *= 2
    return Pairs(
        np.full(num_slots, -1, np.int32),
        np.empty(capacity, np.int64),
        np.empty(capacity, np.int64),
        np.empty(capacity, np.int32),
        np.empty(capacity, np.int32),
        np.empty(capacity, np.int64),
    )


@njit(cache=True, nogil=True)
def _find_slot(slots, keys, key):  # type: ignore[no-untyped-def]
    mask = len(slots) - 1
    mixed = np.uint64(key) * _GOLDEN
    slot = np.int64(mixed >> np.uint64(33)) & mask
    while slots[slot] >= 0 and keys[slots[slot]] != key:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True, nogil=True)
def reserve_pairs(pairs, num_pairs, num_more):  # type: ignore[no-untyped-def]
    """The same table with space for `num_more` new pairs."""
    if num_pairs + num_more <= len(pairs.keys):
        return pairs
    wider = make_pairs(2 * (num_pairs + num_more))
    wider.keys[:num_pairs] = pairs.keys[:num_pairs]
    wider.counts[:num_pairs] = pairs.counts[:num_pairs]
    wider.last_words[:num_pairs] = pairs.last_words[:num_pairs]
    wider.list_lengths[:num_pairs] = pairs.list_lengths[:num_pairs]
    wider.cursors[:num_pairs] = pairs.cursors[:num_pairs]
    for pair in range(num_pairs):
        wider.slots[_find_slot(wider.slots, wider.keys, wider.keys[pair])] = pair
    return wider


@njit(cache=True, nogil=True)
def reserve_gathered(gathered, num_gathered, num_more):  # type: ignore[no-untyped-def]
    """The same lists with space for `num_more` new words."""
    if num_gathered + num_more <= len(gathered.words):
        return gathered
    wider = Gathered(
        np.empty(2 * (num_gathered + num_more), np.int32),
        np.empty(2 * (num_gathered + num_more), np.int32),
    )
    wider.pairs[:num_gathered] = gathered.pairs[:num_gathered]
    wider.words[:num_gathered] = gathered.words[:num_gathered]
    return wider


@njit(cache=True, nogil=True)
def add_to_pair(pairs, left, right, change, totals):  # type: ignore[no-untyped-def]
    """Change the count of (left, right), which is new at 0; returns its number. totals: [pairs, ...]."""
    key = (np.int64(left) << 32) | np.int64(right)
    slot = _find_slot(pairs.slots, pairs.keys, key)
    pair = np.int64(pairs.slots[slot])
    if pair < 0:
        pair = totals[0]
        totals[0] += 1
        pairs.slots[slot] = pair
        pairs.keys[pair] = key
        pairs.counts[pair] = 0
        pairs.last_words[pair] = -1
        pairs.list_lengths[pair] = 0
    pairs.counts[pair] += change
    return pair


@njit(cache=True, nogil=True)
def gather_word(pairs, gathered, pair, word, totals):  # type: ignore[no-untyped-def]
    """Put a word on the list of a pair, once. totals: [pairs, gathered, lists]."""
    if pairs.last_words[pair] == word:
        return
    pairs.last_words[pair] = word
    if pairs.list_lengths[pair] == 0:
        totals[2] += 1
    pairs.list_lengths[pair] += 1
    gathered.pairs[totals[1]] = pair
    gathered.words[totals[1]] = word
    totals[1] += 1
