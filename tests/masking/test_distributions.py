"""What masks come to, against the papers' shares and lengths, within five deviations of a binomial."""

from __future__ import annotations

import functools
import random

import pytest

from maskmill.schemas.masking import Masking
from tests.benchmarks import python_masks
from tests.benchmarks.mask_statistics import MAX_WORDS, count_first_units, count_masks
from tests.masking.cases import STRATEGIES, name_of
from tests.masking.oracle import list_ngram_shares, list_span_shares
from tests.masking.test_strategies import text_rows

OF_WORDS = [settings for settings in STRATEGIES if settings.get("strategy", "token") != "token"]
RULES = {
    "whole_word": ({}, python_masks.select_ngrams, python_masks.WORD_WEIGHTS),
    "ngram": ({}, python_masks.select_ngrams, python_masks.NGRAM_WEIGHTS),
    "span": ({}, python_masks.select_spans, python_masks.SPAN_WEIGHTS),
    "span, clipped": ({"span_lengths": "clipped"}, python_masks.select_spans, python_masks.CLIPPED_WEIGHTS),
}


def within_bounds(found, n, share):
    return abs(found - n * share) <= 5 * (n * share * (1 - share)) ** 0.5 + 1


def list_paper_shares(masking):
    """Probabilities of 1, 2 and so on words in a unit when it is drawn."""
    if masking.strategy == "span":
        return list_span_shares(masking.max_span, masking.span_lengths == "clipped")
    return list_ngram_shares(masking.max_ngram if masking.strategy == "ngram" else 1)


@pytest.mark.parametrize("settings", STRATEGIES, ids=name_of)
def test_shown_tokens_have_the_shares_of_bert(tables, settings):
    masking = Masking(**{"replace_by": "token"} | settings if "strategy" in settings else settings)
    counted = count_masks(text_rows(200), 20, masking, tables)
    assert within_bounds(counted.masked, counted.selected, 0.8)
    assert within_bounds(counted.kept, counted.selected, 0.1 + 0.1 / 190)  # a random token may be the true one


@pytest.mark.parametrize("settings", OF_WORDS, ids=name_of)
def test_units_are_drawn_with_the_lengths_of_the_papers(tables, settings):
    """Of the first span or n-gram in each row, where neither the segment, the budget nor another one changes it."""
    masking = Masking(**settings, rate=0.03)
    rows = text_rows(800).reshape(200, 1024)
    units = count_first_units(rows, 60, masking, tables)
    n = int(units.sum())
    assert n > 2000
    shares = list_paper_shares(masking)
    for words, share in enumerate(shares, 1):
        assert within_bounds(int(units[words]), n, float(share))
    assert units[1 : len(shares) + 1].sum() == n


@pytest.mark.parametrize("name", RULES)
def test_selected_units_have_the_lengths_of_the_rules_in_plain_python(tables, name):
    """All of them, with those that are cut, skipped or joined; both shares within five deviations of their difference.

    Units of a row share its budget, but their lengths vary from row to row no more than a binomial's.
    """
    settings, select, weights = RULES[name]
    rows = text_rows(300)
    ours = count_masks(rows, 20, Masking(strategy=name.split(",")[0], **settings), tables).units
    select = functools.partial(select, weights=weights)
    theirs = python_masks.count_units(rows.tolist() * 4, tables.kinds.tolist(), select, random.Random(0))
    n, m = int(ours.sum()), int(theirs.sum())
    assert min(n, m) > 5000
    for words in range(MAX_WORDS + 1):
        share = int(ours[words] + theirs[words]) / (n + m)
        assert abs(ours[words] / n - theirs[words] / m) <= 5 * (share * (1 - share) * (1 / n + 1 / m)) ** 0.5
