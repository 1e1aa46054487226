"""SpanBERT: the head for boundaries gives what a loop over runs gives, and its loss is added to that of tokens."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForMaskedLM

from maskmill.pipeline.training.families import FAMILIES
from maskmill.pipeline.training.train import train
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.masking import IGNORE_INDEX
from maskmill.schemas.model_section import ModelFamily
from tests.training.families.packed_rows import SEQ_LEN, make_packed
from tests.training.objectives.trained import (
    VOCABULARY,
    assert_computes,
    assert_continues,
    assert_parts_add_up,
    assert_same,
    build_trained,
    compute,
    compute_token_loss,
    describe_run,
    split_sequences,
    weigh,
)


def make_spans():
    """Rows whose sequences begin with [CLS], end with [SEP] and have runs of several lengths, some at their edges."""
    batch = make_packed(0)
    ids, labels = batch.input_ids, torch.full_like(batch.labels, IGNORE_INDEX)
    starts = (batch.position_ids == 0) & (batch.segment_ids > 0)
    ends = torch.zeros_like(starts)
    ends[:, :-1] = (batch.segment_ids[:, 1:] != batch.segment_ids[:, :-1]) & (batch.segment_ids[:, :-1] > 0)
    ends[:, -1] = batch.segment_ids[:, -1] > 0
    ids[starts], ids[ends] = VOCABULARY.cls_id, VOCABULARY.sep_id
    for row, first, last in ((0, 1, 2), (0, 4, 5), (0, 12, 12), (0, 18, 19), (1, 3, 9), (1, 11, 11), (2, 2, 2)):
        labels[row, first : last + 1] = ids[row, first : last + 1]
        ids[row, first : last + 1] = VOCABULARY.mask_id
    batch.labels.copy_(labels)
    return batch


def normalise(values, norm):
    centred = values - values.mean()
    return centred / (centred.square().mean() + norm.eps).sqrt() * norm.weight + norm.bias


def gelu(values):
    return values * 0.5 * (1 + torch.erf(values / 2**0.5))


def loop_over_runs(module, batch, states):
    """The losses of all tokens that a run's boundaries predict, one sequence, one run and one token at a time.

    Each is times its weight, if labels have weights.
    """
    losses, head = [], module.head
    embeddings = module.model.get_input_embeddings().weight
    weights = torch.ones(batch.labels.shape) if batch.loss_weights is None else batch.loss_weights
    of_sequences = (split_sequences(batch, values) for values in (batch.labels, weights))
    for hidden, labels, counted in zip(states, *of_sequences, strict=True):
        position = 0
        while position < len(labels):
            if labels[position] == IGNORE_INDEX:
                position += 1
                continue
            first = position
            while labels[position] != IGNORE_INDEX:
                position += 1
            if first - 1 == 0 or position == len(labels) - 1:  # beside [CLS] or [SEP]
                continue
            for place in range(first, position):
                offset = head.offsets.weight[place - first]
                joined = torch.cat([hidden[first - 1], hidden[position], offset])
                inner = normalise(gelu(head.first.weight @ joined + head.first.bias), head.first_norm)
                inner = normalise(gelu(head.second.weight @ inner + head.second.bias), head.second_norm)
                logits = embeddings @ inner + head.bias
                losses.append(counted[place] * (logits.logsumexp(0) - logits[labels[place]]))
    return losses


@pytest.mark.parametrize(
    ("family", "weighted"),
    [*((one, False) for one in ("bert", "roberta", "albert", "modernbert", "eurobert", "electra")), ("bert", True)],
)
def test_a_loop_over_runs_gives_the_same_loss_and_gradients(family, weighted):
    """Where labels have weights, both losses are weighted sums over the number of all tokens."""
    module, batch = build_trained(family=family, objective="span_boundary"), make_spans()
    batch = weigh(batch) if weighted else batch
    # One pass of each sequence: some families pass float32 gradients on, which are rounded once for each pass.
    states = [
        module.model.base_model(input_ids=ids[None]).last_hidden_state[0]
        for ids in split_sequences(batch, batch.input_ids)
    ]
    losses = loop_over_runs(module, batch, states)
    assert len(losses) == 2 + 1 + 7 + 1 + 1  # the runs beside a [CLS] or a [SEP] have none
    logits = FAMILIES[ModelFamily(family)].predict(module.model, torch.cat(states))
    expected = compute_token_loss(batch, logits)
    expected = expected + sum(losses) / (len(logits) if weighted else len(losses))
    wanted = assert_computes(module, batch, "span_boundary", expected)
    assert {name for name in wanted if name.startswith("head.")} == {
        f"head.{n}" for n, _ in module.head.named_parameters()
    }


@pytest.mark.parametrize("weighted", [False, True])
def test_boundaries_are_counted_over_the_whole_global_batch(weighted):
    batch = make_spans()
    assert_parts_add_up(build_trained(objective="span_boundary"), weigh(batch) if weighted else batch, "span_boundary")


def test_rows_without_a_whole_run_have_the_loss_of_tokens_alone():
    module, batch = build_trained(objective="span_boundary"), make_packed(0)
    batch.labels.fill_(IGNORE_INDEX)
    batch.labels[0, 0] = 9
    loss, found = compute(module, [batch], "span_boundary")
    alone, wanted = compute(module.model, [batch], "masked")
    assert loss == pytest.approx(alone, abs=1e-10)
    assert not any(gradient.any() for name, gradient in found.items() if name.startswith("head."))
    assert_same({name.removeprefix("model."): one for name, one in found.items() if name.startswith("model.")}, wanted)


def test_every_place_of_a_row_has_an_embedding():
    module, batch = build_trained(objective="span_boundary"), make_packed(0)
    batch.labels[1] = batch.input_ids[1]
    batch.labels[1, 0] = batch.labels[1, -1] = IGNORE_INDEX
    assert compute(module, [batch], "span_boundary")[0] > 0
    assert len(module.head.offsets.weight) == SEQ_LEN


def test_a_run_that_ends_in_the_middle_continues_to_the_bit_and_its_model_loads(prepared, tmp_path):
    mask, objective = {"strategy": "span", "rate": 0.15}, "span_boundary"
    result = assert_continues(lambda output: describe_run(prepared, output, mask, objective=objective), tmp_path)
    AutoModelForMaskedLM.from_pretrained(result.model_url)
    settings = describe_run(prepared, str(tmp_path / "refused"), mask, objective=objective, family="deberta-v2")
    with pytest.raises(ConfigError, match=r"objective span_boundary is for bert and .* the family is deberta-v2"):
        train(settings)
