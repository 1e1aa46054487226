"""A table for numba loops of what BERT's normaliser and pre-tokeniser do to each character.

`tokenizers` itself is asked, when a character is first met, by putting it between two letters: the words that come
out tell its replacement and where words break. That is enough for every character whose replacement does not depend
on its neighbours. The only step that looks at neighbours is canonical ordering (Unicode Standard Annex 15: runs of
characters with a non-zero combining class are sorted by it), which is a part of stripping accents. There, characters
with such a class that are not dropped afterwards have no replacement here, nor have those that Python's `unicodedata`
does not know and cannot speak of.
"""

from __future__ import annotations

import unicodedata

import numpy as np
import numpy.typing as npt
from tokenizers import normalizers

from maskmill.pipeline.wordpiece.files.normalise import Normalisation

BREAK = 0
"""Ends a word: clean_text deletes NUL, so a replacement cannot contain it otherwise."""
ASKED, LETTER, CHANGED, STRIPPED_MARK, FOLLOWS, ENDS_WORD = 1, 2, 4, 8, 16, 32
"""Bits of `CharacterMap.traits`."""
ENTRY_BITS = 8
"""An entry is start in the pool * 2^8 + length of the replacement."""
BY_TOKENIZERS = 255
"""The length of an entry without a replacement: a word with this character goes through `tokenizers`."""
NO_BYTE = 0
"""In `CharacterMap.bytes_of_ascii`: look at the entry."""

_STRIP_ACCENTS = normalizers.BertNormalizer(
    clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False
)
_DECOMPOSE = normalizers.NFD()
_NUM_CODE_POINTS = 0x110000
_NUM_ASCII = 128
_POOL_BYTES = 1 << (31 - ENTRY_BITS)  # touched as it fills: all code points together take 4 MB


class CharacterMap:
    """Replacements of the characters asked so far.

    Attributes:
        traits: (0x110000,) uint8. 0 for a character not asked yet, else ASKED and what it is in the raw text: LETTER,
            general category L*; CHANGED, a letter that dropping combining marks (Mn) after NFD makes another string;
            STRIPPED_MARK, a mark (M*) that this drops, or a part of it; FOLLOWS, a mark or a character that
            normalising deletes, so that a mark behind it still is the letter's before it; ENDS_WORD.
        entries: (0x110000,) int32, valid where asked: the place of the replacement in `pool` and its length. It
            has no BREAK, or both begins and ends with one.
        pool: Replacements in UTF-8, BREAK where a word ends.
        bytes_of_ascii: (256,) uint8, for each first byte of a character the byte that replaces it, NO_BYTE where it
            is not one byte by one.
    """

    def __init__(self, normalisation: Normalisation) -> None:
        self._strips_accents = normalisation.strips_accents
        self._normalizer = normalisation.build_normalizer()
        self._pre_tokenizer = normalisation.build_pre_tokenizer()
        self.traits: npt.NDArray[np.uint8] = np.zeros(_NUM_CODE_POINTS, np.uint8)
        self.entries: npt.NDArray[np.int32] = np.zeros(_NUM_CODE_POINTS, np.int32)
        self.pool: npt.NDArray[np.uint8] = np.empty(_POOL_BYTES, np.uint8)
        self.bytes_of_ascii: npt.NDArray[np.uint8] = np.full(256, NO_BYTE, np.uint8)
        self._pool_used = 0
        for code_point in range(_NUM_ASCII):
            replacement = self.ask(code_point)
            if replacement is not None and len(replacement) == 1 and replacement[0] != BREAK:
                self.bytes_of_ascii[code_point] = replacement[0]

    def split(self, text: str) -> list[str]:
        """The words of a text by `tokenizers` alone."""
        normalised = self._normalizer.normalize_str(text)
        return [word for word, _ in self._pre_tokenizer.pre_tokenize_str(normalised)]

    def ask(self, code_point: int) -> bytes | None:
        """Make the entry of a character that is not a surrogate; returns its replacement if it has one."""
        character = chr(code_point)
        replacement = self._find_replacement(character)
        self.traits[code_point] = ASKED | _tell_letter(character) | _tell_mark(character) | _tell_place(replacement)
        if replacement is None:
            self.entries[code_point] = BY_TOKENIZERS
            return None
        stop = self._pool_used + len(replacement)
        self.pool[self._pool_used : stop] = np.frombuffer(replacement, np.uint8)
        self.entries[code_point] = self._pool_used << ENTRY_BITS | len(replacement)
        self._pool_used = stop
        return replacement

    def _find_replacement(self, character: str) -> bytes | None:
        between = chr(BREAK).join(self.split(f"x{character}x"))
        replacement = between[1:-1]
        if between != f"x{replacement}x" or not _has_breaks_outside(replacement):
            return None
        if self._strips_accents and _is_ordered(character, replacement):
            return None
        encoded = replacement.encode()
        return encoded if len(encoded) < BY_TOKENIZERS else None


def _is_ordered(character: str, replacement: str) -> bool:
    """Whether canonical ordering may move a character's replacement."""
    return unicodedata.category(character) == "Cn" or any(unicodedata.combining(part) for part in replacement)


def _has_breaks_outside(replacement: str) -> bool:
    """Whether there is no break, or one at each end: then a word can be counted without looking past it."""
    break_ = chr(BREAK)
    return break_ not in replacement or (replacement.startswith(break_) and replacement.endswith(break_))


def _tell_place(replacement: bytes | None) -> int:
    """The traits of a character."""
    if replacement is None:
        return 0
    return (0 if replacement else FOLLOWS) | (ENDS_WORD if BREAK in replacement else 0)


def _tell_mark(character: str) -> int:
    if not unicodedata.category(character).startswith("M"):
        return 0
    stripped, decomposed = (form.normalize_str(character) for form in (_STRIP_ACCENTS, _DECOMPOSE))
    return FOLLOWS | (STRIPPED_MARK if len(stripped) < len(decomposed) else 0)


def _tell_letter(character: str) -> int:
    if not unicodedata.category(character).startswith("L"):
        return 0
    # A letter is no mark: what NFD takes apart, the letter without its marks is not, and what it leaves stays.
    return LETTER | (CHANGED if unicodedata.normalize("NFD", character) != character else 0)
