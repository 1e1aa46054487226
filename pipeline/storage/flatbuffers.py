"""Tables of flatbuffers, read with every place checked against the bytes at hand.

A table begins with the signed distance back to its vtable, which holds its own size, that of the table and the place
of each field. What the verifier of flatbuffers would refuse in a table or field that is read is refused here: places
outside the bytes, and places that are not aligned to what they hold. So what is accepted here, Arrow accepts.
The layout is described in "FlatBuffers internals", the rules are those of `verifier.h`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_OFFSET_BYTES = 4
_VTABLE_HEAD = 4  # its own size and that of the table, two bytes each


@njit(cache=True, nogil=True)
def read_number(data: Any, at: int, size: int) -> Any:
    """A little-endian integer of 2 (unsigned), 4 or 8 (signed) bytes; the caller checks that they are there."""
    number = np.uint64(0)
    for i in range(size):
        number |= np.uint64(data[at + i]) << np.uint64(8 * i)
    if size == 4:
        return np.int64(np.int32(np.uint32(number)))
    return np.int64(number)


@njit(cache=True, nogil=True)
def find_table(data: Any, start: int, stop: int, at: int) -> int:
    """The place of the table that the offset at `at` leads to; -1 if it or its vtable is not in `data[start:stop]`."""
    table = _follow(data, start, stop, at)
    if table < 0:
        return -1
    vtable = table - read_number(data, table, 4)
    if vtable < start or vtable + _VTABLE_HEAD > stop or (vtable - start) % 2:
        return -1
    size = read_number(data, vtable, 2)
    return table if size % 2 == 0 and size >= _VTABLE_HEAD and vtable + size <= stop else -1


@njit(cache=True, nogil=True)
def _follow(data: Any, start: int, stop: int, at: int) -> int:
    """The place of the four bytes that the offset at `at` leads to; -1 if they are not in `data[start:stop]`."""
    if at < start or at + _OFFSET_BYTES > stop:
        return -1
    distance = read_number(data, at, 4)
    target = at + distance
    return target if distance > 0 and target + 4 <= stop and (target - start) % 4 == 0 else -1


@njit(cache=True, nogil=True)
def find_field(data: Any, start: int, stop: int, table: int, number: int, size: int) -> int:
    """The place of a field of a table that `find_table` gave; 0 if the table leaves it out.

    -1 if there is no table, or the field is not aligned to its size, or not in `data[start:stop]`.
    """
    if table < start:
        return -1
    vtable = table - read_number(data, table, 4)
    entry = _VTABLE_HEAD + 2 * number
    if entry + 2 > read_number(data, vtable, 2):
        return 0
    inside = read_number(data, vtable + entry, 2)
    if inside == 0:
        return 0
    field = table + inside
    return field if field + size <= stop and (field - start) % size == 0 else -1


@njit(cache=True, nogil=True)
def find_vector(data: Any, start: int, stop: int, table: int, number: int, item_bytes: int) -> Any:
    """The start of a vector's items and their number; (0, 0) if it is left out, (-1, 0) if it is outside."""
    field = find_field(data, start, stop, table, number, _OFFSET_BYTES)
    if field <= 0:
        return field, 0
    vector = _follow(data, start, stop, field)
    if vector < 0:
        return -1, 0
    count = read_number(data, vector, 4) & 0xFFFFFFFF
    if vector + 4 + count * item_bytes > stop:
        return -1, 0
    return vector + 4, count
