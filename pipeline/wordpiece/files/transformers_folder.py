"""Read a tokenizer's folder as `transformers.AutoTokenizer` does, without `transformers`.

    config.json, tokenizer_config.json --class--> BertTokenizer: the vocabulary, with BERT's parts as the config says
                                                  TokenizersBackend: tokenizer.json as it is
    added_tokens_decoder, or else special_tokens_map.json, added_tokens.json and tokenizer.json --> added tokens

A `tokenizer_config.json` that names `BertTokenizer` takes precedence over the `tokenizer.json` in the same folder: only
the pieces and the added tokens of that file are used, and `do_lower_case` defaults to true. Written after transformers
5.23, and compared with it in the tests. A folder is refused where it is not certain how `transformers` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

from tokenizers import Tokenizer

from maskmill.pipeline.wordpiece.files.check_tokenizer import parse_tokenizer_json, refuse_unusable
from maskmill.pipeline.wordpiece.files.folder_tokens import CONFIG, MODEL_CONFIG, TOKENIZER_JSON, Folder, add_tokens
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.pipeline.wordpiece.files.tokenizer_files import add_template, assemble_bert

_BERT_CLASSES = frozenset(
    f"{name}Tokenizer{fast}"
    for name in ("Bert", "DistilBert", "Electra", "LayoutLM", "Lxmert", "MobileBert", "SqueezeBert")
    for fast in ("", "Fast")
)
_GENERAL_CLASSES = frozenset({"PreTrainedTokenizerFast", "TokenizersBackend"})
_BERT_MODELS = frozenset(
    {"bert", "convbert", "distilbert", "electra", "ernie", "layoutlm", "megatron-bert", "nomic_bert"}
)
"""Values of `model_type` whose tokenizer is `BertTokenizer` where no class is named."""
_UNSUPPORTED = (
    *("auto_map", "fast_tokenizer_files", "gguf_file", "init_inputs", "merges", "model_specific_special_tokens"),
    *("post_processor", "split_special_tokens", "tokenizer_object", "trust_remote_code", "vocab"),
)
"""Keys that load code, other files or a vocabulary from somewhere else, or change how a text is split."""


class Reading(Enum):
    """Which class of `transformers` reads the folder."""

    BERT = auto()
    """`BertTokenizer`, which takes the pieces and builds the rest by `tokenizer_config.json`."""
    GENERAL = auto()
    """`TokenizersBackend`, which takes `tokenizer.json` as it is."""
    BERT_OR_GENERAL = auto()
    """One or the other by tables of `transformers` that are not kept here."""


def choose_reading(folder: Folder) -> Reading | None:
    """Choose the class that reads the folder; None if no file names one, so `AutoTokenizer` needs a tokenizer.json.

    Raises:
        ConfigError: The class, or a key that changes the ids of text, is not supported.
    """
    config, model = folder.read(CONFIG), folder.read(MODEL_CONFIG)
    for key in _UNSUPPORTED:
        if config.get(key):
            raise folder.refuse(CONFIG, key, config[key], "this key to be missing, false or null")
    model_type = model.get("model_type", "")
    if not isinstance(model_type, str):
        raise folder.refuse(MODEL_CONFIG, "model_type", model_type, "a string")
    file, holder = (CONFIG, config) if config.get("tokenizer_class") is not None else (MODEL_CONFIG, model)
    name = holder.get("tokenizer_class")
    if name is None:
        if model_type and model_type not in _BERT_MODELS:
            action = f'say which class reads it by "tokenizer_class" in {CONFIG}, or name the tokenizer.json itself'
            raise folder.refuse(MODEL_CONFIG, "model_type", model_type, "a model of BERT's kind", action)
        return Reading.BERT if model_type else None
    if not isinstance(name, str) or name not in _GENERAL_CLASSES | _BERT_CLASSES:
        known = ", ".join(sorted(_GENERAL_CLASSES | {name for name in _BERT_CLASSES if not name.endswith("Fast")}))
        raise folder.refuse(file, "tokenizer_class", name, known)
    if name in _GENERAL_CLASSES:
        return Reading.GENERAL
    return Reading.BERT if not model_type or model_type in _BERT_MODELS else Reading.BERT_OR_GENERAL


_NORMALISATION_KEYS = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")


def says_normalisation(folder: Folder) -> bool:
    """Whether the folder's settings decide how its vocab.txt normalises text."""
    config = folder.read(CONFIG)
    return choose_reading(folder) is Reading.BERT or any(key in config for key in _NORMALISATION_KEYS)


def read_bert_normalisation(folder: Folder, default: Normalisation) -> Normalisation:
    """Read the normalisation of `BertTokenizer`; what the config does not set is taken from `default`.

    Raises:
        ConfigError: A value is not true or false.
    """
    config = folder.read(CONFIG)

    def read(key: str, fallback: bool | None, *, or_null: bool = False) -> Any:
        value = config.get(key, fallback)
        if not (isinstance(value, bool) or (value is None and or_null)):
            raise folder.refuse(CONFIG, key, value, "true or false")
        return value

    lower, strip, chinese = _NORMALISATION_KEYS
    return Normalisation(
        lowercase=read(lower, default.lowercase),
        strip_accents=read(strip, default.strip_accents, or_null=True),
        handle_chinese_chars=read(chinese, default.handle_chinese_chars),
    )


def resolve_tokenizer_json(folder: Folder) -> bytes:
    """Resolve the folder to one tokenizer.json: its own file, unless the other files change the ids of text.

    Raises:
        ConfigError: It is not certain how `AutoTokenizer` reads the folder, or the tokenizer cannot be used.
    """
    content = folder.files[TOKENIZER_JSON]
    reading = choose_reading(folder) or Reading.GENERAL
    as_it_is = parse_tokenizer_json(content, folder.path(TOKENIZER_JSON))
    before = describe_ids(as_it_is)
    general = bert = as_it_is
    if reading is not Reading.BERT:
        add_tokens(folder, general, is_bert=False)
    if reading is not Reading.GENERAL:
        vocabulary: dict[str, int] = json.loads(content)["model"]["vocab"]
        bert = build_bert(folder, vocabulary)
    if reading is Reading.BERT_OR_GENERAL and describe_ids(general) != describe_ids(bert):
        model_type = folder.read(MODEL_CONFIG)["model_type"]
        action = f'set "tokenizer_class": "PreTrainedTokenizerFast" in {CONFIG}, or name the tokenizer.json itself'
        raise folder.refuse(
            MODEL_CONFIG, "model_type", model_type, f"a model whose tokenizer is what {CONFIG} says", action
        )
    found = general if reading is Reading.GENERAL else bert
    return content if describe_ids(found) == before else found.to_str().encode()


def build_bert(folder: Folder, vocabulary: Mapping[str, int], default: Normalisation | None = None) -> Tokenizer:
    """Build the tokenizer that `BertTokenizer` builds from a vocabulary and the folder's settings."""
    tokenizer = assemble_bert(vocabulary, read_bert_normalisation(folder, default or Normalisation()))
    add_tokens(folder, tokenizer, is_bert=True)
    refuse_unusable(tokenizer)
    add_template(tokenizer)
    return tokenizer


def describe_ids(tokenizer: Tokenizer) -> dict[str, Any]:
    """The parts of a tokenizer that decide the ids of text."""
    description = json.loads(tokenizer.to_str())
    return {part: description[part] for part in ("added_tokens", "normalizer", "pre_tokenizer", "model")}
