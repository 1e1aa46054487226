"""ICU marks where words start in Chinese and Japanese text; its pieces joined are the text."""

from __future__ import annotations

import itertools
import re
from importlib import metadata

import numpy as np
import pytest
from hypothesis import given
from icu4py.breakers import WordBreaker

from maskmill.pipeline.packing.words.icu import IcuSegmenter
from tests.packing.words.texts import SENTENCES, cjk_texts


def cut(text: str) -> list[str]:
    starts = [*np.flatnonzero(IcuSegmenter().mark_starts(text)).tolist(), len(text)]
    return [text[start:stop] for start, stop in itertools.pairwise(starts)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("研究生命的起源很有意思。", "研究 生命 的 起源 很 有意思 。"),
        ("北京大学的学生喜欢吃苹果", "北京 大学 的 学生 喜欢 吃 苹果"),
        ("機械学習モデルを訓練する", "機械 学習 モデル を 訓練 する"),
        ("東京タワーへ行く", "東京タワー へ 行く"),
        ("PCを3カ月", "PC を 3 カ月"),
        ("𠮷野家で食べる", "𠮷 野家 で 食べる"),  # its first character has two units in UTF-16
    ],
)
def test_words_are_those_of_the_dictionary(text: str, words: str) -> None:
    assert cut(text) == words.split()


@given(cjk_texts)
def test_starts_are_where_the_pieces_that_icu_gives_begin(text: str) -> None:
    marked = IcuSegmenter().mark_starts(text)
    assert (marked.dtype, marked.shape) == (np.bool_, (len(text),))
    assert cut(text) == list(WordBreaker(text, "zh")) == list(WordBreaker(text, "ja"))


def test_the_version_is_that_of_the_library_with_the_dictionary() -> None:
    """Boundaries of another ICU may be others: when this fails, say in the changelog what has changed."""
    assert metadata.version("icu4py") == "1.2.0"
    assert IcuSegmenter().version == "icu 78.3"
    assert re.fullmatch(r"icu [0-9.]+", IcuSegmenter().version)


def test_the_sentences_of_the_tests_have_words_of_several_characters() -> None:
    for sentence in SENTENCES:
        assert any(len(word) > 1 and not word.isascii() for word in cut(sentence))
