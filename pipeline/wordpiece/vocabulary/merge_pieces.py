"""The merge loop of WordPiece training, over flat arrays.

A run needs only a few flat arrays, so that a million distinct words take seconds:

    symbols     the piece ids of all words end to end; a word shrinks in place as its pieces merge
    pairs       an open-addressing table from two neighbouring pieces to how often they are adjacent
    entries     candidates of the queue: a pair, the count it had when pushed, and the words it was seen in;
                one pair can have several entries, each with the words of the merge that made it
    pool        the words of all entries end to end. A merge of one occurrence adds at most two, and every
                merge removes a symbol, so three times the initial symbols is enough for any run
    heap        entry numbers, the highest count first, ties to the smallest (left id, right id)
    piece text  the code points of every piece, found again through a hash of them: two merges that spell the
                same string share one id

The rules are those of `tokenizers`' trainer, kept because equality of ids is the law: a popped entry whose
count has changed goes back with the new count; only the words of the popped entry are merged; the merged pair's
own count is not taken back, except by overlapping occurrences.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.pipeline.wordpiece.counting.word_arrays import freeze
from maskmill.pipeline.wordpiece.vocabulary.pair_queue import Entries, queue_lists, replace_top, reserve_entries
from maskmill.pipeline.wordpiece.vocabulary.pair_table import (
    Gathered,
    add_to_pair,
    gather_word,
    make_pairs,
    reserve_gathered,
    reserve_pairs,
)

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FNV_PRIME = np.uint64(0x100000001B3)
_FNV_START = np.uint64(0xCBF29CE484222325)
_LOW_HALF = np.int64(0xFFFFFFFF)
_HASH = np.int32(ord("#"))


class PieceText(NamedTuple):
    """The strings of all pieces as code points, and a hash table over them."""

    codes: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]  # piece i is codes[starts[i]:starts[i + 1]]
    slots: npt.NDArray[np.int32]  # piece id or -1


@njit(cache=True, nogil=True)
def _merge_in_word(symbols, start, length, left, right, piece, weight, word, pairs, gathered, totals):  # type: ignore[no-untyped-def]
    """Replace every (left, right) of one word by `piece`, left to right; returns the word's new length."""
    read = 0
    write = 0
    while read < length:
        symbol = symbols[start + read]
        if symbol == left and read + 1 < length and symbols[start + read + 1] == right:
            if write > 0:
                before = symbols[start + write - 1]
                add_to_pair(pairs, before, left, -weight, totals)
                pair = add_to_pair(pairs, before, piece, weight, totals)
                gather_word(pairs, gathered, pair, word, totals)
            if read + 2 < length:
                after = symbols[start + read + 2]
                add_to_pair(pairs, right, after, -weight, totals)
                pair = add_to_pair(pairs, piece, after, weight, totals)
                gather_word(pairs, gathered, pair, word, totals)
            symbol = piece
            read += 1
        symbols[start + write] = symbol
        read += 1
        write += 1
    return write


@njit(cache=True, nogil=True)
def _find_text(text, start, stop):  # type: ignore[no-untyped-def]
    """The slot of the piece spelt codes[start:stop], or the free slot where it belongs."""
    mixed = _FNV_START
    for index in range(start, stop):
        mixed = (mixed ^ np.uint64(text.codes[index])) * _FNV_PRIME
    mask = len(text.slots) - 1
    slot = np.int64((mixed * _GOLDEN) >> np.uint64(33)) & mask
    while text.slots[slot] >= 0:
        other = text.starts[text.slots[slot]]
        if text.starts[text.slots[slot] + 1] - other == stop - start:
            offset = 0
            while offset < stop - start and text.codes[other + offset] == text.codes[start + offset]:
                offset += 1
            if offset == stop - start:
                return slot
        slot = (slot + 1) & mask
    return slot


@njit(cache=True, nogil=True)
def _spell_merged(text, num_pieces, left, right):  # type: ignore[no-untyped-def]
    """Write left + right (without its `##`) behind the last piece; returns the text and where it ends."""
    begin = text.starts[num_pieces]
    left_start, left_stop = text.starts[left], text.starts[left + 1]
    right_start, right_stop = text.starts[right], text.starts[right + 1]
    continues = right_stop - right_start >= 2
    if continues and text.codes[right_start] == _HASH and text.codes[right_start + 1] == _HASH:
        right_start += 2
    stop = begin + (left_stop - left_start) + (right_stop - right_start)
    if stop > len(text.codes):
        codes = np.empty(2 * stop, np.int32)
        codes[:begin] = text.codes[:begin]
        text = PieceText(codes, text.starts, text.slots)
    middle = begin + (left_stop - left_start)
    text.codes[begin:middle] = text.codes[left_start:left_stop]
    text.codes[middle:stop] = text.codes[right_start:right_stop]
    return text, stop


@njit(cache=True, nogil=True)
def _run_merges(symbols, starts, lengths, weights, text, num_pieces, vocab_size, min_frequency):  # type: ignore[no-untyped-def]
    num_symbols = len(symbols)
    pairs = make_pairs(1 << 14)
    pool = np.empty(3 * num_symbols + 2, np.int32)
    # The first lists fill at most the first third of the pool: they are gathered in the others, which saves a third
    # of the memory.
    gathered = Gathered(pool[num_symbols : 2 * num_symbols + 1], pool[2 * num_symbols + 1 :])
    entries = Entries(
        np.empty(0, np.int32),
        np.empty(0, np.int64),
        np.empty(0, np.int64),
        np.empty(0, np.int64),
        np.empty(0, np.int32),
        np.empty(0, np.int32),
    )
    totals = np.zeros(3, np.int64)
    sizes = np.zeros(3, np.int64)
    for piece in range(num_pieces):
        text.slots[_find_text(text, text.starts[piece], text.starts[piece + 1])] = piece
    for word in range(len(starts)):
        pairs = reserve_pairs(pairs, totals[0], lengths[word])
        for index in range(starts[word], starts[word] + lengths[word] - 1):
            pair = add_to_pair(pairs, symbols[index], symbols[index + 1], weights[word], totals)
            gather_word(pairs, gathered, pair, word, totals)
    entries = reserve_entries(entries, sizes[1], totals[2])
    queue_lists(pairs, gathered, pool, entries, totals, sizes)
    gathered = Gathered(np.empty(1 << 10, np.int32), np.empty(1 << 10, np.int32))

    num_merges = 0
    while num_pieces < vocab_size and sizes[2] > 0:
        entry = entries.heap[0]
        pair = entries.pairs[entry]
        if entries.counts[entry] != pairs.counts[pair]:
            entries.counts[entry] = pairs.counts[pair]
            replace_top(entries, sizes[2], entry)
            continue
        if entries.counts[entry] < min_frequency:
            break
        sizes[2] -= 1
        if sizes[2] > 0:
            replace_top(entries, sizes[2], entries.heap[sizes[2]])

        left = np.int32(entries.keys[entry] >> 32)
        right = np.int32(entries.keys[entry] & _LOW_HALF)
        text, stop = _spell_merged(text, num_pieces, left, right)
        slot = _find_text(text, text.starts[num_pieces], stop)
        if text.slots[slot] < 0:
            text.slots[slot] = num_pieces
            num_pieces += 1
            text.starts[num_pieces] = stop
        piece = text.slots[slot]
        num_merges += 1
        first = entries.starts[entry]
        for place in range(first, first + entries.lengths[entry]):
            word = pool[place]
            pairs = reserve_pairs(pairs, totals[0], 2 * lengths[word])
            gathered = reserve_gathered(gathered, totals[1], lengths[word])  # two for each two symbols
            lengths[word] = _merge_in_word(
                symbols,
                starts[word],
                lengths[word],
                left,
                right,
                piece,
                weights[word],
                word,
                pairs,
                gathered,
                totals,
            )
        entries = reserve_entries(entries, sizes[1], totals[2])
        queue_lists(pairs, gathered, pool, entries, totals, sizes)
    return text, num_pieces, num_merges


def merge_pieces(
    symbols: npt.NDArray[np.int32],
    lengths: npt.NDArray[np.int32],
    weights: npt.NDArray[np.int64],
    pieces: list[str],
    vocab_size: int,
    min_frequency: int,
) -> tuple[list[str], int]:
    """Merge neighbouring pieces until the vocabulary is full or no pair is frequent enough.

    Args:
        symbols: Piece ids of all words end to end; changed in place.
        lengths: Symbols of each word (W words), int32; changed in place.
        weights: How often each word occurs (W words), int64.
        pieces: The strings of the ids in `symbols`, distinct, at most `vocab_size`.
        vocab_size: Stop at this many pieces.
        min_frequency: Stop below this pair count; a pair that occurs nowhere is never merged.

    Returns:
        All pieces, `pieces` first, then in the order made; and how many merges were done (a merge whose
        string existed already makes no piece).
    """
    starts = np.zeros(len(lengths), np.int64)
    np.cumsum(lengths[:-1], dtype=np.int64, out=starts[1:]) if len(lengths) else None
    encoded = [np.frombuffer(piece.encode("utf-32-le"), np.int32) for piece in pieces]
    piece_starts = np.zeros(max(vocab_size, len(pieces)) + 2, np.int64)
    np.cumsum([len(codes) for codes in encoded], out=piece_starts[1 : len(pieces) + 1])
    num_slots = 1 << max(4, (4 * len(piece_starts) - 1).bit_length())
    text = PieceText(np.concatenate(encoded).copy(), piece_starts, np.full(num_slots, -1, np.int32))
    text, num_pieces, num_merges = _run_merges(
        symbols, starts, lengths, freeze(weights), text, len(pieces), vocab_size, max(1, min_frequency)
    )
    made = [
        text.codes[text.starts[piece] : text.starts[piece + 1]].tobytes().decode("utf-32-le")
        for piece in range(len(pieces), num_pieces)
    ]
    return pieces + made, int(num_merges)
