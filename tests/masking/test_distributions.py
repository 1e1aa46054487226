"""What masks come to, against the papers' shares and lengths, within five deviations of a binomial."""

from __future__ import annotations

import pytest

from maskmill.pipeline.masking.strategies.table import find_strategy
from maskmill.schemas.masking import Masking
from tests.benchmarks.mask_statistics import count_masks
from tests.masking.cases import STRATEGIES, name_of
from tests.masking.test_strategies import text_rows


def within_bounds(found, n, share):
    return abs(found - n * share) <= 5 * (n * share * (1 - share)) ** 0.5 + 1


@pytest.mark.parametrize("settings", STRATEGIES, ids=name_of)
def test_shares_and_lengths_are_those_of_the_papers(tables, settings):
    masking = Masking(**{"replace_by": "token"} | settings if "strategy" in settings else settings)
    counted = count_masks(text_rows(200), 20, masking, tables)
    assert within_bounds(counted.masked, counted.selected, 0.8)
    assert within_bounds(counted.kept, counted.selected, 0.1 + 0.1 / 190)  # a random token may be the true one
    shares = find_strategy(masking).list_length_shares(masking)
    n = int(counted.drawn.sum())
    assert n == counted.maskable
    for words, share in enumerate(shares, 1):
        assert within_bounds(int(counted.drawn[words]), n, float(share))
    assert not counted.drawn[len(shares) + 1 :].any()
