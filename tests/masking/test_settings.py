from __future__ import annotations

import pytest
from hypothesis import given
from pydantic import ValidationError

from maskmill.schemas.errors import ConfigError
from maskmill.schemas.mask_vocabulary import MaskVocabulary
from maskmill.schemas.masking import Masking, MaskStrategy
from tests.masking.cases import maskings

BERT = {"vocab_size": 30_522, "pad_id": 0, "unk_id": 100, "cls_id": 101, "sep_id": 102, "mask_id": 103}


def test_defaults_are_berts():
    masking = Masking()
    assert masking.strategy is MaskStrategy.TOKEN
    assert (masking.rate, masking.mask_share, masking.random_share, masking.seed) == (0.15, 0.8, 0.1, 0)


def test_thresholds_are_the_laws_integers():
    assert Masking().rate_ppm == 150_000
    assert Masking().mask_threshold == 3_435_973_836  # 0.8 * 2**32 = 3435973836.8
    assert Masking().random_threshold == 3_865_470_566  # 0.9 * 2**32 = 3865470566.4
    assert Masking(mask_share=1.0, random_share=0.0).mask_threshold == 2**32
    assert Masking(mask_share=0.0, random_share=0.0).random_threshold == 0


@given(masking=maskings())
def test_settings_survive_json(masking):
    assert Masking.model_validate_json(masking.model_dump_json()) == masking


def test_settings_equal_to_the_ppm_are_equal():
    assert Masking(rate=0.1 + 0.05) == Masking(rate=0.15)
    assert Masking(rate=1).rate_ppm == 10**6


NAMES = '"token", "whole_word", "span" or "ngram"'


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"rate": 1.5}, "masking: the value of rate is wrong; expected at most 1.0; found 1.5; change rate"),
        ({"rate": -0.1}, "at least 0"),
        ({"rate": float("nan")}, "finite"),
        ({"rate": 0.1234567}, "write 0.123457 instead"),
        ({"rate": 4e-7}, "write 0.000001 instead"),
        ({"rate": "0.15"}, "expected a number"),
        ({"rate": True}, "expected a number"),
        ({"mask_share": 0.9, "random_share": 0.2}, "must not exceed 1"),
        ({"seed": -1}, "at least 0"),
        ({"seed": 2**64}, "less than"),
        ({"strategy": "words"}, f"the value of strategy is wrong; expected {NAMES}; found 'words'; change"),
        (
            {"strategy": ["token"]},
            f"the value of strategy is wrong; expected {NAMES}; found",
        ),
        ({"ratio": 0.15}, r"masking: unknown key ratio; expected one of rate, .*; did you mean rate\?"),
    ],
)
def test_wrong_settings_are_refused_in_words(wrong, words):
    with pytest.raises(ConfigError, match=words) as caught:
        Masking(**wrong)
    assert "pydantic" not in str(caught.value)
    assert "Value error" not in str(caught.value)
    with pytest.raises(ValidationError):  # for those who read files, and name the key
        Masking.model_validate(wrong)


def test_settings_are_given_by_name():
    with pytest.raises(ConfigError, match=r"by name; found 0.15; write for example Masking\(rate=0.15\)"):
        Masking(0.15)


def test_shares_that_sum_to_one_in_decimals_are_accepted():
    assert Masking(mask_share=0.7, random_share=0.3).random_threshold == 2**32
    assert Masking(mask_share=0.9, random_share=0.1).random_threshold == 2**32


def test_a_vocabulary_survives_json():
    vocabulary = MaskVocabulary(**BERT, excluded_ranges=((0, 104),))
    assert MaskVocabulary.model_validate_json(vocabulary.model_dump_json()) == vocabulary


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"excluded_ranges": ((0, 103),)}, r"\[MASK\] has id 103, which no excluded range holds"),
        ({"excluded_ranges": ((0, 50), (50, 104))}, "touches"),
        ({"excluded_ranges": ((0, 104), (90, 200))}, "out of order"),
        ({"excluded_ranges": ((0, 104), (200, 200))}, "empty"),
        ({"excluded_ranges": ((0, 104), (30_000, 30_523))}, "leaves the vocabulary"),
        ({"excluded_ranges": ((0, 30_522),)}, "no id is left"),
        ({"excluded_ranges": ((0, 104),), "sep_id": 101}, "ids of their own"),
        ({"excluded_ranges": ((0, 104),), "unk_id": 40_000}, "which no excluded range holds"),
    ],
)
def test_wrong_vocabularies_are_refused_in_words(wrong, words):
    with pytest.raises(ValidationError, match=words):
        MaskVocabulary(**{**BERT, **wrong})


@pytest.mark.parametrize(
    ("settings", "used"),
    [
        ({}, []),
        ({"selection": "bernoulli"}, ["selection"]),
        ({"strategy": "ngram", "max_ngram": 2}, ["replace_by", "max_ngram"]),
        ({"strategy": "span", "protect": ["[UNK]"]}, ["replace_by", "max_span", "span_lengths", "protect"]),
    ],
)
def test_only_settings_that_matter_are_written(settings, used):
    assert list(Masking(**settings).model_dump()) == ["strategy", "rate", "mask_share", "random_share", "seed", *used]
