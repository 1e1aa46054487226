"""What each character is to the splitting of text into words.

A word is a run of letters, marks and digits, in lower case. All else separates words, but for invisible format
characters such as soft hyphens and joiners, which are ignored. In scripts that do not separate words by spaces each
letter is a word, with the marks that follow it: Chinese, Japanese, Thai, Lao, Khmer and Burmese, and also Korean, whose
spaces writers place as they like.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
import numpy.typing as npt

SEPARATOR, LETTER, WORD, MARK, IGNORED = range(5)
"""Kinds of characters: a `WORD` is one on its own; a `MARK` continues any word."""
KIND_SHIFT = 24
"""An entry of the table is the kind, shifted by this, and the character in lower case."""
NUM_CHARACTERS = 0x40000
"""Entries of the table. Beyond it Unicode has only formats, variation selectors and private use."""
_WORDS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1100, 0x11FF),  # the parts of Hangul
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # the marks of repetition and the zero of Chinese
    (0x3040, 0x312F),  # Hiragana, Katakana, Bopomofo
    (0x3130, 0x318F),  # Hangul compatibility
    (0x31A0, 0x31FF),  # Bopomofo and Katakana, extended
    (0xA960, 0xA97F),  # the parts of Hangul
    (0xD7B0, 0xD7FF),
    (0xFF66, 0xFFDC),  # half-width Katakana and Hangul
    (0x1AFF0, 0x1B16F),  # Katakana and Hiragana, extended
)
"""Blocks in which each letter is a word."""
_IDEOGRAPHS = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
"""Blocks of nothing but Chinese characters and syllables of Hangul, unassigned ones included."""
_SURROGATES_AND_PRIVATE_USE = range(0xD800, 0xF900)


def _classify(character: str) -> tuple[int, str]:
    """The kind of a character, and what it is compared as: itself in lower case, where that is one character."""
    category = unicodedata.category(character)
    if category[0] == "M":
        return MARK, character
    if category[0] in "LN":
        lowered = character.lower()
        is_word = any(first <= ord(character) <= last for first, last in _WORDS)
        return WORD if is_word else LETTER, lowered if len(lowered) == 1 else character
    return IGNORED if category == "Cf" else SEPARATOR, character


@lru_cache(1)
def tabulate_characters() -> npt.NDArray[np.uint32]:
    """`(NUM_CHARACTERS,)` kind and lower case of every character, as Python's own tables of Unicode say."""
    table = np.full(NUM_CHARACTERS, SEPARATOR << KIND_SHIFT, np.uint32)
    for first, last in _IDEOGRAPHS:  # at once: one by one the table takes 0.6 s
        table[first : last + 1] = np.arange(first, last + 1, dtype=np.uint32) | np.uint32(WORD << KIND_SHIFT)
    for code_point in range(_IDEOGRAPHS[-1][0]):
        if table[code_point] == SEPARATOR << KIND_SHIFT and code_point not in _SURROGATES_AND_PRIVATE_USE:
            kind, compared = _classify(chr(code_point))
            table[code_point] = kind << KIND_SHIFT | ord(compared)
    table.flags.writeable = False
    return table
