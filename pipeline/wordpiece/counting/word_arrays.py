"""Words as flat arrays, for numba loops: UTF-8 bytes end to end, and where each word begins."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]


def flatten_words(words: pa.Array | pa.ChunkedArray) -> tuple[Bytes, Offsets]:
    """The bytes of a string or binary array without nulls, and its offsets into them, one more than words.

    The bytes are those of the array, not a copy, where it is one chunk.
    """
    flat = words.cast(pa.large_binary())
    if isinstance(flat, pa.ChunkedArray):
        flat = flat.combine_chunks() if flat.num_chunks != 1 else flat.chunk(0)
    if len(flat) == 0:
        return freeze(np.zeros(0, np.uint8)), freeze(np.zeros(1, np.int64))
    _, offset_buffer, data_buffer = flat.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[flat.offset : flat.offset + len(flat) + 1]
    return freeze(np.frombuffer(data_buffer or b"", np.uint8)), freeze(offsets)


def freeze(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A read-only view of an array: for numba being writable is part of the type, and it compiles for each type."""
    view = array.view()
    view.flags.writeable = False
    return view


@njit(cache=True, nogil=True)
def _mark_first_rows(data, offsets, is_first):  # type: ignore[no-untyped-def]
    for row in range(1, len(is_first)):
        start, before = offsets[row], offsets[row - 1]
        length = offsets[row + 1] - start
        same = start - before == length
        place = 0
        while same and place < length:
            same = data[start + place] == data[before + place]
            place += 1
        is_first[row] = not same


def mark_first_rows(data: Bytes, offsets: Offsets) -> npt.NDArray[np.bool_]:
    """Mark the rows (R,) whose word is another than that of the row before."""
    is_first = np.ones(len(offsets) - 1, np.bool_)
    _mark_first_rows(data, offsets, is_first)
    return is_first
