"""Check every packed row: its sequences, segments and special tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.schemas.run_file import Sequences

FAULTS = (
    "",
    "its sequences are longer than the row",
    "a sequence does not begin with [CLS]",
    "a segment does not end with [SEP]",
    "its segments do not fill its sequences",
    "something other than [PAD] follows the last sequence",
    "a token is outside the vocabulary",
    "it has no sequence",
    "a segment has no token",
    "it has several sequences",
    "a sequence has several segments",
)
"""The faults of a row, by number."""

WRONG_WORD_STARTS = "it does not start a word at the first token of every segment, or starts one outside them"

_FULL_WITH_SEQUENCE, _WITH_SEGMENTS = 9, 10


def find_row_faults(
    rows: npt.NDArray[Any],
    sequences: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    segments: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    special: tuple[int, int, int],
    vocab_size: int,
    made_of: str | None,
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int64]]:
    """Check every row of a block.

    Args:
        rows: Token ids, `(R, S)`.
        sequences: Offsets `(R + 1,)` and lengths of the sequences of rows.
        segments: The same for their segments, D in all.
        special: Ids of [PAD], [CLS] and [SEP].
        vocab_size: Exclusive upper bound of the ids.
        made_of: What a sequence is made of, a value of `Sequences`; `None` for pairs of segments, which the reader of
            blocks has checked.

    Returns:
        The first of `FAULTS` in each row, `(R,)` int8, and the document tokens of every segment, `(D,)` int64.
    """
    faults, tokens = _check_rows(rows, *sequences, *segments, *special, vocab_size)
    num_sequences, num_segments = np.diff(sequences[0]), np.diff(segments[0])
    if made_of in (Sequences.FULL_SENTENCES, Sequences.DOCUMENT):
        faults[(faults == 0) & (num_sequences > 1)] = _FULL_WITH_SEQUENCE
    if made_of not in (Sequences.FULL_SENTENCES, None):
        faults[(faults == 0) & (num_segments != num_sequences)] = _WITH_SEGMENTS
    return faults, tokens


def find_wrong_word_starts(
    word_starts: npt.NDArray[np.bool_],
    sequences: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    segments: tuple[npt.NDArray[Any], npt.NDArray[Any]],
) -> npt.NDArray[np.bool_]:
    """Find the rows of a block with word starts that packing does not write.

    Args:
        word_starts: bool `(R, S)`.
        sequences: Offsets `(R + 1,)` and lengths of the sequences of rows, in which `find_row_faults` finds no fault.
        segments: The same for their segments.

    Returns:
        Whether a row has such word starts, bool `(R,)`.
    """
    wrong = np.zeros(len(word_starts), np.bool_)
    _check_word_starts(word_starts, *sequences, *segments, wrong)
    return wrong


@njit(cache=True, nogil=True)
def _check_word_starts(
    word_starts: Any,
    sequence_offsets: Any,
    sequence_lengths: Any,
    segment_offsets: Any,
    segment_lengths: Any,
    wrong: Any,
) -> None:
    for r in range(len(word_starts)):
        row, position, segment = word_starts[r], np.int64(0), segment_offsets[r]
        for sequence in range(sequence_offsets[r], sequence_offsets[r + 1]):
            end = position + np.int64(sequence_lengths[sequence])
            first = position
            wrong[r] |= row[first]  # [CLS]
            while position < end and segment < segment_offsets[r + 1]:
                stop = position + np.int64(segment_lengths[segment])
                begin = position + 1 if position == first else position
                wrong[r] |= not row[begin] or row[stop - 1]  # its first token, and [SEP]
                position = stop
                segment += 1
        for i in range(position, row.shape[0]):
            wrong[r] |= row[i]


@njit(cache=True, nogil=True)
def _check_rows(
    rows: Any,
    sequence_offsets: Any,
    sequence_lengths: Any,
    segment_offsets: Any,
    segment_lengths: Any,
    pad_id: int,
    cls_id: int,
    sep_id: int,
    vocab_size: int,
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int64]]:
    faults = np.zeros(len(rows), np.int8)
    tokens = np.zeros(len(segment_lengths), np.int64)
    for r in range(len(rows)):
        faults[r] = _check_row(
            rows[r],
            sequence_lengths[sequence_offsets[r] : sequence_offsets[r + 1]],
            segment_lengths[segment_offsets[r] : segment_offsets[r + 1]],
            tokens[segment_offsets[r] : segment_offsets[r + 1]],
            cls_id,
            sep_id,
        )
        if faults[r] == 0:
            used = np.sum(sequence_lengths[sequence_offsets[r] : sequence_offsets[r + 1]].astype(np.int64))
            if (rows[r, used:] != pad_id).any():
                faults[r] = 5
            if rows[r].max() >= vocab_size:
                faults[r] = 6
    return faults, tokens


@njit(cache=True, nogil=True)
def _check_row(row: Any, sequences: Any, segments: Any, tokens: Any, cls_id: int, sep_id: int) -> int:
    """The first of `FAULTS` in a row's sequences; also writes the document tokens of its segments."""
    if len(sequences) == 0:
        return 7
    position = np.int64(0)
    segment = 0
    for sequence in sequences:
        end = position + np.int64(sequence)
        if end > len(row):
            return 1
        if row[position] != cls_id:
            return 2
        special = 2  # the first segment of a sequence counts [CLS] too
        while segment < len(segments) and position < end:
            length = np.int64(segments[segment])
            if length <= special:
                return 8
            tokens[segment] = length - special
            special = 1
            position += length
            segment += 1
            if position > end or row[position - 1] != sep_id:
                return 3
        if position != end:
            return 4
    return 0 if segment == len(segments) else 4
