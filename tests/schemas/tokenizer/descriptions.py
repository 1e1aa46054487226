"""A small `tokenizer.json` as a dictionary, to be changed."""

from __future__ import annotations

import json
from typing import Any

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PIECES = (*SPECIAL, "a", "##a", "b", "##b", "x")


def describe(**parts: Any) -> dict[str, Any]:
    """The description, with other parts in the place of its own."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [describe_token(number, token) for number, token in enumerate(SPECIAL)],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [place("SpecialToken", "[CLS]"), place("Sequence", "A"), place("SpecialToken", "[SEP]")],
            "pair": [place("Sequence", "A"), place("SpecialToken", "[SEP]"), place("Sequence", "B", 1)],
            "special_tokens": {
                token: {"id": token, "ids": [SPECIAL.index(token)], "tokens": [token]} for token in ("[CLS]", "[SEP]")
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": describe_model(),
    } | parts


def describe_model(**values: Any) -> dict[str, Any]:
    return {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {piece: number for number, piece in enumerate(PIECES)},
    } | values


def describe_token(number: int, content: str, **flags: Any) -> dict[str, Any]:
    values = {"id": number, "content": content, "single_word": False, "lstrip": False, "rstrip": False}
    return values | {"normalized": False, "special": True} | flags


def place(kind: str, name: str, type_id: int = 0) -> dict[str, Any]:
    return {kind: {"id": name, "type_id": type_id}}


def dump(description: Any) -> bytes:
    return json.dumps(description).encode()
