"""Sequences of a row do not see each other: a model's logits are those of every sequence run alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from maskmill.schemas.errors import ConfigError
from tests.loader.datasets import PAD, SEQ_LEN, VOCAB_SIZE
from tests.loader.encoders.attention import VARLEN, register_varlen
from tests.loader.streams import open_loader

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def batch(dataset):
    return next(iter(open_loader(dataset, masking="static")))


@pytest.fixture(scope="module")
def build():
    """Models with equal random weights, one for each kind of attention."""
    register_varlen()
    config = {
        "vocab_size": VOCAB_SIZE, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 64, "max_position_embeddings": SEQ_LEN, "pad_token_id": PAD,
        # wide weights: with the usual 0.02 every sequence would give nearly the same logits
        "initializer_range": 0.2,
    }  # fmt: skip

    def build_model(attention: str) -> BertForMaskedLM:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return BertForMaskedLM(BertConfig(**config, attn_implementation=attention)).eval()

    return build_model


@pytest.fixture(scope="module")
def alone(batch, build):
    """Logits and labels of each sequence run by itself, cut out with plain slices."""
    model = build("sdpa")
    logits, labels = [], []
    ends = batch.cu_seqlens.tolist()
    with torch.no_grad():
        for start, stop in pairwise(ends):
            if batch.segment_ids.flatten()[start] > 0:
                logits.append(model(input_ids=batch.input_ids.flatten()[None, start:stop]).logits[0])
                labels.append(batch.labels.flatten()[start:stop])
    return torch.cat(logits), torch.cat(labels)


@pytest.mark.parametrize(
    ("layout", "attention"),
    [("sdpa", "sdpa"), ("sdpa", "eager"), ("padded", "sdpa"), ("padded", "eager"), ("varlen", VARLEN)],
)
def test_packed_logits_are_those_of_each_sequence_alone(batch, build, alone, layout, attention):
    inputs = batch.model_inputs(layout)
    with torch.no_grad():
        logits = build(attention)(**inputs).logits
    labels = batch.model_labels(layout)
    assert labels.shape == logits.shape[:2]
    expected, expected_labels = alone
    taken = inputs["attention_mask"] == 1 if layout == "padded" else (batch.segment_ids > 0).view_as(labels)
    assert (labels[~taken] == -100).all()
    assert torch.equal(labels[taken], expected_labels)
    assert (logits[taken] - expected).abs().max() < TOLERANCE
    assert torch.isfinite(logits).all()


def test_a_two_dimensional_mask_lets_sequences_see_each_other(batch, build, alone):
    """The test above can fail: this is what a packed row costs without `model_inputs`."""
    mask = (batch.segment_ids > 0).long()
    with torch.no_grad():
        logits = build("sdpa")(input_ids=batch.input_ids, position_ids=batch.position_ids, attention_mask=mask).logits
    assert (logits[mask == 1] - alone[0]).abs().max() > 0.1


def test_plain_attention_ignores_cumulative_lengths(batch, build, alone):
    with torch.no_grad():
        logits = build("sdpa")(**batch.model_inputs("varlen")).logits
    assert (logits[0][batch.segment_ids.flatten() > 0] - alone[0]).abs().max() > 0.1


def test_the_batch_has_rows_of_several_sequences_and_padding(batch):
    assert batch.segment_ids.max() >= 2
    assert (batch.segment_ids == 0).any()


def test_padded_rows_are_the_sequences_in_order(batch):
    inputs = batch.model_inputs("padded")
    sequences = [
        batch.input_ids[row][batch.segment_ids[row] == number].tolist()
        for row in range(len(batch.row_ids))
        for number in range(1, int(batch.segment_ids[row].max()) + 1)
    ]
    longest = max(map(len, sequences))
    assert inputs["input_ids"].tolist() == [ids + [PAD] * (longest - len(ids)) for ids in sequences]
    assert inputs["attention_mask"].tolist() == [[1] * len(s) + [0] * (longest - len(s)) for s in sequences]


def test_an_unknown_layout_is_refused(batch):
    for ask in (batch.model_inputs, batch.model_labels):
        with pytest.raises(ConfigError, match="sdpa, varlen or padded"):
            ask("flash")
