from __future__ import annotations

import math
from contextlib import nullcontext

import pytest
import torch

from maskmill.pipeline.training.build_model import build_model
from maskmill.pipeline.training.score_held_out import HELD_OUT_MASKING, measure_unigram_entropy, score_held_out
from maskmill.schemas.masking import IGNORE_INDEX
from maskmill.schemas.train_file import ModelSection
from tests.training.small_runs import PAD, SEQ_LEN, VOCAB_SIZE, make_batch

BATCHES = [make_batch([0, 1, 2, 3], seed=1, rate=0.5), make_batch([4], rate=0.0), make_batch([5, 6], seed=2)]


def build_small_model(dropout=0.5):
    section = ModelSection(hidden_size=16, num_layers=1, num_heads=2, dropout=dropout)
    with torch.random.fork_rng():
        return build_model(section, vocab_size=VOCAB_SIZE, seq_len=SEQ_LEN, pad_id=PAD, seed=1)


def score(model):
    return score_held_out(model, BATCHES, vocab_size=VOCAB_SIZE, device="cpu", open_autocast=nullcontext)


def test_the_entropy_of_counts_by_hand():
    assert measure_unigram_entropy(torch.tensor([2, 0, 1, 1])) == pytest.approx(1.5 * math.log(2))
    assert measure_unigram_entropy(torch.tensor([0, 7])) == 0.0
    assert measure_unigram_entropy(torch.zeros(3, dtype=torch.int64)) == 0.0


def test_a_model_that_knows_only_the_frequencies_has_no_gap():
    labels = torch.cat([batch.labels[batch.labels != IGNORE_INDEX] for batch in BATCHES])
    counts = torch.bincount(labels, minlength=VOCAB_SIZE)
    model = build_small_model()
    head = model.cls.predictions
    with torch.no_grad():
        head.transform.LayerNorm.weight.zero_()
        head.transform.LayerNorm.bias.zero_()
        head.bias.copy_((counts / counts.sum()).clamp(min=1e-30).log())
    result = score(model)
    assert result.num_labels == len(labels) > 10
    assert result.gap == pytest.approx(0.0, abs=1e-5)
    assert result.unigram_entropy - result.loss == result.gap


def test_batches_without_a_label_have_no_score():
    arguments = {"vocab_size": VOCAB_SIZE, "device": "cpu", "open_autocast": nullcontext}
    for batches in ([], [make_batch([4], rate=0.0), make_batch([1, 2], rate=0.0)]):
        assert score_held_out(build_small_model(), batches, **arguments) is None


def test_scoring_draws_nothing_and_drops_nothing():
    model = build_small_model()
    before = torch.get_rng_state()
    first, second = score(model), score(model)
    assert first == second
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
    assert first.loss == pytest.approx(score(build_small_model(dropout=0.0)).loss, abs=1e-6)


def test_every_labelled_position_of_an_evaluation_shows_mask():
    assert (HELD_OUT_MASKING.mask_share, HELD_OUT_MASKING.random_share) == (1.0, 0.0)
    assert HELD_OUT_MASKING.mask_threshold == 2**32
