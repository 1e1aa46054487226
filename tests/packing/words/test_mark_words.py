"""Tokens start words where a segmenter says so in Chinese and Japanese text, and where WordPiece does elsewhere.

The oracle takes each character by itself: it normalises it alone, lays the pieces of the tokens along what comes of it,
and never asks `tokenizers` where a token lies in its text.
"""

from __future__ import annotations

import itertools
import json
import string
import unicodedata
from importlib.util import find_spec
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from icu4py.breakers import WordBreaker

from maskmill.pipeline.packing.encoded_documents import encode_documents
from maskmill.pipeline.packing.prepare_encoder import describe_tokenizer
from maskmill.pipeline.packing.words import mark_words as marking
from maskmill.pipeline.packing.words.icu import IcuSegmenter
from maskmill.pipeline.packing.words.lay_tokens import load_layer
from maskmill.pipeline.packing.words.mark_words import find_letters, mark_words
from maskmill.pipeline.wordpiece.encoding import load_encoders, slice_texts
from maskmill.pipeline.wordpiece.encoding.encode import Encoder
from maskmill.pipeline.wordpiece.encoding.load_encoders import SpecialInText
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.pipeline.wordpiece.files.tokenizer_files import build_tokenizer, tokenizer_files
from maskmill.schemas.errors import ShardCorruptError
from maskmill.schemas.tokenizer.tokenizer_file import SPECIAL_TOKENS
from tests.packing.words.texts import NASTY, SENTENCES, cjk_texts
from tests.wordpiece.fast_path import load_fast_path
from tests.wordpiece.texts import read_corpus

NORMALISATIONS = [
    Normalisation(),
    Normalisation(False, False),
    Normalisation(True, False),
    Normalisation(True, None, False),
]


UNK = "[UNK]"


def make_tokenizer(normalisation: Normalisation) -> bytes:
    """Most characters and some longer pieces, with room for [UNK]."""
    characters = sorted(
        set(normalisation.build_normalizer().normalize_str("".join(SENTENCES) + NASTY + string.ascii_letters))
        - set(" 𠮷々")
    )
    longer = ["ます", "いる", "トーク", "モデル", "コーヒー", "py", "##thon", "##トーク", "##ます", "##して", "##っ"]
    pieces = dict.fromkeys([*SPECIAL_TOKENS, *characters, *(f"##{one}" for one in characters), *longer])
    return tokenizer_files(build_tokenizer(list(pieces), normalisation))["tokenizer.json"]


TOKENIZERS = [make_tokenizer(normalisation) for normalisation in NORMALISATIONS]


def mark(texts: list[str], tokenizer_json: bytes, fast: Any = None) -> list[list[bool]]:
    encoder = Encoder(tokenizer_json, fast_encode=fast)
    column = pa.chunked_array([pa.array(texts[:2], pa.string()), pa.array(texts[2:], pa.string())])
    encoded = encode_documents(encoder, column)
    _, is_continuation = describe_tokenizer(tokenizer_json)
    starts = mark_words(encoder, IcuSegmenter(), column, encoded, is_continuation)
    assert (starts.dtype, starts.shape) == (np.bool_, encoded.ids.shape)
    return [starts[begin:end].tolist() for begin, end in itertools.pairwise(encoded.offsets.tolist())]


def expect(text: str, tokenizer_json: bytes, normalisation: Normalisation) -> list[bool] | None:
    """Whether a word starts at each token, one character at a time; `None` where characters depend on each other."""
    normalizer = normalisation.build_normalizer()
    alone = [normalizer.normalize_str(character) for character in text]
    normalised = "".join(alone)
    strips = normalizer.normalize_str("é") == "e"
    if normalised != normalizer.normalize_str(text) or (strips and any(map(unicodedata.combining, normalised))):
        return None  # marks are ordered, and `tokenizers` knows their places roughly
    origin = [place for place, written in enumerate(alone) for _ in written]
    boundaries = set(itertools.accumulate((len(piece) for piece in WordBreaker(text, "und")), initial=0))
    law = Encoder(tokenizer_json).law
    expected: list[bool] = []
    last = -1
    tokens = iter(law.encode(text, add_special_tokens=False).tokens)
    for word, (begin, _) in normalisation.build_pre_tokenizer().pre_tokenize_str(normalised):
        covered = 0
        while covered < len(word):
            token = next(tokens)
            place = origin[begin + covered]
            by_piece, by_segmenter = not token.startswith("##") or token == word, place in boundaries
            by_segmenter &= place != last  # one more token of a character starts no other word
            last = place
            if is_letter(text, place):
                expected.append(by_segmenter)
            else:
                expected.append(by_piece or (place > 0 and is_letter(text, place - 1) and by_segmenter))
            covered += len(word) if token == UNK else len(token.removeprefix("##") if covered else token)
    assert next(tokens, None) is None
    return expected


def is_letter(text: str, place: int) -> bool:
    """Whether the segmenter decides at a character: one of the three scripts, or a mark that follows one."""
    while place > 0 and unicodedata.category(text[place])[0] == "M" and bool(find_letters("中" + text[place])[1]):
        if find_letters(text[place])[0]:
            return True
        place -= 1
    return bool(find_letters(text[place])[0])


@settings(max_examples=400)
@given(
    st.lists(cjk_texts, max_size=5),
    st.integers(0, len(NORMALISATIONS) - 1),
    st.sampled_from([20, 1 << 22]),
    st.booleans(),
)
def test_words_start_where_one_looks_at_every_character(
    texts: list[str], number: int, limit: int, by_tokenizers: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if by_tokenizers:
            patch.setattr(marking, "load_layer", lambda _: None)
        patch.setattr(slice_texts, "SLICE_BYTES", limit)
        patch.setattr(load_encoders, "_LAW_BATCH_CHARACTERS", limit)
        found = mark(texts, TOKENIZERS[number])
    for marked, text in zip(found, texts, strict=True):
        expected = expect(text, TOKENIZERS[number], NORMALISATIONS[number])
        assert expected in (marked, None)


@pytest.mark.parametrize("number", range(len(NORMALISATIONS)))
@pytest.mark.parametrize("text", [*SENTENCES, " ".join(SENTENCES), "\n".join(SENTENCES) * 3])
def test_words_of_real_sentences_start_there_too(text: str, number: int) -> None:
    (found,) = mark([text], TOKENIZERS[number], load_fast_path(TOKENIZERS[number], SpecialInText.TEXT))
    assert found == expect(text, TOKENIZERS[number], NORMALISATIONS[number])


@pytest.mark.parametrize("number", range(len(NORMALISATIONS)))
@pytest.mark.parametrize("text", [*SENTENCES, " ".join(SENTENCES), "Été [MASK] \ufffd中\u200b カ\u3099 国"])
def test_tokens_laid_along_a_text_begin_where_tokenizers_says(text: str, number: int) -> None:
    layer, law = load_layer(TOKENIZERS[number]), Encoder(TOKENIZERS[number]).law
    assert layer is not None
    encoding = law.encode(text, add_special_tokens=False)
    ids = np.array(encoding.ids, np.uint16)
    places = layer.lay(text, ids)
    assert places is not None
    assert places.tolist() == [start for start, _ in encoding.offsets]
    for wrong in (ids[:-1], np.append(ids, ids[:1]), np.roll(ids, 1), ids + np.uint16(1), ids | np.uint16(1 << 15)):
        assert layer.lay(text, wrong) is None
    assert layer.lay(text + " a", ids) is None
    assert layer.lay(text[:-1], ids) is None


def test_pieces_that_are_spelt_alike_are_told_apart() -> None:
    layer, law = load_layer(TOKENIZERS[1]), Encoder(TOKENIZERS[1]).law
    assert layer is not None
    for tokens, is_right in ((["中", "o", "##k"], True), (["中", "##o", "##k"], False), (["中", "o", "k"], False)):
        places = layer.lay("中ok", np.array([law.token_to_id(token) for token in tokens], np.uint16))
        assert (places is not None) == is_right


def test_ids_that_no_plain_text_has_are_not_laid() -> None:
    """A special token's string is one token in its own way of encoding, and three words of text."""
    layer = load_layer(TOKENIZERS[0])
    assert layer is not None
    for token in SPECIAL_TOKENS:
        ids = Encoder(TOKENIZERS[0], SpecialInText.SPECIAL).law.encode(f"中 {token} 国", add_special_tokens=False).ids
        assert len(ids) == 3
        assert layer.lay(f"中 {token} 国", np.array(ids, np.uint16)) is None
        assert mark([f"中 {token} 国"], TOKENIZERS[0]) != [[True] * 3]


@pytest.mark.parametrize("change", [{"pre_tokenizer": {"type": "Whitespace"}}, {"normalizer": {"type": "NFC"}}])
def test_other_tokenizers_are_left_to_the_library(change: dict[str, Any]) -> None:
    other = json.dumps(json.loads(TOKENIZERS[0]) | change).encode()
    assert load_layer(other) is None
    text = "\n".join(SENTENCES)
    starts = IcuSegmenter().mark_starts(text)
    (found,) = mark([text], other)
    offsets = Encoder(other).law.encode(text, add_special_tokens=False).offsets
    inside = [place for place, (start, _) in enumerate(offsets) if find_letters(text)[start]]
    assert [found[place] for place in inside] == [bool(starts[offsets[place][0]]) for place in inside]


def show(text: str, number: int = 1) -> str:
    """The tokens with a bar before each that starts a word."""
    tokens = Encoder(TOKENIZERS[number]).law.encode(text, add_special_tokens=False).tokens
    (starts,) = mark([text], TOKENIZERS[number])
    return "".join(f"{'|' if start else ' '}{token}" for token, start in zip(tokens, starts, strict=True))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("学生们在阅读", "|学 生|们|在|阅 读"),
        ("このモデル", "|こ ##の|##モ ##デ ##ル"),  # a run of kana, one word to WordPiece, is two
        ("モデルです", "|モデル|##で ##す"),
        ("Books学生", "|B ##o ##o ##k ##s|学 生"),
        ("pythonを使う", "|py ##thon|##を|使 [UNK]"),  # a word of Latin letters ends where kana begin
        ("をpython", "|を|##p ##y ##thon"),  # and begins where they end
        ("reading books", "|r ##e ##a ##d ##i ##n ##g|b ##o ##o ##k ##s"),
        ("학생们", "|[UNK]|们"),
    ],
)
def test_words_by_hand(text: str, shown: str) -> None:
    assert show(text) == shown


def test_text_in_other_scripts_has_the_words_of_its_pieces() -> None:
    text = "The café's readers; Быстрая лиса, 한글은 소리 글자다."
    tokens = Encoder(TOKENIZERS[1]).law.encode(text, add_special_tokens=False).tokens
    assert mark([text], TOKENIZERS[1]) == [[not token.startswith("##") for token in tokens]]


def test_letters_are_those_of_the_three_scripts() -> None:
    kinds = (
        "CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "CJK RADICAL", "KANGXI RADICAL", "HANGZHOU NUMERAL",
        "HIRAGANA", "KATAKANA", "HENTAIGANA", "HALFWIDTH KATAKANA", "COMBINING KATAKANA-HIRAGANA", "VERTICAL KANA",
        "IDEOGRAPHIC ITERATION", "IDEOGRAPHIC CLOSING", "IDEOGRAPHIC NUMBER", "VERTICAL IDEOGRAPHIC ITERATION",
        "OLD CHINESE ITERATION",
    )  # fmt: skip
    for code_point in range(0x110000):
        name = unicodedata.name(chr(code_point), "")
        if name and not 0xD800 <= code_point < 0xE000:
            is_punctuation = unicodedata.category(chr(code_point))[0] == "P"
            expected = name.startswith(kinds) and not is_punctuation
            assert bool(find_letters(chr(code_point))[0]) == expected, name


def test_marks_are_of_the_scripts_of_the_character_before_them() -> None:
    text = "\u0301中\ufe00\U000e0100a\ufe00か\u0301\u20dd。\u0301"
    expected = [False, True, True, True, False, False, True, True, True, False, False]
    assert find_letters(text).tolist() == expected


def test_ids_that_are_not_those_of_the_text_are_refused() -> None:
    encoder = Encoder(TOKENIZERS[0])
    column = pa.chunked_array([["books", "学生们", "阅读"]])
    encoded = encode_documents(encoder, column)
    encoded.ids[encoded.offsets[2]] += 1
    _, is_continuation = describe_tokenizer(TOKENIZERS[0])
    with pytest.raises(ShardCorruptError, match=r"pack.word_boundaries, document 2 of its shard: the token ids"):
        mark_words(encoder, IcuSegmenter(), column, encoded, is_continuation)


@pytest.mark.skipif(find_spec("nanotoken") is None, reason="nanotoken is not installed")
@pytest.mark.parametrize("name", ["tf-docs-zh", "tf-docs-ja"])
def test_words_of_a_corpus_start_where_one_looks_at_every_character(name: str) -> None:
    texts = [text[:3000] for text in read_corpus(name, 20)]
    for number, normalisation in enumerate(NORMALISATIONS):
        found = mark(texts, TOKENIZERS[number], load_fast_path(TOKENIZERS[number], SpecialInText.TEXT))
        assert found == [expect(text, TOKENIZERS[number], normalisation) for text in texts]
