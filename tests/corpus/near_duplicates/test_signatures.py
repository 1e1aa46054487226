"""Signatures are those of MinHash in plain Python, whatever the script, and words are split as documented."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.corpus.near_duplicates.characters import tabulate_characters
from maskmill.pipeline.corpus.near_duplicates.signatures import (
    NO_MINIMUM,
    SHINGLES_AT_ONCE,
    Permutations,
    hash_bands,
    sign_documents,
)
from tests.corpus.near_duplicates.plain_minhash import measure_jaccard, sign, split_words

LETTERS = "abzABZ019éÉßİ\u0131\u03a3\u03c3Жж٣عहि्กำ你好々ひカ한글ກខမ"
OTHERS = " \t\n.,!-'\u0301\u00ad\u200d\ufeff\x00\U0001f600"
TEXTS = st.text(st.sampled_from(LETTERS + OTHERS), max_size=60)


def sign_texts(
    texts: list[str], permutations: Permutations, size: int
) -> tuple[list[list[int]], list[int], list[tuple[int, ...]]]:
    column = pa.array(texts, pa.string())
    _, starts, content = column.buffers()
    offsets = np.frombuffer(starts, np.int32, len(texts) + 1)
    text = np.frombuffer(content, np.uint8) if content is not None and content.size else np.zeros(0, np.uint8)
    text.flags.writeable = offsets.flags.writeable = False
    minima = np.empty((len(texts), len(permutations.factors)), np.uint32)
    exact = np.zeros((len(texts), 2), np.uint64)
    num_words = sign_documents(
        text, offsets, tabulate_characters(), permutations.factors, permutations.addends, size, minima, exact
    )
    return minima.tolist(), num_words.tolist(), [tuple(row) for row in exact.tolist()]


@given(texts=st.lists(TEXTS, min_size=1, max_size=5), size=st.integers(1, 7), seed=st.integers(0, 2**63 - 1))
def test_signatures_are_those_of_plain_python(texts: list[str], size: int, seed: int) -> None:
    permutations = Permutations.of(seed, 12)
    minima, num_words, _ = sign_texts(texts, permutations, size)
    words = [split_words(text) for text in texts]
    assert num_words == [len(own) for own in words]
    for own, found in zip(words, minima, strict=True):
        assert found == (sign(own, size, permutations) if len(own) >= size else [NO_MINIMUM] * 12)


@given(texts=st.lists(TEXTS, min_size=2, max_size=6))
def test_short_documents_have_equal_keys_if_their_words_are_equal(texts: list[str]) -> None:
    texts += [text.upper().lower().replace(" ", ". \u200d ") for text in texts]
    _, _, exact = sign_texts(texts, Permutations.of(0, 4), 100)
    words = [split_words(text) for text in texts]
    for one in range(len(texts)):
        for other in range(one):
            assert (exact[one] == exact[other]) is (words[one] == words[other])


def test_a_long_document_is_signed_like_its_shingles() -> None:
    words = [f"word{number * 7919 % 1013}" for number in range(3 * SHINGLES_AT_ONCE + 17)]
    permutations = Permutations.of(3, 16)
    minima, num_words, _ = sign_texts(["first", " ".join(words), ""], permutations, 5)
    assert num_words == [1, len(words), 0]
    assert minima[1] == sign(words, 5, permutations)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't PANIC!", ["don", "t", "panic"]),
        ("co\u00adop\u200d", ["coop"]),
        ("cafe\u0301s", ["cafe\u0301s"]),
        ("你好,世界", ["你", "好", "世", "界"]),
        ("abc你d", ["abc", "你", "d"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("한국어 글", ["한", "국", "어", "글"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("... \U0001f600 --", []),
    ],
)
def test_words_are_as_documented(text: str, words: list[str]) -> None:
    permutations = Permutations.of(0, 8)
    one, num_words, _ = sign_texts([text], permutations, 1)
    assert num_words == [len(words)]
    assert split_words(text) == words
    assert one[0] == (sign(words, 1, permutations) if words else [NO_MINIMUM] * 8)


def test_permutations_are_bijections() -> None:
    permutations = Permutations.of(5, 1000)
    assert (permutations.factors % 2 == 1).all()
    assert len(set(zip(permutations.factors.tolist(), permutations.addends.tolist(), strict=True))) == 1000


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 2), min_size=6, max_size=6), min_size=2, max_size=8))
def test_keys_of_bands_are_equal_where_the_bands_are(rows: list[list[int]]) -> None:
    minima = np.array(rows, np.uint32)
    keys = np.empty((len(rows), 3, 2), np.uint64)
    hash_bands(minima, 3, 2, keys)
    bands = {
        (document, band): tuple(rows[document][2 * band : 2 * band + 2])
        for document in range(len(rows))
        for band in range(3)
    }
    for (one, band), values in bands.items():
        for (other, other_band), other_values in bands.items():
            is_equal = (keys[one, band] == keys[other, other_band]).all()
            assert is_equal == ((band, values) == (other_band, other_values))


def test_the_share_of_equal_minima_is_the_jaccard_similarity() -> None:
    permutations = Permutations.of(1, 1024)
    for kept in (50, 150, 300, 450):
        one = " ".join(f"w{number}" for number in range(500))
        other = " ".join(f"w{number}" if number < kept else f"x{number}" for number in range(500))
        (first, second), _, _ = sign_texts([one, other], permutations, 3)
        share = sum(a == b for a, b in zip(first, second, strict=True)) / 1024
        assert share == pytest.approx(measure_jaccard(one, other, 3), abs=0.05)  # three standard deviations
