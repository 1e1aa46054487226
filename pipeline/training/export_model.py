"""The trained model as a folder that transformers loads: weights, configuration and tokenizer."""

from __future__ import annotations

import json
from typing import Any

from safetensors.torch import save

from pipeline.storage.store import Store

MODEL_FOLDER = "model"
_SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


def export_model(store: Store, model: Any, *, tokenizer_json: bytes, seq_len: int) -> str:
    """Write `model/` below the output, `config.json` last: a folder without it is no model to transformers.

    `AutoModelForMaskedLM.from_pretrained` and `AutoTokenizer.from_pretrained` load it. Tied weights stand once, as
    transformers writes them.

    Args:
        store: The output.
        model: A `BertForMaskedLM`.
        tokenizer_json: The packed dataset's `tokenizer.json`.
        seq_len: Longest sequence the model has positions for.

    Returns:
        The folder's URL.
    """
    weights = {name: parameter.detach().cpu().contiguous() for name, parameter in model.named_parameters()}
    model.config.architectures = [type(model).__name__]
    files = {
        "tokenizer.json": tokenizer_json,
        "tokenizer_config.json": _describe_tokenizer(tokenizer_json, seq_len),
        "model.safetensors": save(weights, metadata={"format": "pt"}),
        "config.json": model.config.to_json_string().encode(),
    }
    for name, data in files.items():
        store.write_bytes(f"{MODEL_FOLDER}/{name}", data)
    return store.locate(MODEL_FOLDER)


def _describe_tokenizer(tokenizer_json: bytes, seq_len: int) -> bytes:
    """The settings that the tokenizer folder has, with the model's own longest sequence."""
    normalizer = json.loads(tokenizer_json)["normalizer"] or {}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": seq_len,
        "clean_up_tokenization_spaces": False,
        "do_lower_case": normalizer.get("lowercase", False),
        "strip_accents": normalizer.get("strip_accents"),
        "tokenize_chinese_chars": normalizer.get("handle_chinese_chars", False),
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        **_SPECIAL_TOKENS,
    }
    return json.dumps(settings, indent=2).encode() + b"\n"
