"""The loop of word counting: raw text to words, normalised and split by the map of characters."""

from __future__ import annotations

import numpy as np
from numba import njit

from maskmill.pipeline.wordpiece.counting.map_characters import BREAK, BY_TOKENIZERS, ENTRY_BITS, NO_BYTE
from maskmill.pipeline.wordpiece.counting.pack_words import pack_bytes
from maskmill.pipeline.wordpiece.counting.scan_text import decode_character
from maskmill.pipeline.wordpiece.counting.word_table import (
    COUNT,
    HASH,
    HASH_START,
    LENGTH_SHIFT,
    PIECE_BYTES,
    RAW,
    SHAPE,
    START,
    mix_piece,
)

_ROOM = 256  # tokens or pieces that one character's replacement can be, which is shorter than BY_TOKENIZERS


@njit(cache=True, nogil=True)
def split_texts(  # type: ignore[no-untyped-def]  # noqa: C901 - 0.28 s in one piece, 0.56 s in three functions
    data, offsets, sources, order, index, position, characters, tokens, arena
):
    """Fill a buffer with the words of texts, from `position` of the text `order[index]` on.

    Args:
        data: UTF-8 bytes, well-formed.
        offsets: (texts + 1,) where each text begins.
        sources: (texts,) the number of each one's source.
        order: (texts,) the order to take them in.
        index: The place in `order` to go on with.
        position: Where in that text: where a word begins.
        characters: `bytes_of_ascii`, `entries` and `pool` of a `CharacterMap` that has every character.
        tokens: (tokens, 4) to fill, each counted once. RAW in its shape marks one that is raw text, for `tokenizers`
            to normalise and split.
        arena: Pieces to fill.

    Returns:
        index and position to go on with, how many tokens were filled and how many of them are raw. Where none was
        filled and `index` is not at the end, the next word needs a longer arena.
    """
    bytes_of_ascii, entries, pool = characters
    num_tokens = 0
    num_raw = 0
    piece = 0
    while index < len(order):
        source = np.int64(sources[order[index]])
        stop = offsets[order[index] + 1]
        begin = position
        first_piece = piece
        length = 0
        packed = np.uint64(0)
        hash_value = HASH_START
        is_raw = False
        while True:
            start = size = width = np.int64(0)  # of the character that ends the word, if it is not the text's end
            if position < stop:
                byte = bytes_of_ascii[data[position]]
                if byte != NO_BYTE:
                    packed |= np.uint64(byte) << np.uint64(8 * (length & 7))
                    length += 1
                    position += 1
                    if length & 7 == 0:
                        if piece + _ROOM > len(arena):
                            return index, begin, num_tokens, num_raw
                        hash_value = mix_piece(hash_value, packed)
                        arena[piece] = packed
                        piece += 1
                        packed = np.uint64(0)
                    continue
                code_point, width = decode_character(data, position, stop)
                start = np.int64(entries[code_point]) >> ENTRY_BITS
                size = np.int64(entries[code_point]) & ((1 << ENTRY_BITS) - 1)
                if size == BY_TOKENIZERS:
                    is_raw = True
                    position += width
                    continue
                if size == 0 or pool[start] != BREAK:
                    if piece + _ROOM > len(arena):
                        return index, begin, num_tokens, num_raw
                    for offset in range(start, start + size):
                        packed |= np.uint64(pool[offset]) << np.uint64(8 * (length & 7))
                        length += 1
                        if length & 7 == 0:
                            hash_value = mix_piece(hash_value, packed)
                            arena[piece] = packed
                            piece += 1
                            packed = np.uint64(0)
                    position += width
                    continue
            # The word is at its end.
            if num_tokens + _ROOM > len(tokens) or piece + _ROOM > len(arena):
                return index, begin, num_tokens, num_raw
            if is_raw:  # its pieces so far are written over
                length = position - begin
                if first_piece + length // PIECE_BYTES + _ROOM > len(arena):
                    return index, begin, num_tokens, num_raw
                piece, hash_value = pack_bytes(data, begin, position, arena, first_piece)
                num_raw += 1
            elif length & 7:
                hash_value = mix_piece(hash_value, packed)
                arena[piece] = packed
                piece += 1
            if length:
                tokens[num_tokens, HASH] = np.int64(hash_value)
                tokens[num_tokens, START] = first_piece
                tokens[num_tokens, SHAPE] = length << LENGTH_SHIFT | (RAW if is_raw else 0) | source
                tokens[num_tokens, COUNT] = 1
                num_tokens += 1
            if size > 1:
                num_tokens, piece = _split_replacement(pool, start, size, source, tokens, num_tokens, arena, piece)
            position += width
            if width == 0:
                break
            begin = position
            first_piece = piece
            length = 0
            packed = np.uint64(0)
            hash_value = HASH_START
            is_raw = False
        index += 1
        if index < len(order):
            position = offsets[order[index]]
    return index, position, num_tokens, num_raw


@njit(cache=True, nogil=True)
def _split_replacement(pool, start, size, source, tokens, num_tokens, arena, piece):  # type: ignore[no-untyped-def]
    """Put the words between the breaks of a replacement; returns the next free token and piece."""
    begin = start + 1
    for offset in range(start + 1, start + size):
        if pool[offset] == BREAK:
            if offset > begin:
                first_piece = piece
                piece, hash_value = pack_bytes(pool, begin, offset, arena, first_piece)
                tokens[num_tokens, HASH] = np.int64(hash_value)
                tokens[num_tokens, START] = first_piece
                tokens[num_tokens, SHAPE] = (offset - begin) << LENGTH_SHIFT | source
                tokens[num_tokens, COUNT] = 1
                num_tokens += 1
            begin = offset + 1
    return num_tokens, piece
