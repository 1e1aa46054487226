"""Check that a tokenizer can be used, whoever made it, and read how it makes words of text."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import Tokenizer

from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.schemas.errors import ConfigError, is_panic
from maskmill.schemas.tokenizer.tokenizer_file import TokenizerFile, check_tokenizer_json

_MAX_SHOWN = 200


def parse_tokenizer_json(content: bytes, path: str = "tokenizer.from") -> Tokenizer:
    """Load a tokenizer.json, every value of which is checked first.

    Args:
        content: The file.
        path: Where it comes from, for messages.

    Raises:
        ConfigError: It cannot be used; see `check_tokenizer_json`.
    """
    checked = check_tokenizer_json(content, path)
    try:
        tokenizer = Tokenizer.from_str(content.decode())
        erased = _find_erased(tokenizer, checked)
    except BaseException as error:  # tokenizers raises plain Exception, and a panic is none
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        raise ConfigError(
            "tokenizer.json cannot be read",
            path=path,
            expected="a tokenizer.json of the tokenizers library",
            found=str(error)[:_MAX_SHOWN],
            action="write it again with Tokenizer.save, or bring the vocab.txt",
        ) from error
    if erased is not None:
        raise ConfigError(
            "the normalizer reduces an added token to nothing, which would match everywhere",
            path=path,
            place="added_tokens",
            expected="added tokens that the normalizer leaves something of, or that are not normalized",
            found=repr(erased[:_MAX_SHOWN]),
            action='set "normalized": false for this token',
        )
    return tokenizer


def _find_erased(tokenizer: Tokenizer, checked: TokenizerFile) -> str | None:
    """The first added token of which the normalizer leaves nothing: with one, `tokenizers` panics on some texts."""
    normalizer = tokenizer.normalizer
    if normalizer is None:
        return None
    normalized = (token.content for token in checked.added_tokens if token.normalized)
    return next((content for content in normalized if not normalizer.normalize_str(content)), None)


def refuse_unusable(tokenizer: Tokenizer, path: str = "tokenizer.from") -> TokenizerFile:
    """Refuse a tokenizer, made here of what was brought, that packing could not use.

    Returns:
        What it is made of.

    Raises:
        ConfigError: It cannot be used; see `check_tokenizer_json`.
    """
    return check_tokenizer_json(tokenizer.to_str().encode(), path)


def read_normalisation(tokenizer: Tokenizer) -> Normalisation:
    """The settings of a tokenizer's normaliser: what words must be counted with to be those of this tokenizer.

    Raises:
        ConfigError: It is not BERT's normaliser, or not BERT's pre-tokeniser.
    """
    description: dict[str, Any] = json.loads(tokenizer.to_str())
    normalizer, pre_tokenizer = description["normalizer"] or {}, description["pre_tokenizer"] or {}
    found = (normalizer.get("type"), normalizer.get("clean_text"), pre_tokenizer.get("type"))
    if found != ("BertNormalizer", True, "BertPreTokenizer"):
        raise ConfigError(
            "the tokenizer splits text into words differently than the word counts",
            path="tokenizer.from",
            expected="a BertNormalizer that cleans text, and a BertPreTokenizer",
            found=", ".join(map(str, found)),
            action="bring its vocab.txt instead, or leave out tokenizer.extend",
        )
    return Normalisation(
        lowercase=normalizer["lowercase"],
        strip_accents=normalizer["strip_accents"],
        handle_chinese_chars=normalizer["handle_chinese_chars"],
    )
