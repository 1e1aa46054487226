"""What holds for strategies of words beside the law: their distributions, their units, and one row by hand."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.masking.numba_masks import draw_row, mask_rows
from maskmill.pipeline.masking.plan_masks import plan_masks
from maskmill.pipeline.masking.scratch import POSITIONS, SCRATCH_ROWS, UNITS
from maskmill.pipeline.masking.strategies.table import find_strategy
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.masking import Masking
from maskmill.schemas.run_file import MaskSection
from tests.masking.cases import STRATEGIES, WEIGHTS, epochs, maskings, name_of, rows_of_ids, uint64s
from tests.masking.oracle import CLS, MASK, PAD, SEP, VOCAB_SIZE, segments_of, select_by_the_law

WORDS = [strategy for strategy in STRATEGIES if strategy.get("strategy", "token") != "token"]
quick = settings(deadline=None, max_examples=60)


def select(rows, masking, tables, epoch=0):
    return mask_rows(rows, np.arange(len(rows), dtype=np.uint64), epoch, masking, tables)[1] != -100


def text_rows(num_rows, seed=0):
    """Rows of three sequences of 1 to 4 pieces a word, and padding."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(10, 200, (num_rows, 256)).astype(np.uint16)
    is_start = rng.random(rows.shape) < 0.6
    rows += np.where(is_start, rows % 2, 1 - rows % 2).astype(np.uint16)
    rows[rows > 199] = 12
    rows[:, [0, 80, 160]], rows[:, [79, 159, 239]], rows[:, 240:] = CLS, SEP, PAD
    return rows


@pytest.mark.parametrize(
    ("settings", "mean"),
    [
        ({"strategy": "span"}, 3.797),  # SpanBERT, section 3.1: 3.8
        ({"strategy": "span", "span_lengths": "clipped"}, 4.463),
        ({"strategy": "ngram"}, 18 / 11),
        ({"strategy": "whole_word"}, 1.0),
    ],
)
def test_units_are_as_long_as_the_papers_say(settings, mean):
    shares = find_strategy(masking := Masking(**settings)).list_length_shares(masking)
    assert sum(shares) == 1
    assert float(sum(n * share for n, share in enumerate(shares, 1))) == pytest.approx(mean, abs=5e-4)


def draw_units(row, row_id, epoch, masking, tables):
    """The positions of each unit that the kernel selects in a row."""
    scratch = np.empty((SCRATCH_ROWS, len(row)), np.uint32)
    plan = plan_masks(masking, tables, epoch)
    count = draw_row(row, np.empty(0, np.bool_), np.uint64(row_id), plan, scratch)
    units = {}
    for position, unit in zip(scratch[POSITIONS, :count].tolist(), scratch[UNITS, :count].tolist(), strict=True):
        units.setdefault(unit, []).append(position)
    return units


@given(rows=rows_of_ids(), masking=maskings(WORDS), epoch=epochs, row_id=uint64s)
@quick
def test_units_are_whole_words_within_a_segment(tables, rows, masking, epoch, row_id):
    for row in rows:
        segments = segments_of(row.tolist())
        word_of = {position: word for segment in segments for word in segment for position in word}
        segment_of = {position: number for number, words in enumerate(segments) for word in words for position in word}
        cut = 0
        for first, positions in draw_units(row, row_id, epoch, masking, tables).items():
            assert positions == list(range(first, first + len(positions)))
            assert len({segment_of.get(position) for position in positions}) == 1
            words = {word_of[position][0] for position in positions}
            assert first in words
            cut += sum(not set(word_of[word]) <= set(positions) for word in words)
            if masking.strategy != "span":
                assert len(words) <= (masking.max_ngram if masking.strategy == "ngram" else 1)
        assert cut <= (masking.strategy == "span")  # the last span is cut at the budget, as in SpanBERT


@pytest.mark.parametrize("settings", WORDS, ids=name_of)
def test_a_unit_is_masked_random_or_kept_as_a_whole(tables, settings):
    masking = Masking(**settings, rate=0.3, mask_share=0.5, random_share=0.0)
    rows = text_rows(100)
    input_ids, labels = mask_rows(rows, np.arange(100, dtype=np.uint64), 0, masking, tables)
    mixed = 0
    for number, row in enumerate(rows):
        units = select_by_the_law(row.tolist(), number, 0, masking)
        for unit in set(units.values()):
            places = [position for position, first in units.items() if first == unit]
            assert (labels[number, places] == row[places]).all()
            mixed += len({bool(input_ids[number, place] == MASK) for place in places}) == 2
    assert (mixed == 0) == (masking.replace_by == "unit")


@pytest.mark.parametrize("settings", STRATEGIES, ids=name_of)
def test_the_rate_is_met(tables, settings):
    """Exact budgets to within a word; single tokens by themselves within five deviations."""
    rows = text_rows(500)
    maskable = ~np.isin(rows, [PAD, CLS, SEP, MASK])
    picked = select(rows, Masking(**settings), tables)
    budget = maskable.sum(axis=1) * 0.15
    if "per_sequence_rate" in settings:
        mean = sum(settings["per_sequence_rate"]) / 2
        shares = [
            picked[:, a:b].sum(axis=1) / maskable[:, a:b].sum(axis=1) for a, b in ((0, 80), (80, 160), (160, 240))
        ]
        spread = (settings["per_sequence_rate"][1] - settings["per_sequence_rate"][0]) / 12**0.5
        assert abs(np.mean(shares) - mean) < 5 * np.hypot(spread, 0.06) / 1500**0.5
        assert np.std(shares) == pytest.approx(np.hypot(spread, 0.046), rel=0.15)
        assert abs(np.corrcoef(shares[0], shares[1])[0, 1]) < 0.2
    elif settings.get("selection") == "bernoulli":
        n = maskable.sum()
        assert abs(picked.sum() - 0.15 * n) < 5 * (n * 0.15 * 0.85) ** 0.5
        assert len(set(picked.sum(axis=1).tolist())) > 10
    else:
        assert (picked.sum(axis=1) <= np.floor(budget + 0.5)).all()
        assert (
            picked.sum(axis=1) >= np.floor(budget + 0.5) - (0 if settings["strategy"] in ("token", "span") else 3)
        ).all()
    assert picked.sum(axis=1).max() <= Masking(**settings).most_predicted(256)


@given(rows=rows_of_ids(), bounds=st.lists(st.integers(0, 10**6), min_size=4, max_size=4), seed=uint64s)
@quick
def test_lower_bounds_of_the_rate_of_a_sequence_select_a_subset(tables, rows, bounds, seed):
    a, b, c, d = sorted(bounds)
    few, many = (Masking(per_sequence_rate=(x / 10**6, y / 10**6), seed=seed) for x, y in ((a, c), (b, d)))
    assert not (select(rows, few, tables) & ~select(rows, many, tables)).any()


@pytest.mark.parametrize("settings", [{}, {"strategy": "whole_word"}], ids=name_of)
def test_the_first_token_is_drawn_in_proportion_to_its_weight(tables, settings):
    """One of six words of one token in 20,000 rows, within five deviations."""
    weights = [1] * VOCAB_SIZE
    row = np.array([CLS, 10, 12, 14, 16, 18, 20, SEP], np.uint16)
    for token, weight in zip((10, 12, 14, 16, 18, 20), (1, 2, 5, 20, 60, 255), strict=True):
        weights[token] = weight
    masking = Masking(**settings, rate=0.15, token_weights=weights)
    n = 20_000
    picked = select(np.tile(row, (n, 1)), masking, tables)
    assert (picked.sum(axis=1) == 1).all()
    shares = np.array([0, 1, 2, 5, 20, 60, 255, 0]) / 343
    assert (np.abs(picked.sum(axis=0) - n * shares) <= 5 * np.sqrt(n * shares * (1 - shares))).all()


def test_weights_of_one_change_nothing(tables):
    rows = text_rows(50)
    for strategy in ("token", "ngram", "span"):
        plain, weighed = Masking(strategy=strategy), Masking(strategy=strategy, token_weights=[1] * VOCAB_SIZE)
        assert (select(rows, plain, tables) == select(rows, weighed, tables)).all()


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1, 0, 3], "from 1 to 255, and one is 0"),
        ([1, 2.5], "from 1 to 255, and one is 2.5"),
        ([256], "and one is 256"),
        (7, "a list of a whole number for each id"),
        (["a"], "a list of a whole number for each id"),
        ("AAA!", "base64 of one byte"),
        ("AAEC", "base64 of one byte from 1 to 255"),
        ([], "a list of a whole number for each id"),
        ({1: 2}, "a list of a whole number for each id"),
        (b"abc", "a list of a whole number for each id"),
        ([True], "from 1 to 255, and one is True"),
        ([10**400], "from 1 to 255, and one is 1000"),
        (itertools.repeat(1), "1 to 1,048,576 of them"),
    ],
)
def test_weights_that_make_no_sense_are_refused(weights, words):
    with pytest.raises(ConfigError, match=words):
        Masking(token_weights=weights)
    with pytest.raises(ConfigError, match="leave one out"):
        Masking(token_weights=[1, 2], selection="bernoulli")


@pytest.mark.parametrize(
    ("settings", "digest"),
    [
        (
            {"strategy": "token", "selection": "bernoulli"},
            "329f4c62dabf4bc19bde9cfd2aabdddf85ffbf4e263b265916328980d5a356f3",
        ),
        ({"strategy": "whole_word"}, "1eaf3e0bc9299fd797c1f7b4d1f57803c8e847b32cdcb0fb3ac0268e27f1ae2e"),
        ({"strategy": "ngram"}, "382e421c4dc9934adab1602e0ecd861ca4f69f1da87fa26a780b37e8e337a459"),
        ({"strategy": "span"}, "9c3b4a0715c7c9a78d1eb862f0a8a25369578e62c7acc9058e2209af144fc21b"),
        ({"per_sequence_rate": (0.1, 0.9)}, "a893af856c0d9147d18e362c2230592bd290a811971edc8dea52e6ab10d7e9d1"),
        ({"token_weights": WEIGHTS}, "4ff610b26b031b42c8afcbf965528e4230b841bb5c95bb8c7101076b34a76e24"),
        (
            {"strategy": "ngram", "token_weights": WEIGHTS},
            "c53334dd8b9305e57b769571886a029cce71340cc4025b47346f555da594cb6d",
        ),
    ],
    ids=lambda value: value[:8] if isinstance(value, str) else name_of(value),
)
def test_masks_never_change(tables, settings, digest):
    """Values of the first release with these strategies."""
    got = mask_rows(text_rows(64), np.arange(64, dtype=np.uint64), 3, Masking(**settings, seed=7), tables)
    assert hashlib.sha256(b"".join(a.astype("<i8").tobytes() for a in got)).hexdigest() == digest


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_ngram": 2}, "max_ngram is for ngram, and the strategy is token"),
        ({"strategy": "ngram", "max_span": 4}, "max_span is for span, and the strategy is ngram"),
        ({"strategy": "span", "selection": "bernoulli"}, "selection is for token, and the strategy is span"),
        ({"replace_by": "unit"}, "replace_by is for whole_word, span and ngram"),
        ({"strategy": "words"}, "strategy"),
        ({"per_sequence_rate": (0.5, 0.1)}, "the lowest rate of a sequence, 0.5, is above the highest, 0.1"),
        ({"per_sequence_rate": (0.1, 0.5), "rate": 0.3}, "per_sequence_rate takes the place of rate"),
        ({"per_sequence_rate": (0.1, 0.5), "strategy": "span"}, "per_sequence_rate is for token"),
        ({"per_sequence_rate": (0.1, 0.5), "selection": "exact"}, "every token is selected by itself"),
        ({"loss_weights": "one"}, "loss_weights is for per_sequence_rate"),
        ({"strategy": "ngram", "max_ngram": 0}, "max_ngram"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_words(settings, words):
    with pytest.raises(ConfigError, match=words):
        Masking(**settings)


@given(masking=maskings())
@quick
def test_settings_are_read_as_they_were_written(masking):
    assert Masking(**masking.model_dump(mode="json")) == masking
    section = MaskSection(**masking.model_dump(mode="json"), copies=2)
    assert section.masking() == masking
    assert MaskSection(**section.model_dump(mode="json")) == section
