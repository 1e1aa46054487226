"""What other objectives ask of a batch, counted position by position in plain Python."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.loader.batches.objectives import (
    find_original_ids,
    find_span_boundaries,
    label_next_tokens,
    replace_tokens,
)
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.masking import Masking
from tests.loader.datasets import CLS, PAD, SEP, VOCABULARY
from tests.loader.device.device_rows import TABLES, expect_batch, ids_of, make_rows
from tests.masking.cases import maskings
from tests.masking.oracle import hash32

quick = settings(deadline=None, max_examples=60)


@st.composite
def batches(draw):
    """(A masked batch, its true ids): sequences of [CLS], words and [SEP], some of two segments."""
    masking = draw(maskings())
    rows = make_rows(
        draw(st.integers(0, 2**32 - 1)),
        3,
        48,
        np.uint16,
        draw(st.sampled_from(["padded", "full"])),
        [0, 1, 5],
        masking,
        static=False,
    )
    sequences = rows.staged.lists
    del sequences
    ids = ids_of(rows).copy()
    law = expect_batch(rows, masking, TABLES[np.uint16])
    segments = law.segment_ids.numpy()
    for b in range(len(ids)):
        for number in set(segments[b].tolist()) - {0}:
            places = np.flatnonzero(segments[b] == number)
            ids[b, places[0]], ids[b, places[-1]] = CLS, SEP
            if len(places) > 6 and number % 2:
                ids[b, places[len(places) // 2]] = SEP
    rows.staged.rows[rows.slots, rows.places] = ids
    return expect_batch(rows, masking, TABLES[np.uint16]), ids.astype(np.int64)


@given(batches())
@quick
def test_the_original_ids_come_back(case):
    batch, ids = case
    assert (find_original_ids(batch).numpy() == ids).all()


@given(batches())
@quick
def test_next_tokens_are_those_of_the_same_sequence(case):
    batch, ids = case
    segments, got = batch.segment_ids.tolist(), label_next_tokens(batch).tolist()
    for b, row in enumerate(ids.tolist()):
        for i in range(len(row)):
            inside = i + 1 < len(row) and segments[b][i] == segments[b][i + 1] > 0
            assert got[b][i] == (row[i + 1] if inside else -100)


@given(batches())
@quick
def test_boundaries_are_the_tokens_beside_a_run(case):
    batch, ids = case
    found = find_span_boundaries(batch, VOCABULARY)
    for b, labels in enumerate(batch.labels.tolist()):
        for i, label in enumerate(labels):
            if label == -100:
                expected = (0, 0, 0, False)
            else:
                start, end = i, i
                while start > 0 and labels[start - 1] != -100:
                    start -= 1
                while end + 1 < len(labels) and labels[end + 1] != -100:
                    end += 1
                edges = {CLS, SEP, PAD}
                beside = [ids[b, j] if 0 <= j < len(labels) else PAD for j in (start - 1, end + 1)]
                inside = not edges & set(beside)
                expected = (start - 1, end + 1, i - start + 1, True) if inside else (0, 0, 0, False)
            assert tuple(tensor[b, i].item() for tensor in found) == expected


def text_batch(masking=None, seed=1):
    masking = masking or Masking(rate=0.3, seed=6)
    rows = make_rows(seed, 4, 64, np.uint16, "full", [0, 1, 1, 9], masking, static=False)
    ids = np.random.default_rng(seed).integers(10, 50, (4, 64))
    ids[:, 0], ids[:, -1] = CLS, SEP
    rows.staged.rows[rows.slots, rows.places] = ids
    return expect_batch(rows, masking, TABLES[np.uint16])


def test_samples_are_functions_of_counters_and_of_the_logits():
    batch = text_batch()
    positions = (batch.labels.flatten() != -100).nonzero()[:, 0]
    logits = torch.from_numpy(np.random.default_rng(3).normal(size=(len(positions), 50))).float()
    replaced = replace_tokens(batch, positions, logits, seed=12)
    ids = find_original_ids(batch)
    assert (replaced.is_replaced == (replaced.input_ids != ids)).all()
    assert not replaced.is_replaced[batch.labels == -100].any()
    sums = logits.double().softmax(1).cumsum(1).numpy()
    for m, place in enumerate(positions.tolist()):
        row, i = divmod(place, 64)
        word = hash32("mask_sam", 12, int(batch.row_epochs[row]), int(batch.row_ids[row]) % 2**64, i)
        expected = int(np.searchsorted(sums[m] / sums[m, -1], (word + 0.5) / 2**32))
        assert int(replaced.input_ids[row, i]) == expected
    order = torch.randperm(4, generator=torch.Generator().manual_seed(0))
    moved = replace(batch, **{n: getattr(batch, n)[order] for n in ("input_ids", "labels", "row_ids", "row_epochs")})
    places = (moved.labels.flatten() != -100).nonzero()[:, 0]
    shuffled = torch.cat([logits[(positions // 64) == row] for row in order.tolist()])
    assert torch.equal(replace_tokens(moved, places, shuffled, seed=12).input_ids, replaced.input_ids[order])
    assert not torch.equal(replace_tokens(batch, positions, logits, seed=13).input_ids, replaced.input_ids)


def test_samples_follow_the_generators_distribution():
    """A thousand positions of one distribution, within five deviations."""
    batches = [text_batch(Masking(rate=0.5, seed=n), seed=n) for n in range(20)]
    shares = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0])
    drawn = []
    for batch in batches:
        positions = (batch.labels.flatten() != -100).nonzero()[:, 0]
        replaced = replace_tokens(batch, positions, shares.log().expand(len(positions), -1))
        drawn.append(replaced.input_ids.flatten()[positions])
    counts = torch.bincount(torch.cat(drawn), minlength=5)
    n = int(counts.sum())
    assert n > 2000
    assert ((counts - n * shares).abs() <= 5 * (n * shares * (1 - shares)).sqrt()).all()


def test_spare_positions_are_not_replaced():
    batch = text_batch()
    positions = torch.cat([(batch.labels.flatten() != -100).nonzero()[:, 0], torch.zeros(9, dtype=torch.int64)])
    replaced = replace_tokens(batch, positions, torch.zeros(len(positions), 50))
    assert replaced.input_ids[0, 0] == CLS
    with pytest.raises(ConfigError, match="not as many as the positions"):
        replace_tokens(batch, positions, torch.zeros(3, 50))


BROKEN = {
    "batch": lambda _b, p, x: (None, p, x),
    "positions: a list": lambda b, p, x: (b, p.tolist(), x),
    "positions: int32": lambda b, p, x: (b, p.int(), x),
    "positions: bool": lambda b, p, x: (b, p.bool(), x),
    "positions: two dimensions": lambda b, p, x: (b, p[None], x),
    "positions: below": lambda b, p, x: (b, torch.where(p == p[3], -1, p), x),
    "positions: above": lambda b, p, x: (b, torch.where(p == p[3], 256, p), x),
    "positions: another device": lambda b, p, x: (b, p.to("meta"), x),
    "logits: None": lambda b, p, _x: (b, p, None),
    "logits: integers": lambda b, p, x: (b, p, x.long()),
    "logits: complex": lambda b, p, x: (b, p, x.to(torch.complex64)),
    "logits: one dimension": lambda b, p, x: (b, p, x[:, 0]),
    "logits: three dimensions": lambda b, p, x: (b, p, x[:, None]),
    "logits: too few": lambda b, p, x: (b, p, x[1:]),
    "logits: no vocabulary": lambda b, p, x: (b, p, x[:, :0]),
    "logits: nan": lambda b, p, x: (b, p, torch.where(p[:, None] == p[2], torch.nan, x)),
    "logits: all -inf": lambda b, p, x: (b, p, torch.where(p[:, None] == p[2], -torch.inf, x)),
    "logits: another device": lambda b, p, x: (b, p, x.to("meta")),
}


@pytest.mark.parametrize("case", BROKEN)
def test_arguments_that_do_not_fit_are_refused_by_name(case):
    batch = text_batch()
    positions = (batch.labels.flatten() != -100).nonzero()[:, 0]
    arguments = BROKEN[case](batch, positions, torch.zeros(len(positions), 50))
    with pytest.raises(ConfigError) as caught:
        replace_tokens(*arguments)
    assert case.partition(":")[0] in str(caught.value)
    assert caught.value.expected
    assert caught.value.found


def test_samples_of_any_floats_and_of_no_position_are_drawn():
    batch = text_batch()
    positions = (batch.labels.flatten() != -100).nonzero()[:, 0]
    logits = torch.zeros(len(positions), 50)
    logits[:, 7] = -torch.inf  # never drawn
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        assert torch.equal(
            *(replace_tokens(batch, positions, logits.to(one)).input_ids for one in (dtype, torch.float32))
        )
    assert not replace_tokens(batch, positions[:0], logits[:0]).is_replaced.any()


def test_nothing_is_read_back():
    """Tensors of the meta device have no values: what had to wait for one would fail."""
    batch = text_batch().to("meta")
    positions = torch.zeros(7, dtype=torch.int64, device="meta")
    assert label_next_tokens(batch).is_meta
    assert find_span_boundaries(batch, VOCABULARY).is_valid.is_meta
    assert replace_tokens(batch, positions, torch.zeros(7, 50, device="meta")).is_replaced.is_meta
