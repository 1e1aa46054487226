from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from maskmill.pipeline.loader.batches.loss_terms import count_terms
from maskmill.pipeline.training.accumulate_gradients import accumulate_gradients
from maskmill.pipeline.training.build_model import build_model
from maskmill.pipeline.training.masked_loss import sum_masked_loss
from maskmill.schemas.masking import IGNORE_INDEX
from maskmill.schemas.train_file import ModelSection
from tests.training.small_runs import PAD, SEQ_LEN, VOCAB_SIZE, make_batch


def build_exact_model():
    section = ModelSection(hidden_size=16, num_layers=2, num_heads=2, dropout=0.0, initializer_range=0.3)
    with torch.random.fork_rng():
        return build_model(section, vocab_size=VOCAB_SIZE, seq_len=SEQ_LEN, pad_id=PAD, seed=1).double()


MODEL = build_exact_model()


def collect_gradients(micro_batches):
    MODEL.zero_grad()
    loss = accumulate_gradients(MODEL, micro_batches)
    return loss, {name: parameter.grad.clone() for name, parameter in MODEL.named_parameters()}


def compute_reference_loss(batch):
    """Every logit of every position, and torch's own mean over labels that are not ignored."""
    inputs = batch.model_inputs("sdpa")
    logits = MODEL(**{name: inputs[name] for name in ("input_ids", "attention_mask", "position_ids")}).logits
    return functional.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORE_INDEX)


def slice_batch(batch, start, stop):
    fields = {name: getattr(batch, name)[start:stop] for name in ("input_ids", "labels", "segment_ids", "row_ids")}
    return type(batch)(**fields, epoch=0, step=0, state={})


def test_gradients_are_those_of_all_logits_at_once():
    batch = make_batch(list(range(8)), seed=3)
    loss, gradients = collect_gradients([batch])
    MODEL.zero_grad()
    expected = compute_reference_loss(batch)
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-12)
    for name, parameter in MODEL.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-12, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 7), max_size=3, unique=True), st.integers(0, 2**20))
def test_micro_batches_give_the_whole_batchs_gradients(borders, seed):
    batch = make_batch(list(range(8)), seed=seed)
    edges = [0, *sorted(borders), 8]
    pieces = [slice_batch(batch, start, stop) for start, stop in pairwise(edges)]
    whole_loss, whole = collect_gradients([batch])
    loss, gradients = collect_gradients(pieces)
    assert loss == pytest.approx(whole_loss, abs=1e-12)
    for name, expected in whole.items():
        torch.testing.assert_close(gradients[name], expected, rtol=1e-12, atol=1e-12)


def test_a_mean_of_means_is_something_else():
    batch = make_batch(list(range(8)), seed=3)
    pieces = [slice_batch(batch, 0, 1), slice_batch(batch, 1, 8)]
    assert count_terms(pieces[:1]) != count_terms(pieces[1:2])
    loss, gradients = collect_gradients(pieces)
    MODEL.zero_grad()
    mean_of_means = sum(compute_reference_loss(piece) for piece in pieces) / 2
    mean_of_means.backward()
    assert abs(loss - mean_of_means.item()) > 1e-3
    worst = max((gradients[name] - parameter.grad).abs().max().item() for name, parameter in MODEL.named_parameters())
    assert worst > 1e-4


def test_a_micro_batch_without_labels_adds_nothing():
    batch = make_batch([0, 1, 2], seed=3)
    empty = make_batch([3], rate=0.0)
    assert count_terms([empty]) == 0
    loss, gradients = collect_gradients([batch])
    with_empty, same = collect_gradients([batch, empty])
    assert with_empty == loss
    assert all(torch.equal(gradients[name], same[name]) for name in gradients)
    assert collect_gradients([empty])[0] == 0.0


def test_losses_are_summed_in_at_least_float32():
    batch = make_batch([0, 1, 2], seed=3)
    assert sum_masked_loss(build_exact_model().bfloat16(), batch).dtype == torch.float32
    assert sum_masked_loss(MODEL, batch).dtype == torch.float64


def test_weights_of_labels_and_all_tokens_make_the_bound_on_the_likelihood():
    batch = make_batch(list(range(8)), seed=3)
    weights = torch.rand(batch.labels.shape, generator=torch.Generator().manual_seed(1)) * (
        batch.labels != IGNORE_INDEX
    )
    weighted = replace(batch, loss_weights=weights)
    loss, gradients = collect_gradients([weighted])
    MODEL.zero_grad()
    inputs = batch.model_inputs("sdpa")
    logits = MODEL(**{name: inputs[name] for name in ("input_ids", "attention_mask", "position_ids")}).logits
    each = functional.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), reduction="none")
    expected = (each * weights.flatten()).sum() / (batch.segment_ids > 0).sum()
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-7)
    for name, parameter in MODEL.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-6, atol=1e-7)
    pieces = [slice_batch(weighted, 0, 3), slice_batch(weighted, 3, 8)]
    pieces = [replace(piece, loss_weights=part) for piece, part in zip(pieces, (weights[:3], weights[3:]), strict=True)]
    assert collect_gradients(pieces)[0] == pytest.approx(loss, abs=1e-12)
