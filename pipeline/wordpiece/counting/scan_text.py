"""The first look at raw text: whether it is UTF-8, its letters, and characters that the map does not have yet.

Apart from the counting of words, which may then take every byte for good and every character for known, and can
begin a word anew without counting a letter twice.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from maskmill.pipeline.wordpiece.counting.map_characters import (
    ASKED,
    CHANGED,
    ENDS_WORD,
    FOLLOWS,
    LETTER,
    STRIPPED_MARK,
)

UNKNOWN, NOT_UTF8, DONE = 0, 1, 2
"""Reasons why a scan stopped: at an unknown character, at a byte that is not UTF-8, at the end."""
_BLOCK = 64
_PLAIN_LETTER = ASKED | LETTER


@njit(cache=True, nogil=True)
def decode_character(data, position, stop):  # type: ignore[no-untyped-def]
    """The code point at `position` and its bytes, (-1, 0) where there is no well-formed one before `stop`.

    Well-formed as in the Unicode Standard, table 3-7: nothing overlong, no surrogate, nothing above U+10FFFF.
    """
    first = np.int64(data[position])
    if first < 0x80:
        return first, 1
    if first < 0xC2 or first > 0xF4:
        return -1, 0
    length = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if position + length > stop:
        return -1, 0
    code_point = first & (0x7F >> length)
    for offset in range(1, length):
        byte = np.int64(data[position + offset])
        if byte & 0xC0 != 0x80:
            return -1, 0
        code_point = code_point << 6 | (byte & 0x3F)
    if length == 3 and (code_point < 0x800 or 0xD800 <= code_point < 0xE000):
        return -1, 0
    if length == 4 and (code_point < 0x10000 or code_point > 0x10FFFF):
        return -1, 0
    return code_point, length


@njit(cache=True, nogil=True)
def _count_ascii_letters(data, start):  # type: ignore[no-untyped-def]
    """Letters in a block of bytes, -1 where not all are ASCII. Compiles to vector instructions."""
    letters = np.uint8(0)
    highest = np.uint8(0)
    for offset in range(_BLOCK):
        byte = data[start + offset]
        highest |= byte
        letters += np.uint8(np.uint8((byte | np.uint8(32)) - np.uint8(97)) < np.uint8(26))
    return np.int64(letters) if highest < 128 else np.int64(-1)


@njit(cache=True, nogil=True)
def scan_texts(data, offsets, sources, text, position, traits, counts, state):  # type: ignore[no-untyped-def]
    """Scan texts from `position` of `text` on.

    A letter is changed if stripping accents makes another string of it or drops a mark that follows it in its word,
    so that composed and decomposed text are counted alike.

    Args:
        data: UTF-8 bytes.
        offsets: (texts + 1,) where each text begins.
        sources: (texts,) the number of each one's source.
        text: The text to go on with.
        position: Where in it.
        traits: `CharacterMap.traits`.
        counts: (sources, 3) letters, changed letters and words with one, added to.
        state: (2,) where the scan stopped: whether a mark would change the letter before it, and whether the word has
            a changed letter. Zeros at first, changed in place.

    Returns:
        Why it stopped, and where: text, position, code point (for UNKNOWN).
    """
    num_texts = len(offsets) - 1
    while text < num_texts:
        reason, position, code_point = _scan_text(
            data, position, offsets[text + 1], traits, counts[sources[text]], state
        )
        if reason != DONE:
            return reason, text, position, code_point
        state[:] = 0
        text += 1
    return DONE, text, position, np.int64(0)


@njit(cache=True, nogil=True)
def _scan_text(  # type: ignore[no-untyped-def]  # noqa: C901 - one loop over characters, its state in locals
    data, position, stop, traits, counts, state
):
    """Scan one text; returns why it stopped, the position and the code point there."""
    letters = changed = words = 0
    is_open, is_word_changed = state[0], state[1]
    block_stop = position
    reason = DONE
    code_point = np.int64(0)
    while position < stop:
        if position >= block_stop and position + _BLOCK <= stop:
            in_block = _count_ascii_letters(data, position)
            if in_block >= 0:
                letters += in_block
                position += _BLOCK
                is_open = _is_open_behind(data, position, traits, is_open)
                if is_word_changed and _has_word_end(data, position, traits):
                    is_word_changed = 0
                continue
            block_stop = position + _BLOCK
        code_point, length = decode_character(data, position, stop)
        if code_point < 0:
            reason = NOT_UTF8
            break
        trait = traits[code_point]
        if trait == _PLAIN_LETTER:
            letters += 1
            is_open = 1
            position += length
            continue
        if trait == 0:
            reason = UNKNOWN
            break
        if trait & ENDS_WORD:
            is_word_changed = 0
        is_changed = trait & CHANGED
        if trait & LETTER:
            letters += 1
            is_open = not is_changed and not trait & ENDS_WORD
        elif trait & STRIPPED_MARK:
            is_changed = is_open
            is_open = 0
        elif not trait & FOLLOWS:
            is_open = 0
        if is_changed:
            changed += 1
            words += not is_word_changed
            is_word_changed = not trait & ENDS_WORD
        position += length
    counts[0] += letters
    counts[1] += changed
    counts[2] += words
    state[0], state[1] = is_open, is_word_changed
    return reason, position, code_point


@njit(cache=True, nogil=True)
def _is_open_behind(data, stop, traits, is_open):  # type: ignore[no-untyped-def]
    """Whether a mark behind a block of ASCII would change the letter before it."""
    for position in range(stop - 1, stop - _BLOCK - 1, -1):
        trait = traits[data[position]]
        if not trait & FOLLOWS:
            return np.int64((trait & LETTER) != 0)
    return np.int64(is_open)


@njit(cache=True, nogil=True)
def _has_word_end(data, stop, traits):  # type: ignore[no-untyped-def]
    position = stop - 1
    while position > stop - _BLOCK and not traits[data[position]] & ENDS_WORD:
        position -= 1
    return (traits[data[position]] & ENDS_WORD) != 0
