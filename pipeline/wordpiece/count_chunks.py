"""The loops of word counting: texts to chunks, ASCII chunks to words, over tables of byte strings.

Each stops where a table is full and says where, so that its caller makes room and goes on from there.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pipeline.wordpiece.byte_table import COUNT, FNV_PRIME, FNV_START, START, STOP, add_string, has_room

DELETED, LETTER, ALONE = 0, 1, 2  # what becomes of a character: nothing, part of a word, a word of its own


@njit(cache=True, nogil=True)
def count_chunks(data, offsets, text, position, table):  # type: ignore[no-untyped-def]
    """Count chunks from `position` of `text` on; returns where the table was full, or (number of texts, 0)."""
    num_texts = len(offsets) - 1
    while text < num_texts:
        stop = offsets[text + 1]
        start = position
        hash_value = FNV_START
        while position <= stop:
            byte = data[position] if position < stop else np.uint8(32)
            if byte == 32 or byte == 10 or byte == 13 or byte == 9:
                if position > start:
                    if not has_room(table, 1, position - start):
                        return text, start
                    add_string(table, data, start, position, hash_value, 1)
                start = position + 1
                hash_value = FNV_START
            else:
                hash_value = (hash_value ^ np.uint64(byte)) * FNV_PRIME
            position += 1
        text += 1
        if text < num_texts:
            position = offsets[text]
    return text, 0


@njit(cache=True, nogil=True)
def _bound_words(data, start, stop, kinds):  # type: ignore[no-untyped-def]
    """How many words an ASCII chunk can make at most; -1 for a chunk that is not ASCII."""
    bound = 1
    for position in range(start, stop):
        if data[position] >= 128:
            return -1
        if kinds[data[position]] == ALONE:
            bound += 2
    return bound


@njit(cache=True, nogil=True)
def fold_ascii_chunks(chunks, chunk, kinds, mapped, words, others, num_others):  # type: ignore[no-untyped-def]
    """Split ASCII chunks into words from number `chunk` on and list the others.

    Returns the first chunk that did not fit into `words`, how many are in `others`, and the most words that
    chunk can make.
    """
    scratch = np.empty(64, np.uint8)
    bound = 0
    while chunk < chunks.used[0]:
        start, stop = chunks.records[chunk, START], chunks.records[chunk, STOP]
        bound = _bound_words(chunks.pool, start, stop, kinds)
        if bound < 0:
            others[num_others] = chunk
            num_others += 1
            chunk += 1
            continue
        if not has_room(words, bound, stop - start):
            break
        if stop - start > len(scratch):
            scratch = np.empty(2 * (stop - start), np.uint8)
        count = chunks.records[chunk, COUNT]
        length = 0
        hash_value = FNV_START
        for position in range(start, stop):
            byte = chunks.pool[position]
            kind = kinds[byte]
            if kind == ALONE and length > 0:
                add_string(words, scratch, 0, length, hash_value, count)
                length = 0
                hash_value = FNV_START
            if kind != DELETED:
                scratch[length] = mapped[byte]
                hash_value = (hash_value ^ np.uint64(mapped[byte])) * FNV_PRIME
                length += 1
            if kind == ALONE:
                add_string(words, scratch, 0, length, hash_value, count)
                length = 0
                hash_value = FNV_START
        if length > 0:
            add_string(words, scratch, 0, length, hash_value, count)
        chunk += 1
    return chunk, num_others, bound


@njit(cache=True, nogil=True)
def add_words(data, offsets, counts, word, words):  # type: ignore[no-untyped-def]
    """Add whole words from number `word` on; returns the first that did not fit."""
    while word < len(counts):
        if not has_room(words, 1, offsets[word + 1] - offsets[word]):
            break
        hash_value = FNV_START
        for position in range(offsets[word], offsets[word + 1]):
            hash_value = (hash_value ^ np.uint64(data[position])) * FNV_PRIME
        add_string(words, data, offsets[word], offsets[word + 1], hash_value, counts[word])
        word += 1
    return word
