"""Every encoder that `transformers` has: packed rows give what each sequence alone gives, or are refused by name."""

from __future__ import annotations

import copy
import inspect
import logging
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

import tests
from maskmill.pipeline.loader.encoders import layouts
from maskmill.pipeline.loader.encoders.encoder import Encoder, describe_encoder
from maskmill.pipeline.loader.encoders.families import FAMILIES, LAYOUTS
from maskmill.schemas.errors import ConfigError
from tests.loader.datasets import CLS, PAD, SEP, SEQ_LEN, UNK, VOCAB_SIZE, write_dataset
from tests.loader.encoders.attention import VARLEN, register_varlen
from tests.loader.streams import open_loader

TOLERANCE = 1e-4
ROOT = Path(tests.__file__).parent.parent
MASKED_LMS = dict(modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES)
TEXT_ENCODERS = dict(modeling_auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES)
OTHERS = {"canine": "CanineModel", "markuplm": "MarkupLMModel", "splinter": "SplinterModel"}
CLASSES = MASKED_LMS | TEXT_ENCODERS | OTHERS
SUPPORTED = [name for name, family in FAMILIES.items() if not all(map(family.refusal, LAYOUTS))]
ATTENTIONS = ("sdpa", "eager", VARLEN)

SMALL = {
    "vocab_size": VOCAB_SIZE, "hidden_size": 32, "d_model": 32, "dim": 32, "emb_dim": 32, "embedding_size": 32,
    "num_hidden_layers": 4, "num_layers": 4, "n_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 4,
    "num_heads": 4, "n_heads": 4, "head_dim": 8, "d_kv": 8, "intermediate_size": 64, "hidden_dim": 64, "d_ff": 64,
    "max_position_embeddings": SEQ_LEN + 2, "pad_token_id": PAD, "bos_token_id": CLS, "cls_token_id": CLS,
    "eos_token_id": SEP, "sep_token_id": SEP, "decoder_start_token_id": CLS, "type_vocab_size": 2,
    # wide weights: with the usual 0.02 every sequence would give nearly the same logits
    "initializer_range": 0.2, "init_std": 0.2, "embed_init_std": 0.2,
    "local_attention": 8, "global_attn_every_n_layers": 2, "attention_window": 8,
}  # fmt: skip
SPECIAL: dict[str, dict[str, Any]] = {
    "big_bird": {"attention_type": "original_full"},
    "layoutlm": {"max_2d_position_embeddings": 64},
    "luke": {"entity_vocab_size": 9, "entity_emb_size": 8},
    "neomme": {"sliding_window": 4, "head_dim": 16},
    "ultrabert": {"sliding_window": 4},
    "xmod": {"default_language": "en_XX"},
}


def build(model_type: str, attention: str = "sdpa", **changes: Any) -> Any:
    """A small model of a family with random weights; the class with a head where there is one.

    Every row of every trained table is random, as in many published models: the fresh row of the padding id is zero,
    which would hide what flows from padding into tokens.
    """
    config_class = CONFIG_MAPPING[model_type]
    known = {*inspect.signature(config_class.__init__).parameters, *config_class.attribute_map}
    settings = {name: value for name, value in SMALL.items() if name in known} | SPECIAL.get(model_type, {}) | changes
    model_class = getattr(transformers, CLASSES[model_type])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class._from_config(config_class(**settings), attn_implementation=attention).eval()
        for module in model.modules():
            weight = getattr(module, "weight", None) if "Embedding" in type(module).__name__ else None
            if weight is not None and weight.requires_grad:  # sinusoids stay what they are
                torch.nn.init.normal_(weight, std=0.2)
        return model


def run(model: Any, **inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        output = model(**inputs)
    return output.logits if hasattr(output, "logits") else output.last_hidden_state


@pytest.fixture(scope="module", autouse=True)
def _attention():
    """One thread: the models are tiny, and threads that wait for each other are ten times slower on busy cores."""
    register_varlen()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """Rows of several sequences and padding, with an [UNK] in many: the id that RoBERTa pads with by default."""
    folder = str(tmp_path_factory.mktemp("encoders") / "packed")
    write_dataset(folder)
    served = next(iter(open_loader(folder, masking="static", global_batch_rows=4)))
    ids = served.input_ids.clone()
    ids[:, 2::7] = torch.where(ids[:, 2::7] >= 5, UNK, ids[:, 2::7])
    assert served.segment_ids.max() >= 2
    assert (served.segment_ids == 0).any()
    return replace(served, input_ids=ids)


def run_alone(model: Any, batch: Any) -> torch.Tensor:
    """Each sequence by itself, cut out with plain slices, end to end."""
    ids, segments = batch.input_ids.flatten(), batch.segment_ids.flatten()
    ends = [(start, stop) for start, stop in pairwise(batch.cu_seqlens.tolist()) if segments[start] > 0]
    return torch.cat([run(model, input_ids=ids[None, start:stop])[0] for start, stop in ends])


def take_real(output: torch.Tensor, batch: Any, inputs: dict[str, Any], layout: str) -> torch.Tensor:
    real = inputs["attention_mask"] == 1 if layout == "padded" else (batch.segment_ids > 0).view(output.shape[:2])
    return output[real]


@pytest.mark.parametrize("model_type", SUPPORTED)
def test_a_supported_family_gives_each_sequence_what_it_gives_it_alone(model_type, batch):
    """With every kind of attention that the family has, in every layout that it is not refused."""
    right, alone = set(), []
    for attention in ATTENTIONS:
        try:
            model = build(model_type, attention)
        except ValueError:  # the family has no such attention
            assert attention != "eager"
            continue
        heads = [model] if model.base_model is model else [model, model.base_model]
        alone = [run_alone(head, batch) for head in heads] if attention != VARLEN else alone
        for layout in LAYOUTS:
            if layout == "padded" and attention == VARLEN:  # transformers makes no mask for an attention of ours
                continue
            try:
                inputs = batch.model_inputs(layout, model)
            except ConfigError:
                continue
            for head, expected in zip(heads, alone, strict=True):
                found = run(head, **batch.model_inputs(layout, head))
                assert batch.model_labels(layout).shape == found.shape[:2]
                assert torch.isfinite(take_real(found, batch, inputs, layout)).all()
                worst = (take_real(found, batch, inputs, layout) - expected).abs().max()
                assert worst < TOLERANCE * max(1.0, float(expected.std())), (attention, layout, worst)
            right.add(layout)
    assert right == {layout for layout in LAYOUTS if not FAMILIES[model_type].refusal(layout)}


@pytest.mark.parametrize("model_type", sorted({*CLASSES, "gpt2", "xlnet", "llama"} - set(SUPPORTED)))
def test_every_other_family_is_refused_by_name(model_type, batch):
    stand_in = SimpleNamespace(config=SimpleNamespace(model_type=model_type))
    for layout in LAYOUTS:
        with pytest.raises(ConfigError) as caught:
            batch.model_inputs(layout, stand_in)
        assert model_type in str(caught.value)
        assert caught.value.action


def test_every_masked_language_model_has_an_entry():
    assert {*MASKED_LMS, *TEXT_ENCODERS} <= {*FAMILIES}


@pytest.mark.parametrize("model_type", ["bert", "roberta", "modernbert", "mpnet"])
def test_the_comparison_can_fail(model_type, batch):
    """What a packed row costs with the mask that trainers usually give."""
    model = build(model_type, "eager")
    inputs = batch.model_inputs("sdpa", model) | {"attention_mask": (batch.segment_ids > 0).long()}
    assert (run(model, **inputs)[batch.segment_ids > 0] - run_alone(model, batch)).abs().max() > 0.1


@pytest.mark.parametrize("model_type", ["roberta", "xlm-roberta", "camembert", "mpnet", "luke", "ibert"])
@pytest.mark.parametrize("padding_idx", [PAD, UNK, 7])
@pytest.mark.parametrize("layout", ["sdpa", "padded"])
def test_positions_follow_the_id_that_the_model_pads_with(model_type, padding_idx, layout, batch):
    """Also where the rows hold that id as a token: alone, the model gives it and those behind it such positions."""
    model = build(model_type, "eager", pad_token_id=padding_idx, max_position_embeddings=SEQ_LEN + padding_idx + 2)
    inputs = batch.model_inputs(layout, model)
    found = take_real(run(model, **inputs), batch, inputs, layout)
    assert (found - run_alone(model, batch)).abs().max() < TOLERANCE


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.bfloat16, 0.02), (torch.float16, 0.002), (torch.float64, 1e-6)])
@pytest.mark.parametrize("model_type", ["bert", "roberta", "modernbert"])
def test_masks_fit_models_of_any_precision(model_type, dtype, rounding, attention, batch):
    model = build(model_type, attention).to(dtype)
    found = run(model, **batch.model_inputs("sdpa", model))[batch.segment_ids > 0]
    alone = run_alone(model, batch)
    assert found.dtype is alone.dtype is dtype
    assert (found - alone).abs().mean() < rounding


def test_modernbert_is_right_for_any_window_and_period(batch):
    for window, period in ((2, 1), (2, 3), (10, 2), (64, 2), (4, 99)):
        model = build("modernbert", local_attention=window, global_attn_every_n_layers=period)
        found = run(model, **batch.model_inputs("sdpa", model))[batch.segment_ids > 0]
        assert (found - run_alone(model, batch)).abs().max() < TOLERANCE


def test_an_encoder_is_small_and_goes_to_a_worker(batch):
    for model_type in ("bert", "roberta", "modernbert", "neomme", "t5"):
        model = build(model_type, "eager")
        encoder = describe_encoder(model)
        assert len(pickle.dumps(encoder)) < 4000
        assert pickle.loads(pickle.dumps(encoder)) == encoder == describe_encoder(encoder)  # noqa: S301
        wrapped = SimpleNamespace(module=SimpleNamespace(module=model))
        assert describe_encoder(wrapped) == encoder


@pytest.mark.parametrize(
    ("model_type", "changes", "named"),
    [
        ("bert", {"is_decoder": True}, "is_decoder"),
        ("bert", {"is_causal": True}, "is_causal"),
        ("roberta", {"is_causal": True}, "is_causal"),
        ("electra", {"is_causal": True}, "is_causal"),
        ("modernbert", {"is_causal": True}, "is_causal"),
        ("eurobert", {"is_causal": True}, "is_causal"),
        ("xlm", {"causal": True}, "causal"),
        ("flaubert", {"causal": True}, "causal"),
        ("roformer", {"rotary_value": True}, "rotary_value"),
        ("big_bird", {"attention_type": "block_sparse"}, "attention_type"),
        ("gte", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "rope_parameters"),
        ("modernbert", {"rope_parameters": {"full_attention": {"rope_type": "longrope"}}}, "rope_parameters"),
    ],
)
def test_settings_under_which_an_entry_is_not_true_are_refused(model_type, changes, named, batch):
    config = CONFIG_MAPPING[model_type]()
    for name, value in changes.items():
        setattr(config, name, value)
    for layout in LAYOUTS:
        with pytest.raises(ConfigError) as caught:
            batch.model_inputs(layout, SimpleNamespace(config=config))
        assert caught.value.place == f"config.{named}"
        assert model_type in str(caught.value)


class Forwarding(torch.nn.Module):
    """Gives what it does not have from the module within, as adapters and compiled models do."""

    def __init__(self, **inner):
        super().__init__()
        (self.within,) = inner
        for name, module in inner.items():
            setattr(self, name, module)

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__(self.__dict__["within"]), name)

    def forward(self, *args, **kwargs):
        return getattr(self, self.within)(*args, **kwargs)


class Adapted(Forwarding):
    """As PEFT wraps a model: twice, and `base_model` is the inner wrapper."""

    def __init__(self, model):
        super().__init__(base_model=Forwarding(model=model))

    def get_base_model(self):
        return self.base_model.model


class Distributed(torch.nn.Module):
    """As DistributedDataParallel wraps a model: nothing is forwarded."""

    def __init__(self, model):
        super().__init__()
        self.module = model

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)


class Engine(Forwarding):
    """As DeepSpeed wraps a model: with a `config` of its own."""

    def __init__(self, model):
        super().__init__(module=model)
        self.config = {"train_batch_size": 8}


WRAPPERS = {
    "adapted": Adapted,
    "forwarding alone": lambda model: Forwarding(base_model=Forwarding(model=model)),
    "distributed": Distributed,
    "engine": Engine,
    "compiled": torch.compile,
    "compiled, adapted and distributed": lambda model: torch.compile(Distributed(Adapted(torch.compile(model)))),
    "engine of an adapted model": lambda model: Engine(Adapted(model)),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("model_type", ["bert", "roberta", "modernbert", "mpnet", "t5"])
def test_a_wrapped_model_is_described_as_the_model_within(model_type, wrap):
    model = build(model_type, "eager")
    found, expected = describe_encoder(wrap(model)), describe_encoder(model)
    assert replace(found, name=expected.name) == expected


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapped_encoder_with_a_decoder_is_refused(wrap):
    config = CONFIG_MAPPING["t5"](vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    with pytest.raises(ConfigError, match="an encoder with a decoder"):
        describe_encoder(wrap(transformers.T5ForConditionalGeneration(config)))


@pytest.mark.parametrize("model_type", ["bert", "roberta", "modernbert"])
def test_a_configuration_is_no_model(model_type, batch):
    with pytest.raises(ConfigError, match="is a configuration, not a model") as caught:
        batch.model_inputs("sdpa", CONFIG_MAPPING[model_type]())
    assert "wrapper" not in str(caught.value)


def test_a_model_without_an_id_for_padding_is_refused():
    """Where positions follow from it: a model of one's own with RoBERTa's configuration."""
    with pytest.raises(ConfigError, match="padding_idx"):
        describe_encoder(SimpleNamespace(config=CONFIG_MAPPING["roberta"]()))


@pytest.mark.parametrize(("model_type", "offset"), [("bert", 0), ("roberta", 1), ("mpnet", 2), ("roformer", 0)])
@pytest.mark.parametrize("layout", ["sdpa", "padded"])
def test_a_table_of_positions_that_is_too_short_is_named(model_type, offset, layout, batch):
    needed = SEQ_LEN + offset
    full = replace(batch, segment_ids=torch.ones_like(batch.segment_ids), max_seqlen=SEQ_LEN,
                   position_ids=torch.arange(SEQ_LEN).expand(batch.input_ids.shape).contiguous())  # fmt: skip
    run(model := build(model_type, "eager", max_position_embeddings=needed), **full.model_inputs(layout, model))
    short = build(model_type, "eager", max_position_embeddings=needed - 1)
    with pytest.raises(ConfigError, match="max_position_embeddings") as caught:
        full.model_inputs(layout, short)
    assert caught.value.found == str(needed - 1)
    assert str(needed) in caught.value.expected


def test_an_encoder_with_a_decoder_is_refused(batch):
    config = CONFIG_MAPPING["t5"](vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    for layout in LAYOUTS:
        with pytest.raises(ConfigError, match="an encoder with a decoder"):
            batch.model_inputs(layout, transformers.T5ForConditionalGeneration(config))


def test_attention_that_would_ignore_a_layout_is_refused(batch):
    model = build("bert", "sdpa")
    with pytest.raises(ConfigError, match="ignores where sequences end"):
        batch.model_inputs("varlen", model)
    flash = copy.copy(describe_encoder(model))
    for name in ("flash_attention_2", "flash_attention_3", "kernels-community/flash-attn", VARLEN):
        with pytest.raises(ConfigError, match=re.escape(name)):
            batch.model_inputs("sdpa", replace(flash, attention=name))
        assert "cu_seq_lens_q" in batch.model_inputs("varlen", replace(flash, attention=name))


def test_what_is_no_model_is_refused(batch):
    for thing in (torch.nn.Linear(2, 2), 3, "bert"):
        with pytest.raises(ConfigError, match="no transformers configuration"):
            batch.model_inputs("sdpa", thing)


def test_a_model_of_ones_own_is_described(batch):
    """With the table's own words: here a BERT of an unknown name."""
    model = build("bert", "eager")
    encoder = Encoder("mine", FAMILIES["bert"], "eager", model.dtype)
    found = run(model, **batch.model_inputs("sdpa", encoder))[batch.segment_ids > 0]
    assert (found - run_alone(model, batch)).abs().max() < TOLERANCE


def test_the_documentation_lists_the_table():
    listed = subprocess.run(
        [sys.executable, ROOT / "infra" / "list_encoders.py"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert (ROOT / "docs" / "encoders.md").read_text() == listed.stdout


def test_a_mask_made_without_a_model_is_warned_of_once(batch, caplog):
    """It takes four times the memory of the one that the model itself may be given."""
    layouts.warn_of_wide_masks.cache_clear()
    model = build("bert")
    with caplog.at_level(logging.WARNING, "maskmill.loader"):
        masks = [batch.model_inputs("sdpa", given)["attention_mask"] for given in (model, describe_encoder(model))]
        for layout in ("varlen", "padded"):
            batch.model_inputs(layout)
        assert not caplog.records
        wide = [batch.model_inputs("sdpa")["attention_mask"] for _ in range(3)]
    (record,) = caplog.records
    assert "model_inputs" in record.getMessage()
    assert "model" in record.getMessage()
    assert [mask.nbytes * 4 for mask in masks] == [wide[0].nbytes] * 2
