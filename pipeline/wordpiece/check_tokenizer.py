"""What a tokenizer must be to be used, whoever made it, and how it makes words of text."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import Tokenizer, models

from pipeline.wordpiece.normalise import Normalisation
from pipeline.wordpiece.train import SPECIAL_TOKENS
from schemas.errors import ConfigError

UNK = SPECIAL_TOKENS[1]


def refuse_unusable(tokenizer: Tokenizer) -> None:
    """Refuse a tokenizer that packing could not use.

    Raises:
        ConfigError: It is not WordPiece, a special token is missing, or ids have holes.
    """
    if not isinstance(tokenizer.model, models.WordPiece):
        raise ConfigError(
            "the tokenizer's model is not WordPiece",
            path="tokenizer.from",
            expected="WordPiece",
            found=type(tokenizer.model).__name__,
            action="bring a WordPiece tokenizer, or remove tokenizer.from to train one",
        )
    ids: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    missing = [token for token in SPECIAL_TOKENS if token not in ids]
    if missing:
        raise ConfigError(
            "the tokenizer lacks special tokens",
            path="tokenizer.from",
            expected=" ".join(SPECIAL_TOKENS),
            found=f"no {' '.join(missing)}",
            action="add them to the vocabulary",
        )
    if tokenizer.model.unk_token != UNK:
        raise ConfigError(
            "the tokenizer's token for unknown words is another one",
            path="tokenizer.from",
            expected=UNK,
            found=str(tokenizer.model.unk_token),
            action=f"rename the piece to {UNK} and set model.unk_token in tokenizer.json",
        )
    if sorted(ids.values()) != list(range(len(ids))):
        holes = sorted(set(range(max(ids.values()) + 1)) - set(ids.values()))
        raise ConfigError(
            "the tokenizer's ids are not 0, 1, 2 and so on, each once",
            path="tokenizer.from",
            expected=f"ids 0 to {len(ids) - 1}",
            found=f"{len(holes)} holes, the first at {holes[0]}" if holes else "one id for two pieces",
            action="give every id a piece, such as [unused1]",
        )


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
            "the tokenizer makes words of text in another way than words are counted here",
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
