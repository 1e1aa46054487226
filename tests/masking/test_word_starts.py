"""Rows that say where words start are masked by those words; the ids of a row then decide nothing but what is shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.masking.numba_masks import mask_rows
from maskmill.pipeline.masking.static_masks import static_masks
from maskmill.schemas.masking import Masking
from tests.masking.cases import STRATEGIES, epochs, maskings, rows_of_ids, uint64s
from tests.masking.oracle import CONTINUES, NEVER_SELECTED, ORDINARY, select_by_the_law

UNWEIGHTED = [strategy for strategy in STRATEGIES if "token_weights" not in strategy]
SEEDS = st.integers(0, 2**32 - 1)
quick = settings(deadline=None, max_examples=100)


def draw_starts(rows, seed):
    return np.random.default_rng(seed).random(rows.shape) < 0.4


@given(rows=rows_of_ids(max_width=300), masking=maskings(UNWEIGHTED), epoch=epochs, row_id=uint64s, seed=SEEDS)
@quick
def test_words_are_those_that_a_row_states(tables, rows, masking, epoch, row_id, seed):
    """The law of ids, on a row of other ids that has just these words."""
    starts, row_ids = draw_starts(rows, seed), np.full(len(rows), row_id, np.uint64)
    input_ids, labels = mask_rows(rows, row_ids, epoch, masking, tables, starts)
    offsets, positions, shown, true_ids = static_masks(rows, row_ids, epoch, masking, tables, starts)
    for number, row in enumerate(rows.tolist()):
        pieces = [
            token if token in NEVER_SELECTED else ORDINARY[0 if start else 1]
            for token, start in zip(row, starts[number].tolist(), strict=True)
        ]
        selected = list(select_by_the_law(pieces, row_id, epoch, masking))
        assert np.flatnonzero(labels[number] != -100).tolist() == selected
        here = slice(offsets[number], offsets[number + 1])
        assert positions[here].tolist() == selected
        assert true_ids[here].tolist() == labels[number, selected].tolist() == rows[number, selected].tolist()
        assert shown[here].tolist() == input_ids[number, selected].tolist()


@given(rows=rows_of_ids(), masking=maskings(), epoch=epochs, row_id=uint64s)
@quick
def test_rows_that_state_the_words_of_their_ids_are_masked_as_if_they_stated_none(tables, rows, masking, epoch, row_id):
    starts, row_ids = ~np.array(CONTINUES)[rows], np.full(len(rows), row_id, np.uint64)
    stated, implied = (mask_rows(rows, row_ids, epoch, masking, tables, one) for one in (starts, None))
    assert all(np.array_equal(one, other) for one, other in zip(stated, implied, strict=True))


@pytest.mark.parametrize("starts", [np.ones((2, 7), np.bool_), np.ones((1, 8), np.bool_), np.ones((2, 8), np.uint8)])
def test_word_starts_that_do_not_fit_their_rows_are_refused(tables, starts):
    rows = np.full((2, 8), ORDINARY[0], np.uint16)
    with pytest.raises(ValueError, match=r"word_starts must be bool \(2, 8\)"):
        mask_rows(rows, np.arange(2, dtype=np.uint64), 0, Masking(strategy="span"), tables, starts)
