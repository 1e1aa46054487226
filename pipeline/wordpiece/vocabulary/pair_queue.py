"""The queue of candidates for the next merge: a binary heap over flat arrays, for numba loops.

The highest count comes first, ties go to the smallest (left id, right id), then to the entry made first.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit


class Entries(NamedTuple):
    """Candidates of the queue and the heap over them."""

    pairs: npt.NDArray[np.int32]
    keys: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]  # when last pushed
    starts: npt.NDArray[np.int64]  # into the pool
    lengths: npt.NDArray[np.int32]
    heap: npt.NDArray[np.int32]


@njit(cache=True, nogil=True)
def _stands_before(entries, a, b):  # type: ignore[no-untyped-def]
    if entries.counts[a] != entries.counts[b]:
        return entries.counts[a] > entries.counts[b]
    if entries.keys[a] != entries.keys[b]:
        return entries.keys[a] < entries.keys[b]
    return a < b


@njit(cache=True, nogil=True)
def _push(entries, heap_size, entry):  # type: ignore[no-untyped-def]
    heap = entries.heap
    place = heap_size
    while place > 0:
        parent = (place - 1) >> 1
        if not _stands_before(entries, entry, heap[parent]):
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = entry


@njit(cache=True, nogil=True)
def replace_top(entries, heap_size, entry):  # type: ignore[no-untyped-def]
    """Sift `entry` down from the top of a heap of `heap_size` whose top is free."""
    heap = entries.heap
    place = 0
    while True:
        child = 2 * place + 1
        if child >= heap_size:
            break
        if child + 1 < heap_size and _stands_before(entries, heap[child + 1], heap[child]):
            child += 1
        if not _stands_before(entries, heap[child], entry):
            break
        heap[place] = heap[child]
        place = child
    heap[place] = entry


@njit(cache=True, nogil=True)
def reserve_entries(entries, num_entries, num_more):  # type: ignore[no-untyped-def]
    """The same candidates with space for `num_more` new ones."""
    if num_entries + num_more <= len(entries.keys):
        return entries
    capacity = 2 * (num_entries + num_more)
    wider = Entries(
        np.empty(capacity, np.int32),
        np.empty(capacity, np.int64),
        np.empty(capacity, np.int64),
        np.empty(capacity, np.int64),
        np.empty(capacity, np.int32),
        np.empty(capacity, np.int32),
    )
    wider.pairs[:num_entries] = entries.pairs[:num_entries]
    wider.keys[:num_entries] = entries.keys[:num_entries]
    wider.counts[:num_entries] = entries.counts[:num_entries]
    wider.starts[:num_entries] = entries.starts[:num_entries]
    wider.lengths[:num_entries] = entries.lengths[:num_entries]
    wider.heap[:num_entries] = entries.heap[:num_entries]
    return wider


@njit(cache=True, nogil=True)
def queue_lists(pairs, gathered, pool, entries, totals, sizes):  # type: ignore[no-untyped-def]
    """Turn the gathered lists into queue entries. sizes: [pool used, entries, heap]."""
    for index in range(totals[1]):
        pair = gathered.pairs[index]
        if pairs.list_lengths[pair] > 0:
            pairs.cursors[pair] = sizes[0]
            if pairs.counts[pair] > 0:
                entry = sizes[1]
                entries.pairs[entry] = pair
                entries.keys[entry] = pairs.keys[pair]
                entries.counts[entry] = pairs.counts[pair]
                entries.starts[entry] = sizes[0]
                entries.lengths[entry] = pairs.list_lengths[pair]
                _push(entries, sizes[2], entry)
                sizes[1] += 1
                sizes[2] += 1
            sizes[0] += pairs.list_lengths[pair]
            pairs.list_lengths[pair] = 0
            pairs.last_words[pair] = -1
        pool[pairs.cursors[pair]] = gathered.words[index]
        pairs.cursors[pair] += 1
    totals[1] = 0
    totals[2] = 0
