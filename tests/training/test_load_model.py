"""Runs that begin with a folder of transformers: its weights, its size, and means for pieces that it has not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM, BertForMaskedLM

from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.training.build_model import build_model
from maskmill.pipeline.training.export_model import export_model
from maskmill.pipeline.training.load_model import make_initial_model
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.model_section import ModelFamily, ModelSection
from tests.training.small_runs import PAD, SEQ_LEN, VOCAB_SIZE, make_config, make_data, make_tokenizer_json

SMALL = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 24}
FAMILIES = [str(family) for family in ModelFamily]


def write_folder(folder, family="bert", pieces=(), **keys):
    data = extend_data(*pieces)
    section = ModelSection(family=family, **SMALL, **keys)
    with torch.random.fork_rng():
        model = build_model(section, vocab_size=data.vocab_size, seq_len=SEQ_LEN, pad_id=PAD, mask_id=4, seed=3)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    export_model(open_store(str(folder)), model, tokenizer_json=data.tokenizer_json, seq_len=SEQ_LEN)
    return f"{folder}/model"


def extend_data(*pieces):
    tokenizer = json.loads(make_tokenizer_json())
    ids = tokenizer["model"]["vocab"]
    for piece in pieces:
        ids[piece] = len(ids)
    return dataclasses.replace(
        make_data(), tokenizer_json=json.dumps(tokenizer).encode(), vocab_size=VOCAB_SIZE + len(pieces)
    )


def load(url, data=None, *, family="bert", **keys):
    with torch.random.fork_rng():
        return make_initial_model(ModelSection(family=family, init=url, **keys), data or make_data(), seed=1)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_begins_with_the_weights_of_the_folder(tmp_path, family):
    url = write_folder(tmp_path, family)
    model, expected = load(url, family=family), AutoModelForMaskedLM.from_pretrained(url)
    wanted = dict(expected.named_parameters())
    assert model.training
    assert {name: one.dtype for name, one in model.named_parameters()} == dict.fromkeys(wanted, torch.float32)
    assert all(torch.equal(parameter, wanted[name]) for name, parameter in model.named_parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_new_pieces_begin_as_the_mean_of_the_pieces_that_wrote_them(tmp_path, family):
    """In the embeddings and in the output layer; every old row stays what it was."""
    url = write_folder(tmp_path, family, pieces=("ab", "##c", "##cc"))
    old = AutoModelForMaskedLM.from_pretrained(url)
    model = load(url, extend_data("ab", "##c", "##cc", "abccc", "strange"), family=family)
    means = {VOCAB_SIZE + 3: [40, 42, 41], VOCAB_SIZE + 4: [1]}
    for found, before in (
        (model.get_input_embeddings().weight, old.get_input_embeddings().weight),
        (model.get_output_embeddings().weight, old.get_output_embeddings().weight),
        (model.get_output_embeddings().bias, old.get_output_embeddings().bias),
    ):
        if before is None:
            assert found is None
            continue
        assert len(found) == VOCAB_SIZE + 5
        assert torch.equal(found[: VOCAB_SIZE + 3], before)
        for number, pieces in means.items():
            torch.testing.assert_close(found[number], before[pieces].mean(0))
    assert model.config.vocab_size == VOCAB_SIZE + 5
    config = model.config.to_dict()
    store = open_store(str(tmp_path / "again"))
    data = extend_data("ab", "##c", "##cc", "abccc", "strange")
    again = AutoModelForMaskedLM.from_pretrained(
        export_model(store, model, tokenizer_json=data.tokenizer_json, seq_len=SEQ_LEN)
    )
    ids = torch.tensor([[2, 43, 44, 5, 3]])
    with torch.no_grad():
        torch.testing.assert_close(again(input_ids=ids).logits, model.eval()(input_ids=ids).logits)
    assert config["vocab_size"] == again.config.vocab_size


def test_a_folder_of_a_pair_model_serves_both_kinds(tmp_path):
    url = write_folder(tmp_path, sentence_task=True)
    assert type(load(url)) is BertForMaskedLM
    pairs = load(url, sentence_task=True)
    assert torch.equal(pairs.bert.pooler.dense.weight, load(url, sentence_task=True).bert.pooler.dense.weight)
    fresh = write_folder(tmp_path / "plain")
    first, second = load(fresh, sentence_task=True), load(fresh, sentence_task=True)
    assert torch.equal(first.cls.seq_relationship.weight, second.cls.seq_relationship.weight)


def test_the_size_and_the_dropout_are_the_folders_unless_they_are_set(tmp_path):
    url = write_folder(tmp_path, dropout=0.25)
    assert load(url).config.hidden_dropout_prob == 0.25
    assert load(url, dropout=0.0).config.attention_probs_dropout_prob == 0.0
    assert load(url, hidden_size=16, num_heads=2).config.hidden_size == 16
    with pytest.raises(ConfigError, match=r"model\.hidden_size is not that.*expected 128; found 16"):
        load(url, size="tiny")
    config = make_config(str(tmp_path), model={"init": url})
    assert config.fingerprinted()["model.init"] == url


def damage_config(folder):
    (folder / "config.json").write_text("{")


def change_config(**values):
    def change(folder):
        found = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(found | values))

    return change


def damage_weights(folder):
    (folder / "model.safetensors").write_bytes(b"nothing")


def remove(name):
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (damage_config, "config.json"),
        (change_config(model_type="gpt2"), "found 'gpt2'"),
        (change_config(hidden_size="wide"), "config.json"),
        (change_config(hidden_size=32), "weights of other shapes than config.json says"),
        (change_config(vocab_size=33), "weights of other shapes"),
        (change_config(num_hidden_layers=10**7), "config.json: num_layers"),
        (change_config(num_hidden_layers=-1), "config.json: num_layers"),
        (change_config(num_attention_heads=0), "config.json: num_heads"),
        (change_config(hidden_size=10**12), "config.json: hidden_size"),
        (change_config(max_position_embeddings=10**12), "config.json: max_positions"),
        (change_config(vocab_size=10**12), "config.json: a vocabulary of 1000000000000 pieces"),
        (change_config(hidden_act="nothing"), "there is no model here to begin with"),
        (change_config(num_hidden_layers=3), "no weights for bert.encoder.layer.2"),
        (damage_weights, "there is no model here to begin with"),
        (remove("config.json"), "no config.json"),
        (remove("model.safetensors"), "no file of safetensors"),
        (remove("tokenizer.json"), "there is no tokenizer here"),
    ],
)
def test_a_folder_that_is_no_model_is_refused_by_name(tmp_path, damage, named):
    url = write_folder(tmp_path)
    damage(Path(url))
    with pytest.raises(ConfigError) as caught:
        load(url)
    assert named in str(caught.value)


def test_a_folder_of_another_tokenizer_is_refused(tmp_path):
    url = write_folder(tmp_path, pieces=("one",))
    with pytest.raises(ConfigError, match="id 40: the rows were encoded with another tokenizer"):
        load(url, extend_data("two"))
    with pytest.raises(ConfigError, match="holds a model of another family"):
        load(url, family="albert")
