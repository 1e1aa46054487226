"""The metadata of Arrow messages, read with every offset checked against the bytes at hand.

Arrow checks that a message is well-formed, but not that its sizes make sense: a block of 10 KB may say that it
decompresses to 300 MB. Here everything that a record batch declares is compared with its schema before Arrow reads it,
and the offsets of lists that are not compressed with the values that they lead to. After that nothing is left to check
in numbers and lists of numbers, so that `packed_blocks` reads them without Arrow, in a third of the time.
The layout is that of Arrow's `Message.fbs`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from maskmill.pipeline.storage.flatbuffers import find_field, find_table, find_vector, read_number

KIND, WIDTH, PARENT, TIMES, MOST = range(5)
"""Columns of a layout's nodes: what a node is; bits of a value or bytes of an offset; the node it is inside, or -1; the
items of a fixed-size list; and the most items that a list may have on average, or -1."""
NUMBERS, LIST, TEXT, FIXED_LIST = range(4)
"""Kinds of nodes."""

FAULTS = (
    "",
    "it is not an Arrow message",
    "it is not a record batch",
    "the length of its body is not what its metadata says, or not a multiple of 8",
    "its compression differs from the dataset's",
    "its number of rows is wrong",
    "its number of columns or buffers does not match the schema",
    "a column and the rows differ in length",
    "a column has nulls",
    "a list column has more values than its rows allow",
    "a buffer lies outside the body, out of order or out of alignment",
    "a buffer is shorter than its values",
    "a buffer decompresses to more than its values",
    "it has metadata of its own",
    "the offsets of a list column do not rise within its values",
    "its metadata is not of version 5, which Arrow writes since 1.0",
)
"""By number: what may be wrong with a record batch."""

(
    _NO_MESSAGE,
    _NO_BATCH,
    _BODY,
    _CODEC,
    WRONG_ROWS,
    _COUNTS,
    _LENGTH,
    _NULLS,
    _ITEMS,
    _PLACE,
    _SHORT,
    _LONG,
    _METADATA,
    _OFFSETS,
    _VERSION,
) = range(1, 16)
_RECORD_BATCH = 3
_V5 = 4
_PREFIX = 8  # the continuation marker and the metadata's length
_PADDING = 64  # writers may round a buffer's length up to this
_MOST_ITEMS = 1 << 40


@njit(cache=True, nogil=True)
def check_batch(data: Any, nodes: Any, num_rows: int, codec: int, spans: Any) -> Any:
    """Compare what a message with a record batch declares with its schema.

    Args:
        data: uint8, the message and its body.
        nodes: int64 (N, 5), of a `BatchLayout`.
        num_rows: Rows that it must have; -1 for any number.
        codec: Arrow's number of the compression that it must have; -1 for none.
        spans: int64 (number of buffers, 2), filled with where in `data` each buffer begins and its bytes.

    Returns:
        Which of `FAULTS` it has, the node, and the number that was found.
    """
    fault, stop, batch = _find_batch(data)
    if fault:
        return fault, -1, 0
    rows = find_field(data, _PREFIX, stop, batch, 0, 8)
    first_node, found_nodes = find_vector(data, _PREFIX, stop, batch, 1, 16)
    first_buffer, found_buffers = find_vector(data, _PREFIX, stop, batch, 2, 16)
    found_codec = _read_codec(data, stop, batch)
    if not _is_empty(data, stop, batch, 4, 8):  # buffers of a number that the schema does not say
        return _COUNTS, -1, 0
    if rows < 0 or first_node < 0 or first_buffer < 0:
        return _NO_BATCH, -1, 0
    if found_codec != codec:
        return _CODEC, -1, found_codec
    found_rows = read_number(data, rows, 8) if rows else 0
    if found_rows < 0 or found_rows > _MOST_ITEMS or (num_rows >= 0 and found_rows != num_rows):
        return WRONG_ROWS, -1, found_rows
    if found_nodes != len(nodes) or found_buffers != len(spans):
        return _COUNTS, -1, found_nodes
    return _check_columns(data, nodes, first_node, first_buffer, stop, found_rows, found_codec >= 0, spans)


@njit(cache=True, nogil=True)
def _find_batch(data: Any) -> Any:
    """Check a message: returns the fault, the start of its body, and the place of its record batch's table."""
    length = len(data)
    if length < _PREFIX or read_number(data, 0, 4) != -1:
        return _NO_MESSAGE, 0, 0
    stop = _PREFIX + read_number(data, 4, 4)
    if stop <= _PREFIX or stop % 8 or stop > length:
        return _NO_MESSAGE, 0, 0
    message = find_table(data, _PREFIX, stop, _PREFIX)
    version = find_field(data, _PREFIX, stop, message, 0, 2)
    kind = find_field(data, _PREFIX, stop, message, 1, 1)
    header = find_field(data, _PREFIX, stop, message, 2, 4)
    body = find_field(data, _PREFIX, stop, message, 3, 8)
    if kind <= 0 or header <= 0 or body < 0 or data[kind] != _RECORD_BATCH:
        return _NO_BATCH, 0, 0
    if version <= 0 or read_number(data, version, 2) != _V5:
        return _VERSION, 0, 0
    if not _is_empty(data, stop, message, 4, 4):  # Arrow would copy a text as often as it is named
        return _METADATA, 0, 0
    if (read_number(data, body, 8) if body else 0) != length - stop or length % 8:
        return _BODY, 0, 0
    batch = find_table(data, _PREFIX, stop, header)
    return 0 if batch > 0 else _NO_BATCH, stop, batch


@njit(cache=True, nogil=True)
def _is_empty(data: Any, stop: int, table: int, number: int, item_bytes: int) -> Any:
    """Whether a table leaves a vector out, or has one without items."""
    first, count = find_vector(data, _PREFIX, stop, table, number, item_bytes)
    return first >= 0 and count == 0


@njit(cache=True, nogil=True)
def _read_codec(data: Any, stop: int, batch: int) -> Any:
    """Arrow's number of the compression of a record batch; -1 if it has none, -2 if it is not one of Arrow's."""
    compression = find_field(data, _PREFIX, stop, batch, 3, 4)
    if compression == 0:
        return -1
    table = find_table(data, _PREFIX, stop, compression)
    codec = find_field(data, _PREFIX, stop, table, 0, 1)
    method = find_field(data, _PREFIX, stop, table, 1, 1)
    if compression < 0 or codec < 0 or method < 0 or (method and data[method]):
        return -2
    return np.int64(data[codec]) if codec else 0  # a field that has the default, 0, is left out


@njit(cache=True, nogil=True)
def _check_columns(
    data: Any, nodes: Any, first_node: int, first_buffer: int, body: int, num_rows: int, is_compressed: bool, spans: Any
) -> Any:
    number = 0
    end = np.int64(0)
    for n in range(len(nodes)):
        kind, width = nodes[n, KIND], nodes[n, WIDTH]
        length = read_number(data, first_node + 16 * n, 8)
        fault = _check_length(data, nodes, first_node, n, num_rows)
        if fault:
            return fault, n, length
        parent = nodes[n, PARENT]
        if parent >= 0 and nodes[parent, KIND] == LIST and not is_compressed:
            lists = read_number(data, first_node + 16 * parent, 8)
            start = spans[number - 1, 0]  # the offsets are the last buffer before those of the values
            if lists and not _do_rise(data[start : start + 4 * (lists + 1)].view(np.int32), length):
                return _OFFSETS, parent, length
        needed = (length * width + 7) // 8
        most = _round_up(needed)
        if kind != NUMBERS:  # offsets, one more than items; without items there may be none
            needed = (length + 1) * width if length else 0
            most = _round_up((length + 1) * width)
        for place in range(1 if kind == FIXED_LIST else 3 if kind == TEXT else 2):
            least = longest = 0  # of the validity: without nulls there is none
            if place == 1:
                least, longest = needed, most
            elif place == 2:
                longest = -1
            buffer = first_buffer + 16 * number
            fault, end = _check_buffer(data, buffer, body, end, least, longest, is_compressed)
            if fault:
                return fault, n, end
            spans[number, 0], spans[number, 1] = body + read_number(data, buffer, 8), read_number(data, buffer + 8, 8)
            number += 1
    return 0, -1, num_rows


@njit(cache=True, nogil=True)
def _do_rise(offsets: Any, num_items: int) -> Any:
    """Whether the offsets of lists rise, from 0 or above to at most the number of items."""
    do_rise = offsets[0] >= 0
    for i in range(1, offsets.shape[0]):
        do_rise &= offsets[i] >= offsets[i - 1]
    return do_rise and offsets[-1] <= num_items


@njit(cache=True, nogil=True)
def _check_length(data: Any, nodes: Any, first_node: int, n: int, num_rows: int) -> int:
    """Check the number of a node's items: that of the rows, or what the lists around them allow."""
    parent = nodes[n, PARENT]
    length = read_number(data, first_node + 16 * n, 8)
    if read_number(data, first_node + 16 * n + 8, 8) != 0:
        return _NULLS
    if parent < 0:
        return 0 if length == num_rows else _LENGTH
    lists = read_number(data, first_node + 16 * parent, 8)
    if nodes[parent, KIND] == FIXED_LIST:
        return 0 if length == lists * nodes[parent, TIMES] else _LENGTH
    most = nodes[parent, MOST]
    if length < 0 or length > _MOST_ITEMS or (most >= 0 and length > lists * most):
        return _ITEMS
    return 0


@njit(cache=True, nogil=True)
def _round_up(size: int) -> int:
    return (size + _PADDING - 1) // _PADDING * _PADDING


@njit(cache=True, nogil=True)
def _check_buffer(data: Any, buffer: int, body: int, end: int, least: int, longest: int, is_compressed: bool) -> Any:
    """Check a buffer of at least `least` bytes: returns the fault and its end.

    A compressed one may decompress to `longest` bytes; -1 is as many as the body has. Others may be longer: Arrow
    writes the offsets of a slice without rows whole.
    """
    offset, size = read_number(data, buffer, 8), read_number(data, buffer + 8, 8)
    available = len(data) - body
    if offset < end or offset % 8 or offset > available or size < 0 or size > available - offset:
        return _PLACE, size
    end = offset + size
    if is_compressed and size:
        if size < 8:
            return _SHORT, size
        declared = read_number(data, body + offset, 8)
        size = size - 8 if declared == -1 else declared
        if size > (longest if longest >= 0 else available):
            return _LONG, size
    return (_SHORT, size) if size < least else (0, end)
