"""Stored values of packed rows compared with their ranges, and with each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from maskmill.schemas.rows import MIN_SEGMENT_TOKENS, MIN_SEQUENCE_TOKENS

ROW_FAULTS = (
    "",
    "it has no sequence",
    "a sequence has fewer than three tokens",
    "its sequences are longer than the row",
    "a segment has no token",
    "its segments do not fill its sequences",
    "more positions are masked than the masking of the dataset selects",
    "the masked positions are not in ascending order",
    "a masked position is outside its sequences",
    "a sequence is not a pair of segments",
)
"""By number: what may be wrong with the boundaries or the masks of a row that Arrow finds nothing wrong with."""


@njit(cache=True, nogil=True)
def find_beyond(values: Any, limit: int) -> int:
    """The place of the first value that is not below a limit; -1 if there is none."""
    if values.shape[0] == 0:
        return -1
    greatest = values[0]
    for i in range(values.shape[0]):
        greatest = max(greatest, values[i])  # in the values' own type: of two bytes, 32 at a time
    if greatest < limit:
        return -1
    return int(np.argmax(values >= limit))


@njit(cache=True, nogil=True)
def find_difference(one: Any, other: Any) -> int:
    """The place of the first difference of two equally long arrays; -1 if there is none."""
    for i in range(len(one)):
        if one[i] != other[i]:
            return i
    return -1


@njit(cache=True, nogil=True)
def check_rows(seq_len: int, sequences: Any, segments: Any, used: Any) -> Any:
    """The first of `ROW_FAULTS` of a row, and the row; fills `used`, tokens up to the end of the last sequence."""
    sequence_offsets, sequence_lengths = sequences
    segment_offsets, segment_lengths = segments
    for r in range(len(used)):
        if sequence_offsets[r + 1] == sequence_offsets[r]:
            return 1, r
        used[r] = _add_lengths(sequence_lengths, sequence_offsets[r], sequence_offsets[r + 1], MIN_SEQUENCE_TOKENS)
        if used[r] < 0 or used[r] > seq_len:
            return 2 if used[r] < 0 else 3, r
        filled = _add_lengths(segment_lengths, segment_offsets[r], segment_offsets[r + 1], MIN_SEGMENT_TOKENS)
        if filled != used[r]:
            return 4 if filled < 0 else 5, r
    return 0, -1


@njit(cache=True, nogil=True)
def check_pairs(sequences: Any, segments: Any) -> Any:
    """The same of pairs: every sequence is two segments, with a token each; after `check_rows`."""
    sequence_offsets, sequence_lengths = sequences
    segment_offsets, segment_lengths = segments
    for r in range(len(sequence_offsets) - 1):
        if segment_offsets[r + 1] - segment_offsets[r] != 2 * (sequence_offsets[r + 1] - sequence_offsets[r]):
            return 9, r
        segment = segment_offsets[r]
        for sequence in range(sequence_offsets[r], sequence_offsets[r + 1]):
            length = np.int64(segment_lengths[segment])
            if length < MIN_SEQUENCE_TOKENS or length + np.int64(segment_lengths[segment + 1]) != np.int64(
                sequence_lengths[sequence]
            ):
                return 9, r
            segment += 2
    return 0, -1


@njit(cache=True, nogil=True)
def _add_lengths(lengths: Any, first: int, stop: int, least: int) -> Any:
    """The sum of some lengths; -1 if one of them is below the least."""
    total = np.int64(0)
    for i in range(first, stop):
        if lengths[i] < least:
            return -1
        total += np.int64(lengths[i])
    return total


@njit(cache=True, nogil=True)
def check_masks(used: Any, most: int, offsets: Any, positions: Any) -> Any:
    """The first of `ROW_FAULTS` in one stored copy of the masks, and the row."""
    is_rising = True
    for r in range(len(used)):
        row = positions[offsets[r] : offsets[r + 1]]  # a view: its loop vectorises
        if len(row) > most:
            return 6, r
        for i in range(1, len(row)):
            is_rising = is_rising & (row[i] > row[i - 1])
        if not is_rising:
            return 7, r
        if len(row) and row[-1] >= used[r]:
            return 8, r
    return 0, -1
