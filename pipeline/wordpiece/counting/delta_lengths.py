"""How long the texts of a Parquet page of encoding DELTA_BYTE_ARRAY are, found without making them.

Such a page has, for each text, how many bytes it shares with the text before, how long the rest is, and the rests.
Both lists of numbers are packed as differences, 128 to a block, so that a few bytes can state a billion long texts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

LEVELS = 18
"""Windows of 2^0 to 2^17 texts are measured."""
_BLOCK, _MINIBLOCKS = 128, 4  # as Arrow writes them
_IN_MINIBLOCK = _BLOCK // _MINIBLOCKS
_MAX_WIDTH, _MAX_VARINT_BITS = 32, 35
_LIMIT = 1 << 31


class TextLengths:
    """Measures the texts of pages that follow each other.

    Attributes:
        num_texts: So far.
        num_bytes: Of them.
        most: `(LEVELS,)` int64, bytes of the longest 2^level texts that begin at a multiple of 2^level.
    """

    def __init__(self) -> None:
        self.num_texts = 0
        self.num_bytes = 0
        self.most: npt.NDArray[np.int64] = np.zeros(LEVELS, np.int64)
        self._held: npt.NDArray[np.int64] = np.zeros(LEVELS, np.int64)

    def add_page(self, data: bytes | memoryview, num_texts: int) -> None:
        """Measure one more page.

        Args:
            data: The page, not compressed.
            num_texts: That it must have.

        Raises:
            ValueError: The page is invalid.
        """
        view = np.frombuffer(data, np.uint8)
        view.flags.writeable = False  # to numba another type
        num_bytes = int(_measure(view, num_texts, self.num_texts, self._held, self.most))
        if num_bytes < 0:
            raise ValueError("a page of words is invalid")
        self.num_bytes += num_bytes
        self.num_texts += num_texts

    def fit_window(self, most_bytes: int) -> int:
        """The largest power of two of texts that never take more bytes than these; at least 1."""
        rest = 0
        fitting = 1
        for level in range(LEVELS):
            if max(int(self.most[level]), rest) > most_bytes:
                break
            fitting = 1 << level
            if self.num_texts >> level & 1:
                rest += int(self._held[level])
        return fitting


@njit(cache=True, nogil=True)
def _read_varint(data: Any, at: int) -> Any:
    """A number and the place behind it, which is -1 where there is none."""
    number, shift = np.int64(0), np.int64(0)
    while 0 <= at < len(data) and shift < _MAX_VARINT_BITS:
        number |= np.int64(data[at] & 0x7F) << shift
        at += 1
        shift += 7
        if data[at - 1] < 0x80:
            return number, at
    return np.int64(0), -1


@njit(cache=True, nogil=True)
def _read_head(data: Any, at: int, num_values: int) -> Any:
    """The first value of a packed list and the place behind it, which is -1 where the list is invalid."""
    block, at = _read_varint(data, at)
    miniblocks, at = _read_varint(data, at)
    total, at = _read_varint(data, at)
    first, at = _read_varint(data, at)
    if block != _BLOCK or miniblocks != _MINIBLOCKS or total != num_values:
        return np.int64(0), -1
    return first >> 1 ^ -(first & 1), at


@njit(cache=True, nogil=True)
def _read_widths(data: Any, at: int, num_values: int, widths: Any) -> Any:
    """The least difference of a block, and the places of its packed bits and behind them, -1 where it is invalid."""
    least, at = _read_varint(data, at)
    if at < 0 or at + _MINIBLOCKS > len(data):
        return np.int64(0), -1, -1
    stop = at + _MINIBLOCKS
    for number in range(_MINIBLOCKS):
        widths[number] = data[at + number]
        if widths[number] > _MAX_WIDTH or (widths[number] and number * _IN_MINIBLOCK >= num_values):
            return np.int64(0), -1, -1
        stop += widths[number] * _IN_MINIBLOCK // 8
    if stop > len(data):
        return np.int64(0), -1, -1
    return least >> 1 ^ -(least & 1), at + _MINIBLOCKS, stop


@njit(cache=True, nogil=True)
def _skip_list(data: Any, at: int, num_values: int) -> Any:
    """The place behind a packed list; -1 where it is invalid."""
    widths = np.zeros(_MINIBLOCKS, np.int64)
    _, at = _read_head(data, at, num_values)
    left = num_values - 1
    while at >= 0 and left > 0:
        _, _, at = _read_widths(data, at, left, widths)
        left -= _BLOCK
    return at


@njit(cache=True, nogil=True)
def _read_values(data: Any, at: int, before: int, num_values: int, values: Any) -> Any:
    """Read a block of a packed list; returns the place behind it, or -1."""
    widths = np.zeros(_MINIBLOCKS, np.int64)
    least, at, stop = _read_widths(data, at, num_values, widths)
    if at < 0:
        return -1
    bit = np.int64(at) * 8
    for number in range(min(num_values, _BLOCK)):
        width = widths[number // _IN_MINIBLOCK]
        packed = np.int64(0)
        for place in range(width):
            packed |= np.int64(data[(bit + place) >> 3] >> ((bit + place) & 7) & 1) << place
        bit += width
        before += least + packed
        if before < 0 or before >= _LIMIT:
            return -1
        values[number] = before
    return stop


@njit(cache=True, nogil=True)
def _add_length(length: int, number: int, held: Any, most: Any) -> None:
    """Add a text to the windows that it ends or begins."""
    level = 0
    while True:
        most[level] = max(most[level], length)
        if level == LEVELS - 1:
            return
        if not number >> level & 1:
            held[level] = length
            return
        length += held[level]
        level += 1


@njit(cache=True, nogil=True)
def _measure(data: Any, num_texts: int, before: int, held: Any, most: Any) -> Any:
    """Measure the texts of a page behind `before` others; returns their bytes, -1 where the page is invalid."""
    rests_at = _skip_list(data, 0, num_texts)
    end = _skip_list(data, rests_at, num_texts)
    if num_texts < 1 or rests_at < 0 or end < 0:
        return -1
    shared, rests = np.empty(_BLOCK, np.int64), np.empty(_BLOCK, np.int64)
    shared[0], shared_at = _read_head(data, 0, num_texts)
    rests[0], rests_at = _read_head(data, rests_at, num_texts)
    done, count = 0, 1
    length, rest_bytes, num_bytes = np.int64(0), np.int64(0), np.int64(0)
    while True:
        for number in range(count):
            if shared[number] < 0 or shared[number] > length or rests[number] < 0 or rests[number] >= _LIMIT:
                return -1
            rest_bytes += rests[number]
            length = shared[number] + rests[number]
            num_bytes += length
            _add_length(length, before + done + number, held, most)
        done += count
        left = num_texts - done
        if left <= 0:
            return num_bytes if rest_bytes == len(data) - end else -1
        last_shared, last_rest = shared[count - 1], rests[count - 1]
        shared_at = _read_values(data, shared_at, last_shared, left, shared)
        rests_at = _read_values(data, rests_at, last_rest, left, rests)
        if shared_at < 0 or rests_at < 0:
            return -1
        count = min(left, _BLOCK)
