"""The table of characters says what `tokenizers` says, for every character there is, alone and beside others."""

from __future__ import annotations

import unicodedata

import pyarrow as pa
import pytest

from maskmill.pipeline.wordpiece.counting.count_words import WordCounter
from maskmill.pipeline.wordpiece.counting.map_characters import BY_TOKENIZERS, CharacterMap
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from tests.wordpiece.any_texts import NORMALISATIONS, ORDERED, as_dict, count_by_tokenizers

CHARACTERS = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
KNOWN = [char for char in CHARACTERS if unicodedata.category(char) not in ("Cn", "Co")]
CONTEXT = "{0} a{0}B .{0}\u0301\u0323{0}"
# Characters in one text, parted by spaces: each is met alone, between letters, after a break and among marks.
CHARACTERS_A_TEXT = 1000


def compare(characters: list[str], normalisation: Normalisation) -> None:
    counter = WordCounter(normalisation)
    for start in range(0, len(characters), CHARACTERS_A_TEXT):
        text = " ".join(CONTEXT.format(char) for char in characters[start : start + CHARACTERS_A_TEXT])
        counter.add(pa.array([text]))
        assert as_dict(counter.finish()) == count_by_tokenizers([text], normalisation), f"from character {start}"


@pytest.mark.parametrize("lowercase", [True, pytest.param(False, marks=pytest.mark.long)])
@pytest.mark.parametrize("strip_accents", [True, pytest.param(False, marks=pytest.mark.long)])
def test_every_known_character(lowercase: bool, strip_accents: bool) -> None:
    compare(KNOWN, Normalisation(lowercase, strip_accents))


@pytest.mark.parametrize(("first", "normalisation"), list(enumerate(NORMALISATIONS)))
def test_one_in_twelve_of_all_characters_for_each_normalisation(first: int, normalisation: Normalisation) -> None:
    compare(CHARACTERS[first * 41 % 503 :: 503], normalisation)
    compare(KNOWN[first::12], normalisation)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_every_ascii_character_in_every_place(normalisation: Normalisation) -> None:
    contexts = ("{0}", "Ab{0}Cd", "{0}x", "X{0}{0}y", "seven_7{0}", "eight__8{0}9")
    texts = [context.format(chr(code)) for code in range(128) for context in contexts]
    counter = WordCounter(normalisation)
    counter.add(pa.array(texts))
    assert as_dict(counter.finish()) == count_by_tokenizers(texts, normalisation)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_marks_in_every_order(normalisation: Normalisation) -> None:
    texts = [f"a{one}{two}{three}b" for one in ORDERED for two in ORDERED for three in ORDERED + "\x00\n"]
    counter = WordCounter(normalisation)
    counter.add(pa.array(texts))
    assert as_dict(counter.finish()) == count_by_tokenizers(texts, normalisation)


def test_only_what_ordering_may_move_goes_through_tokenizers() -> None:
    def needs_tokenizers(text: str, normalisation: Normalisation) -> list[bool]:
        characters = CharacterMap(normalisation)
        for char in text:
            characters.ask(ord(char))
        return [int(characters.entries[ord(char)]) == BY_TOKENIZERS for char in text]

    # Letters of many scripts, a virama, Arabic and Hebrew points: dropped, or never ordered.
    everyday = "aé中한あЖعक\u094d\u064b\u05b0\u0e38\u0301\u200d!\ue000"
    assert not any(needs_tokenizers(everyday, Normalisation()))
    assert not any(needs_tokenizers(everyday + "\u302e\U0001d165\u0378", Normalisation(lowercase=False)))
    assert all(needs_tokenizers("\u302e\U0001d165\U0001d15e\u0378", Normalisation()))
    counter = WordCounter(Normalisation())
    counter.add(pa.array(["a.b\u302ec d, \u4e2d\u302e\u4e2d e", "f"]))
    assert dict(counter._aside) == {(0, "b\u302ec".encode()): 1, (0, "\u302e".encode()): 1}
