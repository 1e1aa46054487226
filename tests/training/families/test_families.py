"""Every family: a packed row gives what its sequences give alone, in logits and gradients, and exports load again."""

from __future__ import annotations

import json
from itertools import chain

import pytest
import torch
from torch.nn import functional

from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.training.accumulate_gradients import accumulate_gradients
from maskmill.pipeline.training.build_model import build_model
from maskmill.pipeline.training.export_model import export_model
from maskmill.pipeline.training.families import FAMILIES, family_of
from maskmill.pipeline.training.masked_loss import sum_masked_loss
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.masking import IGNORE_INDEX
from maskmill.schemas.model_section import SIZES, ModelFamily, ModelSection, ModelSize
from tests.training.families.packed_rows import SEQ_LEN, VOCAB_SIZE, make_labels, make_packed, make_sequences
from tests.training.small_runs import make_tokenizer_json

TOLERANCE = 1e-10
SMALL = {"hidden_size": 16, "num_layers": 3, "num_heads": 2, "intermediate_size": 24, "dropout": 0.0}
CASES = [
    ("bert", 0, {}),
    ("bert", 5, {}),
    ("roberta", 0, {}),
    ("roberta", 1, {}),
    ("roberta", 5, {}),
    ("albert", 0, {"embedding_size": 12}),
    ("deberta-v2", 0, {}),
    ("deberta-v2", 5, {"conv_kernel_size": 3}),
    ("modernbert", 0, {"local_attention": 6}),
    ("modernbert", 5, {}),
    ("eurobert", 0, {}),
    ("eurobert", 5, {"rope_theta": 100.0}),
    ("electra", 0, {"embedding_size": 12}),
    ("electra", 5, {"embedding_size": 16}),
]


def build(family="bert", pad_id=0, **keys):
    section = ModelSection(family=family, **SMALL, initializer_range=0.3, **keys)
    with torch.random.fork_rng():
        model = build_model(section, vocab_size=VOCAB_SIZE, seq_len=SEQ_LEN, pad_id=pad_id, mask_id=4, seed=1)
        for module in model.modules():  # the row of the padding is zero at first, which would hide what it adds
            if isinstance(module, torch.nn.Embedding):
                torch.nn.init.normal_(module.weight, std=0.3)
    return model.double()


def collect_gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize(("family", "pad_id", "keys"), CASES)
def test_packed_rows_give_the_logits_and_gradients_of_their_sequences_alone(family, pad_id, keys):
    model, sequences = build(family, pad_id, **keys), list(chain.from_iterable(make_sequences(pad_id)))
    logits = [model(input_ids=sequence[None]).logits[0] for sequence in sequences]
    labels = torch.cat([make_labels(sequence) for sequence in sequences])
    expected = functional.cross_entropy(torch.cat(logits), labels, ignore_index=IGNORE_INDEX)
    expected.backward()
    wanted = collect_gradients(model)

    model.zero_grad()
    batch = make_packed(pad_id)
    loss = accumulate_gradients(model, [batch])
    assert loss == pytest.approx(expected.item(), abs=TOLERANCE)
    found = collect_gradients(model)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert_close(found[name], gradient)
    assert sum(gradient.abs().max() > 0.001 for gradient in wanted.values()) > len(wanted) // 2

    chosen = FAMILIES[ModelFamily(family)]
    hidden = chosen.encode(model, batch.model_inputs(chosen.layout, model))
    is_real = batch.model_inputs("padded", model)["attention_mask"] if chosen.layout == "padded" else batch.segment_ids
    assert_close(chosen.predict(model, hidden[is_real.flatten() > 0]), torch.cat(logits))


def test_a_convolution_sees_over_the_ends_of_sequences_in_rows_that_are_not_padded():
    """The reason for the layout of DeBERTa: given the row itself, its logits are others."""
    model, (row, *_) = build("deberta-v2", conv_kernel_size=3), make_sequences(0)
    whole = model(input_ids=torch.cat(row)[None]).logits[0, : len(row[0])]
    assert (whole - model(input_ids=row[0][None]).logits[0]).abs().max() > 0.001


def make_pairs(pad_id=0):
    batch = make_packed(pad_id)
    starts = ((batch.position_ids == 0) & (batch.segment_ids > 0)).flatten().nonzero().squeeze(1)
    types = (batch.position_ids >= 4).long() * (batch.segment_ids > 0)
    labels = torch.arange(len(starts)) % 2
    return make_packed(pad_id, sequence_labels=labels, cls_positions=starts, token_type_ids=types)


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_pairs_give_the_losses_and_gradients_that_transformers_gives_each_alone(family):
    model, sequences = build(family, sentence_task=True), list(chain.from_iterable(make_sequences(0)))
    tokens, pairs, labels = [], [], []
    for sequence in sequences:
        output = model(input_ids=sequence[None], token_type_ids=(torch.arange(len(sequence)) >= 4).long()[None])
        tokens.append(output.prediction_logits[0])
        pairs.append(output.seq_relationship_logits if family == "bert" else output.sop_logits)
        labels.append(make_labels(sequence))
    of_tokens = functional.cross_entropy(torch.cat(tokens), torch.cat(labels), ignore_index=IGNORE_INDEX)
    of_pairs = functional.cross_entropy(torch.cat(pairs), torch.arange(len(sequences)) % 2)
    (of_tokens + of_pairs).backward()
    wanted = collect_gradients(model)

    model.zero_grad()
    loss = accumulate_gradients(model, [make_pairs()])
    assert loss == pytest.approx((of_tokens + of_pairs).item(), abs=TOLERANCE)
    found = collect_gradients(model)
    assert found.keys() == wanted.keys() == dict(model.named_parameters()).keys()
    for name, gradient in wanted.items():
        assert_close(found[name], gradient)
    assert sum_masked_loss(model, make_pairs()).item() / sum((one != IGNORE_INDEX).sum() for one in labels) == (
        pytest.approx(of_tokens.item(), abs=TOLERANCE)
    )


def test_pairs_are_counted_over_the_whole_global_batch():
    """Two micro-batches with unequal numbers of pairs: neither loss is a mean of means."""
    model, batch = build("bert", sentence_task=True), make_pairs()
    accumulate_gradients(model, [batch])
    wanted = collect_gradients(model)
    model = build("bert", sentence_task=True)
    accumulate_gradients(model, [slice_pairs(batch, 0, 1), slice_pairs(batch, 1, 3)])
    for name, gradient in collect_gradients(model).items():
        assert_close(gradient, wanted[name])


def slice_pairs(batch, start, stop):
    taken = (batch.cls_positions >= start * SEQ_LEN) & (batch.cls_positions < stop * SEQ_LEN)
    names = ("input_ids", "labels", "position_ids", "segment_ids", "token_type_ids", "row_ids")
    rows = {name: getattr(batch, name)[start:stop] for name in names}
    others = {name: getattr(batch, name) for name in ("cu_seqlens", "max_seqlen", "pad_id", "datasets", "row_epochs")}
    pairs = {
        "sequence_labels": batch.sequence_labels[taken],
        "cls_positions": batch.cls_positions[taken] - start * SEQ_LEN,
    }
    return Batch(**rows, **others, **pairs)


def test_rows_without_pairs_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"model\.sentence_task.*pack\.pairs"):
        accumulate_gradients(build("bert", sentence_task=True), [make_packed(0)])


@pytest.mark.parametrize("family", ["roberta", "deberta-v2", "modernbert", "eurobert"])
def test_families_without_types_of_tokens_are_given_none(family):
    batch, chosen = make_pairs(), FAMILIES[ModelFamily(family)]
    given = batch.model_inputs(chosen.layout, build(family)).keys()
    assert ("token_type_ids" in given) is (family == "roberta")


def test_padded_rows_have_the_types_of_their_tokens():
    batch = make_pairs()
    inputs = batch.model_inputs("padded", build("bert"))
    assert torch.equal(inputs["token_type_ids"][0, :9], batch.token_type_ids[0, :9])
    assert torch.equal(inputs["token_type_ids"][1, :12], batch.token_type_ids[0, 9:21])
    assert not (inputs["token_type_ids"] * (1 - inputs["attention_mask"])).any()


@pytest.mark.parametrize(
    ("family", "pad_id", "keys"), [*CASES, ("bert", 0, {"sentence_task": True}), ("albert", 0, {"sentence_task": True})]
)
def test_transformers_loads_what_is_exported_with_the_same_logits(tmp_path, family, pad_id, keys):
    from transformers import AutoModelForMaskedLM

    model = build(family, pad_id, **keys).float().eval()
    store = open_store(str(tmp_path))
    url = export_model(store, model, tokenizer_json=make_tokenizer_json(), seq_len=SEQ_LEN)
    loaded = AutoModelForMaskedLM.from_pretrained(url)
    ids = make_sequences(pad_id)[1][0][None]
    with torch.no_grad():
        found, expected = loaded(input_ids=ids), model(input_ids=ids)
    wanted = expected.prediction_logits if keys.get("sentence_task") else expected.logits
    torch.testing.assert_close(found.logits, wanted, rtol=1e-6, atol=1e-6)
    config = json.loads(store.read_bytes("model/config.json"))
    assert config["pad_token_id"] == pad_id
    out_of_range = {name: one for name, one in config.items() if name.endswith("token_id") and (one or 0) >= VOCAB_SIZE}
    assert not out_of_range


def test_every_family_has_every_size():
    assert SIZES.keys() == FAMILIES.keys() == set(ModelFamily)
    for family, sized in SIZES.items():
        assert sized.keys() == set(ModelSize)
        widths = [ModelSection(family=family, size=size) for size in ModelSize]
        parts = [one.hidden_size * one.hidden_size * one.num_layers for one in widths]
        assert parts == sorted(parts)
        assert family_of(build(family)) is FAMILIES[family]
