"""From words to the characters that a vocabulary keeps, and words spelt in their piece ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.pipeline.wordpiece.counting.word_arrays import Bytes, Offsets, freeze

_NUM_CODE_POINTS = 0x110000

Codes = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Characters:
    """How the characters of some words occur, by code point."""

    occurrences: npt.NDArray[np.int64]
    """How often each occurs (0x110000,), each word as often as it is counted."""
    is_later: npt.NDArray[np.bool_]
    """Which occur past the start of a word (0x110000,)."""


@njit(cache=True, nogil=True)
def _decode_words(data, offsets, codes, lengths):  # type: ignore[no-untyped-def]
    """Decode valid UTF-8 into code points; returns how many."""
    written = 0
    for word in range(len(lengths)):
        before = written
        index = offsets[word]
        while index < offsets[word + 1]:
            byte = np.int32(data[index])
            if byte < 0x80:
                code, size = byte, 1
            elif byte < 0xE0:
                code, size = byte & 0x1F, 2
            elif byte < 0xF0:
                code, size = byte & 0x0F, 3
            else:
                code, size = byte & 0x07, 4
            for following in range(index + 1, index + size):
                code = (code << 6) | (np.int32(data[following]) & 0x3F)
            codes[written] = code
            written += 1
            index += size
        lengths[word] = written - before
    return written


def decode_words(data: Bytes, offsets: Offsets) -> tuple[Codes, npt.NDArray[np.int32]]:
    """The code points of all words end to end, and how many each of the W words has (W,)."""
    codes = np.empty(int(offsets[-1] - offsets[0]), np.int32)  # untouched behind the last one
    lengths = np.zeros(len(offsets) - 1, np.int32)
    return codes[: _decode_words(data, offsets, codes, lengths)], lengths


@njit(cache=True, nogil=True)
def _count_characters(codes, lengths, weights, occurrences, is_later):  # type: ignore[no-untyped-def]
    index = 0
    for word in range(len(lengths)):
        for place in range(lengths[word]):
            occurrences[codes[index]] += weights[word]
            if place > 0:
                is_later[codes[index]] = True
            index += 1


def count_characters(codes: Codes, lengths: npt.NDArray[np.int32], weights: npt.NDArray[np.int64]) -> Characters:
    """Count the characters of words (W of them), each word `weights` (W,) times."""
    occurrences = np.zeros(_NUM_CODE_POINTS, np.int64)
    is_later = np.zeros(_NUM_CODE_POINTS, np.bool_)
    _count_characters(codes, lengths, freeze(weights), occurrences, is_later)
    return Characters(occurrences, is_later)


def choose_alphabet(
    occurrences: npt.NDArray[np.int64], limit: int | None, initial: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split the code points that occur or are in `initial` into kept and cut, both ascending.

    Kept are all of `initial`, and of the others the most frequent ones, ties to the smaller code point, up to
    `limit` in all. (With a limit below the number of initial characters `tokenizers` keeps arbitrary ones of them.)
    """
    first = np.unique(np.array([ord(character) for character in initial], np.int64))
    present = np.setdiff1d(np.flatnonzero(occurrences), first)
    order = present[np.argsort(-occurrences[present], kind="stable")]
    room = len(order) if limit is None else max(0, limit - len(first))
    return np.sort(np.concatenate([first, order[:room]])), np.sort(order[room:])


@njit(cache=True, nogil=True)
def _replace_by_ids(codes, lengths, first_ids, later_ids):  # type: ignore[no-untyped-def]
    read = 0
    write = 0
    for word in range(len(lengths)):
        before = write
        for place in range(lengths[word]):
            piece = first_ids[codes[read]] if place == 0 else later_ids[codes[read]]
            read += 1
            if piece >= 0:
                codes[write] = piece
                write += 1
        lengths[word] = write - before
    return write


def replace_by_ids(codes: Codes, lengths: npt.NDArray[np.int32], ids: dict[str, int], kept: list[int]) -> Codes:
    """Turn code points into the ids of their pieces, in place, leaving out what has none.

    Args:
        codes: Of all words end to end; overwritten.
        lengths: Of each word (W,); overwritten with the symbols that remain.
        ids: The id of each piece.
        kept: The code points that have pieces.

    Returns:
        The symbols that remain, a part of `codes`.
    """
    first_ids = np.full(_NUM_CODE_POINTS, -1, np.int32)
    later_ids = np.full(_NUM_CODE_POINTS, -1, np.int32)
    for code in kept:
        first_ids[code] = ids[chr(code)]
        later_ids[code] = ids.get("##" + chr(code), -1)
    return codes[: _replace_by_ids(codes, lengths, first_ids, later_ids)]
