"""A counting table of byte strings in flat arrays, for numba loops.

Python's `Counter` over `bytes.split()` makes an object for every occurrence; here a string is copied once, when
first seen. Strings stand end to end in one pool, in the order first seen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

FNV_PRIME = np.uint64(0x100000001B3)
FNV_START = np.uint64(0xCBF29CE484222325)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)
HASH, START, STOP, COUNT = 0, 1, 2, 3


class ByteTable(NamedTuple):
    """Distinct byte strings and how often each occurs.

    What belongs to one string stands side by side (one cache line a look-up instead of four: 1.6 times faster).
    """

    slots: npt.NDArray[np.int32]  # string number or -1; a power of two long, at most half full
    records: npt.NDArray[np.int64]  # (strings, 4): FNV-1a hash, start and stop in the pool, count
    pool: npt.NDArray[np.uint8]
    used: npt.NDArray[np.int64]  # [strings, pool bytes]


def make_table(max_strings: int, pool_bytes: int) -> ByteTable:
    """Make an empty table with room for this many strings and bytes; memory is touched only as it fills."""
    num_slots = 1 << max(4, (2 * max_strings - 1).bit_length())
    return ByteTable(
        np.full(num_slots, -1, np.int32),
        np.empty((max_strings, 4), np.int64),
        np.empty(pool_bytes, np.uint8),
        np.zeros(2, np.int64),
    )


def clear_table(table: ByteTable) -> None:
    """Empty a table, keeping its arrays."""
    table.slots[:] = -1
    table.used[:] = 0


def widen_table(table: ByteTable, max_strings: int, pool_bytes: int) -> ByteTable:
    """The same strings, numbers and counts in a table of another size, which must hold them."""
    wider = make_table(max_strings, pool_bytes)
    num_strings, pool_used = table.used.tolist()
    wider.records[:num_strings] = table.records[:num_strings]
    wider.pool[:pool_used] = table.pool[:pool_used]
    wider.used[:] = table.used
    _fill_slots(wider.slots, wider.records, num_strings)
    return wider


@njit(cache=True, nogil=True)
def _fill_slots(slots, records, num_strings):  # type: ignore[no-untyped-def]
    mask = len(slots) - 1
    for string in range(num_strings):
        slot = np.int64((np.uint64(records[string, HASH]) * _GOLDEN) >> _SHIFT) & mask
        while slots[slot] >= 0:
            slot = (slot + 1) & mask
        slots[slot] = string


@njit(cache=True, nogil=True)
def has_room(table, num_strings, num_bytes):  # type: ignore[no-untyped-def]
    """Whether this many more strings with this many bytes in all are sure to fit."""
    return table.used[0] + num_strings <= len(table.records) and table.used[1] + num_bytes <= len(table.pool)


@njit(cache=True, nogil=True)
def add_string(table, data, start, stop, hash_value, count):  # type: ignore[no-untyped-def]
    """Add `count` occurrences of data[start:stop], whose FNV-1a hash is given; there must be room."""
    records = table.records
    mask = len(table.slots) - 1
    slot = np.int64((hash_value * _GOLDEN) >> _SHIFT) & mask
    hash_signed = np.int64(hash_value)
    length = stop - start
    while True:
        string = np.int64(table.slots[slot])
        if string < 0:
            break
        begin = records[string, START]
        if records[string, HASH] == hash_signed and records[string, STOP] - begin == length:
            offset = 0
            while offset < length and table.pool[begin + offset] == data[start + offset]:
                offset += 1
            if offset == length:
                records[string, COUNT] += count
                return
        slot = (slot + 1) & mask
    string, begin = table.used[0], table.used[1]
    for offset in range(length):
        table.pool[begin + offset] = data[start + offset]
    table.slots[slot] = string
    records[string, HASH] = hash_signed
    records[string, START] = begin
    records[string, STOP] = begin + length
    records[string, COUNT] = count
    table.used[0] = string + 1
    table.used[1] = begin + length
