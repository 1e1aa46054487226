"""Weights of sources are the floors of real numbers, found in whole numbers alone."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from maskmill.pipeline.wordpiece.counting.word_counts import ALL_SOURCES, MAX_SOURCES, SourceText
from maskmill.pipeline.wordpiece.vocabulary.weigh_sources import explain_idle_alpha, floor_root, weigh_sources
from maskmill.schemas.errors import ConfigError


def of_words(*numbers: int) -> list[SourceText]:
    return [SourceText(str(place), 0, words, 0, 0, 0) for place, words in enumerate(numbers)]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=4), st.integers(0, 1000))
@example([10**12, 1], 0)
@example([10**12, 10**12 - 1, 3], 1)
@example([10**12, 7], 999)
@example([4, 1], 500)
def test_a_weight_is_the_floor_of_its_power(words: list[int], alpha: int) -> None:
    # weight <= 2^16 (m/n)^(b/1000) < weight + 1, both sides to the power of 1000.
    power = 1000 - alpha
    for number, weight in zip(words, weigh_sources(of_words(*words), alpha).tolist(), strict=True):
        exact = 2**16000 * max(words) ** power
        assert weight**1000 * number**power <= exact < (weight + 1) ** 1000 * number**power


def test_weights_by_hand() -> None:
    assert weigh_sources(of_words(400, 100, 1, 0), 1000).tolist() == [65536] * 4
    assert weigh_sources(of_words(400, 100, 1, 0), 500).tolist() == [65536, 131072, 1310720, 65536]
    assert weigh_sources(of_words(3, 10), 0).tolist() == [218453, 65536]  # 65536 * 10 / 3 = 218453.3
    # Multilingual BERT's example: 1000 times as many words, at 0.7 sampled 1000^0.7 = 125.9 times as often.
    large, small = weigh_sources(of_words(10**6, 10**3), 700).tolist()
    assert round(1000 * large / small, 1) == 125.9
    assert weigh_sources([], 700).tolist() == []
    assert weigh_sources(of_words(0, 0), 700).tolist() == [65536] * 2


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 2**90), st.integers(0, 20_000), st.integers(1, 1000))
@example(1, 3000, 1000)
@example(8**1000 - 1, 0, 1000)
@example(1, 0, 7)
def test_a_root_is_the_largest_whole_number_below(factor: int, power: int, degree: int) -> None:
    value = factor << (power % (900 * degree))
    root = floor_root(value, degree)
    assert root**degree <= value < (root + 1) ** degree


def test_counts_that_pass_63_bits_are_refused_in_words() -> None:
    with pytest.raises(ConfigError, match=r"too large for 63 bits.*raise tokenizer.alpha"):
        weigh_sources(of_words(2**60, *[1] * 8), 0)
    assert weigh_sources(of_words(2**62), 1000).tolist() == [65536]
    with pytest.raises(ConfigError, match="63 bits"):
        weigh_sources(of_words(2**62, 2**62), 1000)
    with pytest.raises(ConfigError, match="63 bits"):  # fractional parts alone: 2^48 words that weigh 1 + 65535/65536
        weigh_sources(of_words(2**49, 2**48 + 2**31), 0)


def test_weighing_one_source_is_explained() -> None:
    assert explain_idle_alpha(["de", "en"], 0.3) is None
    assert explain_idle_alpha(["de"], 1.0) is None
    assert "all text is of one source, 'de'" in str(explain_idle_alpha(["de"], 0.3))
    assert f"more than {MAX_SOURCES:,} sources" in str(explain_idle_alpha([ALL_SOURCES], 0.3))
