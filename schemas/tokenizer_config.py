"""The content of `tokenizer_config.json`, in tokenizer folders and in those of trained models."""

from __future__ import annotations

import json


def describe_for_transformers(tokenizer_json: str | bytes, model_max_length: int) -> bytes:
    """The settings with which `transformers.AutoTokenizer` uses a `tokenizer.json` unchanged.

    Args:
        tokenizer_json: The content of that file.
        model_max_length: Number of tokens, including special ones, to which `transformers` truncates.
    """
    normalizer = json.loads(tokenizer_json)["normalizer"] or {}
    settings = {
        # The general class uses tokenizer.json unchanged; BertTokenizer would build another one from vocab.txt.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model_max_length,
        "clean_up_tokenization_spaces": False,
        "do_lower_case": normalizer.get("lowercase", False),
        "strip_accents": normalizer.get("strip_accents"),
        "tokenize_chinese_chars": normalizer.get("handle_chinese_chars", False),
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    return json.dumps(settings, indent=2).encode() + b"\n"
