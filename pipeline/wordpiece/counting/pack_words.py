"""Words between Arrow's strings and the pieces of a table."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from maskmill.pipeline.wordpiece.counting.word_table import (
    COUNT,
    HASH,
    HASH_START,
    LENGTH_SHIFT,
    PIECE_BYTES,
    RAW,
    SHAPE,
    START,
    WordTable,
    mix_piece,
)

WORD_ROWS_SCHEMA = pa.schema(
    [
        pa.field("word", pa.large_string(), nullable=False),
        pa.field("source", pa.int32(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
    ]
)
"""How often a source, given by its number, has a word."""


def view_strings(strings: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes of a string or binary array without nulls, and its offsets into them."""
    is_wide = pa.types.is_large_string(strings.type) or pa.types.is_large_binary(strings.type)
    _, offset_buffer, data_buffer = strings.buffers()
    if len(strings) == 0:
        return np.frombuffer(b"", np.uint8), np.zeros(1, np.int64)
    all_offsets = np.frombuffer(offset_buffer, np.dtype(np.int64 if is_wide else np.int32))
    offsets = all_offsets[strings.offset : strings.offset + len(strings) + 1].astype(np.int64)
    return np.frombuffer(data_buffer or b"", np.uint8), offsets


def unpack_words(table: WordTable, num_partitions: int) -> list[pa.RecordBatch]:
    """The words of a table as a batch of `WORD_ROWS_SCHEMA` a partition, in the order they were first added.

    A word's partition is its hash in the table modulo `num_partitions`. Not xxh3: the table has this one at hand.
    """
    num_words = int(table.used[0])
    records = table.records[:num_words]
    partition = _take_modulo(records[:, HASH], num_partitions)
    order = np.argsort(partition, kind="stable")
    bounds = np.searchsorted(partition, np.arange(num_partitions + 1), sorter=order)
    del partition
    shapes = records[order, SHAPE]
    offsets = np.zeros(num_words + 1, np.int64)
    np.cumsum(shapes >> LENGTH_SHIFT, out=offsets[1:])
    data = np.empty(int(offsets[-1]), np.uint8)
    _copy_bytes(records, table.pool.view(np.uint8), order, offsets, data)
    words = pa.Array.from_buffers(pa.large_string(), num_words, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    sources = (shapes & (RAW - 1)).astype(np.int32)
    columns = [words, pa.array(sources), pa.array(records[order, COUNT])]
    rows = pa.RecordBatch.from_arrays(columns, schema=WORD_ROWS_SCHEMA)
    return [rows.slice(start, stop - start) for start, stop in pairwise(bounds.tolist())]


def _take_modulo(hashes: npt.NDArray[np.int64], num_partitions: int) -> npt.NDArray[np.int64]:
    return (hashes.view(np.uint64) % np.uint64(num_partitions)).astype(np.int64)


@njit(cache=True, nogil=True)
def pack_words(data, offsets, sources, counts, row, tokens, arena):  # type: ignore[no-untyped-def]
    """Fill a buffer with words from number `row` on.

    Args:
        data: UTF-8 bytes.
        offsets: (rows + 1,) where each word begins.
        sources: (rows,) the number of each one's source.
        counts: (rows,) how often each occurs.
        row: The word to go on with.
        tokens: (tokens, 4) to fill.
        arena: Pieces to fill.

    Returns:
        The first word that did not fit, and how many tokens were filled.
    """
    token = 0
    piece = 0
    while row < len(counts) and token < len(tokens):
        length = offsets[row + 1] - offsets[row]
        if piece + (length + PIECE_BYTES - 1) // PIECE_BYTES > len(arena):
            break
        tokens[token, START] = piece
        tokens[token, SHAPE] = length << LENGTH_SHIFT | sources[row]
        tokens[token, COUNT] = counts[row]
        piece, hash_value = pack_bytes(data, offsets[row], offsets[row + 1], arena, piece)
        tokens[token, HASH] = np.int64(hash_value)
        token += 1
        row += 1
    return row, token


@njit(cache=True, nogil=True)
def pack_bytes(data, start, stop, arena, piece):  # type: ignore[no-untyped-def]
    """Put data[start:stop] into pieces from `piece` on; returns the next free one and the hash."""
    hash_value = HASH_START
    while start < stop:
        packed = _read_piece(data, start, stop)
        hash_value = mix_piece(hash_value, packed)
        arena[piece] = packed
        piece += 1
        start += PIECE_BYTES
    return piece, hash_value


@njit(cache=True, nogil=True)
def _read_piece(data, start, stop):  # type: ignore[no-untyped-def]
    packed = np.uint64(0)
    for offset in range(min(stop - start, PIECE_BYTES)):
        packed |= np.uint64(data[start + offset]) << np.uint64(8 * offset)
    return packed


@njit(cache=True, nogil=True)
def _copy_bytes(records, pool, order, offsets, data):  # type: ignore[no-untyped-def]
    for row in range(len(order)):
        start = records[order[row], START] * PIECE_BYTES
        for offset in range(offsets[row + 1] - offsets[row]):
            data[offsets[row] + offset] = pool[start + offset]
