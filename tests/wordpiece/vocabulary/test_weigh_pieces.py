"""Weights that put rare tokens first, by exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.wordpiece.vocabulary.weigh_pieces import weigh_rare_first


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=50))
def test_weights_fall_with_the_root_of_the_count(totals):
    weights = weigh_rare_first(np.array(totals, np.int64))
    occurring = sorted(total for total in totals if total)
    median = occurring[(len(occurring) - 1) // 2] if occurring else 1
    for total, weight in zip(totals, weights, strict=True):
        if weight < 255:  # the largest whole number not above 255 * sqrt(median / total), but 1 at least
            assert weight == 1 or weight**2 * total <= 255**2 * median
            assert (weight + 1) ** 2 * total > 255**2 * median
        else:
            assert Fraction(total, median) <= 1
