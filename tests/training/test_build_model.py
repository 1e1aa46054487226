from __future__ import annotations

import pytest
import torch

from maskmill.pipeline.training.build_model import build_model
from maskmill.pipeline.training.device import open_autocast, resolve_device, resolve_precision
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.train_file import ModelSection

SECTION = ModelSection(hidden_size=24, num_layers=3, num_heads=4, dropout=0.25, initializer_range=0.5)


def build(seed=0, **fields):
    section = SECTION.model_copy(update=fields)
    with torch.random.fork_rng():
        return build_model(section, vocab_size=33, seq_len=17, pad_id=2, seed=seed)


def test_the_model_is_the_one_described():
    config = build().config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (24, 3, 4)
    assert (config.intermediate_size, build(intermediate_size=5).config.intermediate_size) == (96, 5)
    assert (config.vocab_size, config.max_position_embeddings, config.pad_token_id) == (33, 17, 2)
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.25, 0.25)
    assert config._attn_implementation == "sdpa"


def test_weights_are_a_function_of_the_seed():
    first, same, other = (build(seed).state_dict() for seed in (1, 1, 2))
    name = "bert.encoder.layer.2.output.dense.weight"
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not torch.equal(first[name], other[name])
    assert first[name].std().item() == pytest.approx(0.5, rel=0.1)


def test_input_and_output_embeddings_are_one_tensor():
    model = build()
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight


def test_a_device_that_is_not_there_is_refused():
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("abacus", "cuda:99"):
        with pytest.raises(ConfigError, match=name):
            resolve_device(name)


def test_bf16_is_for_those_who_have_it_or_ask():
    cpu = torch.device("cpu")
    assert [resolve_precision(name, cpu) for name in ("auto", "float32", "bf16")] == ["float32", "float32", "bf16"]
    x = torch.ones(2, 2)
    with open_autocast("bf16", cpu):
        assert (x @ x).dtype == torch.bfloat16
    with open_autocast("float32", cpu):
        assert (x @ x).dtype == torch.float32
