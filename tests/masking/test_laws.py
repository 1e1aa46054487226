from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.masking.numba_masks import draw_row, mask_rows
from maskmill.pipeline.masking.plan_masks import plan_masks
from maskmill.pipeline.masking.scratch import SCRATCH_ROWS, SHOWN
from maskmill.pipeline.masking.static_masks import static_masks
from maskmill.pipeline.masking.strategies.token import find_threshold
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.schemas.masking import Masking, ReplaceBy, count_selected
from tests.masking.cases import STRATEGIES, epochs, expect, maskings, ppms, rows_of_ids, uint64s
from tests.masking.oracle import (
    CLS,
    MASK,
    NEVER_SELECTED,
    ORDINARY,
    PAD,
    SEP,
    SIZE_PADDING,
    UNK,
    UNUSED,
    VOCAB_SIZE,
    hash32,
)

NESTED = [strategy for strategy in STRATEGIES if strategy.get("strategy") in ("token", "span")]
"""A word that exceeds the budget is skipped, so for words and n-grams a lower rate may select others."""
quick = settings(deadline=None, max_examples=60)


def ids_of(*row_ids):
    return np.array(row_ids, dtype=np.uint64)


@given(data=st.data(), masking=maskings(), epoch=epochs, dtype=st.sampled_from([np.uint16, np.uint32, np.int64]))
@settings(deadline=None, max_examples=150)
def test_masks_equal_the_law_in_plain_integers(tables, data, masking, epoch, dtype):
    rows = data.draw(rows_of_ids())
    row_ids = ids_of(*(data.draw(uint64s) for _ in rows))
    got = mask_rows(rows.astype(dtype), row_ids, epoch, masking, tables)
    for ours, law in zip(got, expect(rows, row_ids, epoch, masking), strict=True):
        assert ours.dtype == np.int64
        np.testing.assert_array_equal(ours, law)


@given(data=st.data(), masking=maskings(), epoch=epochs, protected=st.sets(st.integers(0, VOCAB_SIZE - 1), min_size=1))
@settings(deadline=None, max_examples=100)
def test_protected_tokens_are_never_selected(tables, data, masking, epoch, protected):
    rows = data.draw(rows_of_ids())
    row_ids = ids_of(*(data.draw(uint64s) for _ in rows))
    guarded = MaskTables.build(tables.vocabulary, protected)
    got = mask_rows(rows, row_ids, epoch, masking, guarded)
    assert not protected & set(rows[got[1] != -100].tolist())
    for ours, law in zip(got, expect(rows, row_ids, epoch, masking, protected), strict=True):
        np.testing.assert_array_equal(ours, law)


@pytest.mark.parametrize("rate", [0.15, 1.0])
def test_masks_equal_the_law_at_the_greatest_width(tables, rate):
    rng = np.random.default_rng(1)
    rows = rng.integers(0, VOCAB_SIZE, (1, 65_536)).astype(np.uint16)
    masking = Masking(rate=rate, seed=11)
    got = mask_rows(rows, ids_of(2**32 + 5), 4, masking, tables)
    for ours, law in zip(got, expect(rows, [2**32 + 5], 4, masking), strict=True):
        np.testing.assert_array_equal(ours, law)


def test_masks_never_change(tables):
    """Values of the first release: a change of one bit breaks every resumed run and every stored copy."""
    # fmt: off
    input_ids = [
        9, 11, 9, 13, 14, 15, 16, 17, 18, 9, 9, 9,
        104, 23, 24, 25, 26, 27, 9, 9, 9, 9, 32, 33,
    ]
    labels = [
        10, -100, 12, -100, -100, -100, -100, -100, 18, 19, 20, 21,
        22, -100, -100, -100, -100, -100, 28, 29, 30, 31, -100, 33,
    ]
    # fmt: on
    row = np.arange(10, 34, dtype=np.uint16)[None, :]
    got = mask_rows(row, ids_of(3 * 2**32 + 7), 2, Masking(rate=0.5, seed=20_240_229), tables)
    assert [a[0].tolist() for a in got] == [input_ids, labels]

    rows = (np.arange(64 * 512, dtype=np.int64) * 7919 % VOCAB_SIZE).reshape(64, 512)
    got = mask_rows(rows, np.arange(64, dtype=np.uint64), 0, Masking(), tables)
    digest = hashlib.sha256(b"".join(a.astype("<i8").tobytes() for a in got)).hexdigest()
    assert digest == "6f195f7fff76dacbf59df9b54aae0eed2a43ca4490a6027215af44639adaeb88"


@pytest.mark.parametrize(
    ("num_maskable", "ppm", "count"),
    [
        (510, 150_000, 77),  # 76.5 rounds up
        (509, 150_000, 76),  # 76.35
        (0, 150_000, 0),
        (1, 150_000, 1),  # at least one
        (3, 150_000, 1),  # 0.45 would be none
        (10, 150_000, 2),  # 1.5 rounds up
        (65_536, 1, 1),
        (5, 0, 0),  # a rate of 0 predicts none
        (65_536, 0, 0),
        (0, 0, 0),
        (7, 1_000_000, 7),
        (7, 999_999, 7),
    ],
)
def test_counts_are_rounded_half_up(tables, num_maskable, ppm, count):
    assert count_selected(num_maskable, ppm) == count
    row = np.full((1, num_maskable + 2), 50, dtype=np.uint16)
    row[0, 0], row[0, -1] = CLS, SEP
    if row.shape[1] <= 65_536:
        _, labels = mask_rows(row, ids_of(1), 0, Masking(rate=ppm / 10**6), tables)
        assert (labels != -100).sum() == count


@given(m=st.integers(0, 65_536), ppm=ppms)
def test_a_count_never_exceeds_the_maskable_tokens(m, ppm):
    assert min(m, ppm, 1) <= count_selected(m, ppm) <= (m if ppm else 0)


@given(rows=rows_of_ids(), masking=maskings(), epoch=epochs, row_id=uint64s)
@quick
def test_special_tokens_are_never_selected_and_nothing_else_changes(tables, rows, masking, epoch, row_id):
    input_ids, labels = mask_rows(rows, ids_of(*[row_id] * len(rows)), epoch, masking, tables)
    selected = labels != -100
    assert not NEVER_SELECTED & set(rows[selected].tolist())
    np.testing.assert_array_equal(labels[selected], rows[selected])
    np.testing.assert_array_equal(input_ids[~selected], rows[~selected])


@given(rows=rows_of_ids(), masking=maskings(NESTED), other=ppms, row_id=uint64s)
@quick
def test_a_lower_rate_selects_a_subset_and_shows_the_same(tables, rows, masking, other, row_id):
    low, high = sorted([masking.rate_ppm, other])
    row_ids = ids_of(*[row_id] * len(rows))
    few_ids, few = mask_rows(rows, row_ids, 0, masking.model_copy(update={"rate": low / 10**6}), tables)
    many_ids, many = mask_rows(rows, row_ids, 0, masking.model_copy(update={"rate": high / 10**6}), tables)
    selected = few != -100
    assert (many[selected] != -100).all()
    if masking.replace_by == ReplaceBy.TOKEN:  # a unit that grows may be shown otherwise
        np.testing.assert_array_equal(few_ids[selected], many_ids[selected])


@given(rows=rows_of_ids(max_rows=6), masking=maskings(), epoch=epochs, order=st.randoms(use_true_random=False))
@quick
def test_a_mask_does_not_depend_on_the_batch(tables, rows, masking, epoch, order):
    row_ids = np.arange(len(rows), dtype=np.uint64) * np.uint64(2**32 + 1)
    whole_ids, whole_labels = mask_rows(rows, row_ids, epoch, masking, tables)
    shuffled = order.sample(range(len(rows)), len(rows))
    for batch in [[b] for b in range(len(rows))] + [shuffled]:
        input_ids, labels = mask_rows(rows[batch], row_ids[batch], epoch, masking, tables)
        np.testing.assert_array_equal(input_ids, whole_ids[batch])
        np.testing.assert_array_equal(labels, whole_labels[batch])


@given(rows=rows_of_ids(), masking=maskings(), copy=epochs, dtype=st.sampled_from([np.uint16, np.uint32]))
@quick
def test_static_copy_k_is_the_dynamic_mask_of_epoch_k(tables, rows, masking, copy, dtype):
    rows = rows.astype(dtype)
    row_ids = np.arange(len(rows), dtype=np.uint64)
    offsets, positions, masked_ids, stored_labels = static_masks(rows, row_ids, copy, masking, tables)
    assert [a.dtype for a in (offsets, positions, masked_ids, stored_labels)] == [
        np.int32,
        np.uint16,
        dtype,
        dtype,
    ]
    assert offsets[0] == 0
    assert offsets[-1] == len(positions) == len(masked_ids) == len(stored_labels)
    input_ids, labels = rows.astype(np.int64), np.full(rows.shape, -100)
    for b in range(len(rows)):
        entries = slice(offsets[b], offsets[b + 1])
        assert (np.diff(positions[entries].astype(int)) > 0).all()
        input_ids[b, positions[entries]] = masked_ids[entries]
        labels[b, positions[entries]] = stored_labels[entries]
    dynamic_ids, dynamic_labels = mask_rows(rows, row_ids, copy, masking, tables)
    np.testing.assert_array_equal(input_ids, dynamic_ids)
    np.testing.assert_array_equal(labels, dynamic_labels)


def test_every_epoch_seed_and_row_has_a_mask_of_its_own(tables):
    row = np.full((1, 512), 50, dtype=np.uint16)
    drawn = {
        mask_rows(row, ids_of(row_id), epoch, Masking(seed=seed), tables)[1].tobytes()
        for row_id, epoch, seed in np.ndindex(5, 5, 5)
    }
    assert len(drawn) == 125


def test_selected_tokens_are_80_percent_mask_10_random_10_kept(tables):
    """Rows of [UNK], which is selected but never a replacement, so each outcome can be told apart."""
    rows = np.full((4000, 510), UNK, dtype=np.uint16)
    input_ids, labels = mask_rows(rows, np.arange(4000, dtype=np.uint64), 0, Masking(seed=5), tables)
    shown = input_ids[labels == UNK]
    n = 4000 * 77
    assert len(shown) == n
    randoms = shown[(shown != MASK) & (shown != UNK)]
    for share, count in [(0.8, (shown == MASK).sum()), (0.1, (shown == UNK).sum()), (0.1, len(randoms))]:
        assert abs(count - share * n) < 5 * (n * share * (1 - share)) ** 0.5
    # All ordinary ids, about equally often: 190 cells, chi-square of 189 degrees below 189 + 6 sqrt(2 * 189).
    ids, counts = np.unique(randoms, return_counts=True)
    assert ids.tolist() == ORDINARY
    assert ((counts - len(randoms) / 190) ** 2 / (len(randoms) / 190)).sum() < 306


def test_an_action_hash_is_compared_with_its_threshold_exactly(tables):
    """Thresholds laid on the hash itself: below it is [MASK] or random, at it no more."""
    action = hash32("mask_act", 0, 0, 1, 0)
    replacement = ORDINARY[hash32("mask_rep", 0, 0, 1, 0) % len(ORDINARY)]
    scratch = np.empty((SCRATCH_ROWS, 1), dtype=np.uint32)
    for mask_threshold, random_threshold, shown in [
        (action + 1, action + 1, MASK),
        (action, action + 1, replacement),
        (action, action, UNK),
    ]:
        plan = plan_masks(Masking(), tables, 0)._replace(
            mask_threshold=np.uint64(mask_threshold), random_threshold=np.uint64(random_threshold)
        )
        assert draw_row(np.array([UNK], dtype=np.uint16), np.empty(0, np.bool_), np.uint64(1), plan, scratch) == 1
        assert scratch[SHOWN, 0] == shown


@pytest.mark.parametrize("excluded", [*UNUSED, *SIZE_PADDING, PAD, UNK, CLS, SEP, MASK])
def test_excluded_ids_never_replace_a_token(tables, excluded):
    assert excluded not in tables.replacements


@pytest.mark.parametrize("rate", [0.0, 0.15, 0.99, 1.0])
def test_a_token_with_the_largest_hash_is_told_from_a_special_one(tables, rate):
    """Found by search: position 55 of row 62,487,833 hashes to 2**32 - 1, the word that marks special tokens."""
    assert hash32("mask_sel", 0, 0, 62_487_833, 55) == 2**32 - 1
    rows = np.full((1, 64), 50, dtype=np.uint16)
    rows[0, ::9] = SEP
    got = mask_rows(rows, ids_of(62_487_833), 0, Masking(rate=rate), tables)
    for ours, law in zip(got, expect(rows, [62_487_833], 0, Masking(rate=rate)), strict=True):
        np.testing.assert_array_equal(ours, law)


@given(words=st.sets(st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 9)), min_size=2, max_size=60), data=st.data())
@quick
def test_the_threshold_is_exact_however_the_hashes_lie(words, data):
    hashes = np.array(sorted(words), dtype=np.uint32)
    count = data.draw(st.integers(1, len(words) - 1))
    assert (hashes <= find_threshold(hashes, len(words), count)).sum() == count


def test_views_and_read_only_rows_are_masked_alike_and_left_alone(tables):
    rows = np.random.default_rng(3).integers(0, VOCAB_SIZE, (4, 64)).astype(np.uint16)
    row_ids = np.arange(4, dtype=np.uint64)
    plain = mask_rows(rows, row_ids, 0, Masking(), tables)
    wide = np.zeros((4, 128), dtype=np.uint16)
    wide[:, ::2] = rows
    wide.setflags(write=False)
    before = wide.copy()
    np.testing.assert_array_equal(mask_rows(wide[:, ::2], row_ids.astype(np.int64), 0, Masking(), tables), plain)
    np.testing.assert_array_equal(wide, before)


def test_empty_batches_and_empty_rows_are_masked_to_nothing(tables):
    for shape in [(0, 8), (3, 0)]:
        rows = np.zeros(shape, dtype=np.uint16)
        row_ids = np.arange(shape[0], dtype=np.uint64)
        assert [a.shape for a in mask_rows(rows, row_ids, 0, Masking(), tables)] == [shape, shape]
        offsets, positions, _, _ = static_masks(rows, row_ids, 0, Masking(), tables)
        assert offsets.tolist() == [0] * (shape[0] + 1)
        assert len(positions) == 0


@pytest.mark.parametrize(
    ("rows", "row_ids", "words"),
    [
        (np.zeros(8, np.uint16), np.zeros(8, np.uint64), "rows must be"),
        (np.zeros((1, 65_537), np.uint16), np.zeros(1, np.uint64), "at most 65536"),
        (np.zeros((2, 8), np.uint16), np.zeros(1, np.uint64), "row_ids must be"),
        (np.zeros((2, 8), np.uint16), np.zeros(2, np.float64), "row_ids must be"),
        (np.zeros((2, 8), np.float32), np.zeros(2, np.uint64), "got float32"),
        (np.full((2, 8), -1, np.int64), np.zeros(2, np.uint64), "ids must lie in"),
    ],
)
def test_wrong_shapes_and_types_are_refused_in_words(tables, rows, row_ids, words):
    with pytest.raises(ValueError, match=words):
        mask_rows(rows, row_ids, 0, Masking(), tables)


def test_a_negative_epoch_is_refused(tables):
    with pytest.raises(ValueError, match="count from 0"):
        mask_rows(np.zeros((1, 8), np.uint16), ids_of(0), -1, Masking(), tables)
