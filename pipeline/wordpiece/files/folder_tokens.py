"""The files of a tokenizer's folder, and the tokens that `transformers.AutoTokenizer` adds from them.

    added_tokens_decoder of tokenizer_config.json; if it is missing:
    special_tokens_map.json, added_tokens.json and the added tokens of tokenizer.json

Then the named tokens that are not among them: `bos_token`, `mask_token` and so on, and the extra special tokens.
Written after `PreTrainedTokenizerBase._from_pretrained` and `TokenizersBackend.__init__` of transformers 5.23.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Tokenizer

from maskmill.schemas.bounded_json import parse_json
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.tokenizer.tokenizer_file import MAX_ADDED, MAX_TOKENIZER_BYTES, SPECIAL_TOKENS

TOKENIZER_JSON, VOCAB, CONFIG = "tokenizer.json", "vocab.txt", "tokenizer_config.json"
SPECIAL_MAP, ADDED, MODEL_CONFIG = "special_tokens_map.json", "added_tokens.json", "config.json"
FOLDER_FILES = (TOKENIZER_JSON, VOCAB, CONFIG, SPECIAL_MAP, ADDED, MODEL_CONFIG)
"""The files of a folder that decide what its tokenizer is."""

_PAD, _UNK, _CLS, _SEP, _MASK = SPECIAL_TOKENS
_NAMES = {
    "bos_token": None,
    "eos_token": None,
    "unk_token": _UNK,
    "sep_token": _SEP,
    "pad_token": _PAD,
    "cls_token": _CLS,
    "mask_token": _MASK,
}
"""The names of special tokens in the order that `transformers` adds them, and what each must be, if it matters."""
_DECODER, _EXTRA, _OLD_EXTRA = "added_tokens_decoder", "extra_special_tokens", "additional_special_tokens"
_FIELDS = frozenset({"content", "single_word", "lstrip", "rstrip", "normalized", "special"})
_TYPE = "__type"
_MAX_DIGITS = 18
"""Longest id that is read: any such number fits 64 bits."""
_ACTION = "remove or correct the key, or name the tokenizer.json or vocab.txt itself to leave the folder's settings out"


@dataclass(frozen=True)
class Folder:
    """The files of a folder that decide what its tokenizer is, and its location, for messages."""

    files: Mapping[str, bytes]
    location: str

    def read(self, name: str) -> dict[str, Any]:
        """A JSON object, empty where there is no such file.

        Raises:
            ConfigError: The file holds something else.
        """
        if name not in self.files:
            return {}
        try:
            found = parse_json(self.files[name], MAX_TOKENIZER_BYTES)
        except ValueError as error:
            raise self._not_settings(name, str(error)) from None
        if not isinstance(found, dict):
            raise self._not_settings(name, type(found).__name__)
        return found

    def path(self, name: str) -> str:
        """The path of a file, for messages."""
        return f"{self.location.rstrip('/')}/{name}"

    def refuse(self, name: str, key: str, value: Any, expected: str, action: str = _ACTION) -> ConfigError:
        """Build the error for a value in a file that is not supported."""
        return ConfigError(
            "this setting of the tokenizer is not supported",
            path=self.path(name),
            place=key,
            expected=expected,
            found=json.dumps(value, ensure_ascii=False),
            action=action,
        )

    def _not_settings(self, name: str, found: str) -> ConfigError:
        path = self.path(name)
        return ConfigError(
            "not the settings of a tokenizer", path=path, expected="a JSON object", found=found, action="correct it"
        )


def add_tokens(folder: Folder, tokenizer: Tokenizer, *, is_bert: bool) -> None:
    """Add the tokens that the folder's files add.

    Args:
        folder: The files.
        tokenizer: Changed in place.
        is_bert: Whether the class is `BertTokenizer`, which has its special tokens where nothing names them.

    Raises:
        ConfigError: A token is not written as `transformers` writes it, or a special token is another one.
    """
    names = _read_names(folder, is_bert)
    extra = _read_extra(folder)
    known = tokenizer.get_added_tokens_decoder().values()
    by_id = _read_added(folder)
    added = [by_id[number] for number in sorted(by_id)]  # those that are there too: their flags may be others
    present = {token.content for token in (*known, *added)}
    added += [token for token in (*names.values(), *extra) if token.content not in present]
    special = {token.content for token in known if token.special}
    for token in added:
        token.special = token.special or token.content in names
        if token.special:
            special.add(token.content)
        elif token.content in special:  # `tokenizers` would take it as both, which no file can say
            file, key = (CONFIG, _DECODER) if _DECODER in folder.read(CONFIG) else (ADDED, token.content)
            raise folder.refuse(file, key, token.content, "a special token, as it is one elsewhere")
    if len(added) > MAX_ADDED:
        raise folder.refuse(CONFIG, _DECODER, len(added), f"at most {MAX_ADDED} added tokens")
    tokenizer.add_tokens(added)


def _read_names(folder: Folder, is_bert: bool) -> dict[str, AddedToken]:
    """The named special tokens by their content."""
    config, special_map = folder.read(CONFIG), _read_special_map(folder)
    for file, settings in ((CONFIG, config), (SPECIAL_MAP, special_map)):
        for key, value in settings.items():
            is_named = key.endswith("_token") and key not in _NAMES and isinstance(value, str | dict)
            if is_named and value not in SPECIAL_TOKENS:
                raise folder.refuse(file, key, value, "no special tokens but BERT's")
    names: dict[str, AddedToken] = {}
    for key, content in _NAMES.items():
        file, settings = (SPECIAL_MAP, special_map) if key in special_map else (CONFIG, config)
        if key in settings:
            value = settings[key]
            if value is None and content is None:
                continue
            token = None if value is None else _parse_token(folder, file, key, value, is_special=file == SPECIAL_MAP)
            if token is None or content not in (None, token.content):
                raise folder.refuse(file, key, value, str(content))
        elif is_bert and content is not None:
            token = AddedToken(content, special=True)
        else:
            continue
        if repr(names.setdefault(token.content, token)) != repr(token):
            raise folder.refuse(file, key, settings.get(key), f"{token.content} as it is named by another key")
    return names


def _read_extra(folder: Folder) -> list[AddedToken]:
    """The extra special tokens; of two with the same content the last one counts.

    `transformers` drops an empty object, but null and an empty list are values.
    """
    config, special_map = folder.read(CONFIG), _read_special_map(folder)
    extra, old = (_parse_tokens(folder, CONFIG, key, config.get(key, {})) for key in (_EXTRA, _OLD_EXTRA))
    if not extra and _OLD_EXTRA in config:
        extra, old = old, None
    if _EXTRA in special_map:
        listed = _parse_tokens(folder, SPECIAL_MAP, _EXTRA, special_map[_EXTRA])
        extra = [*(extra or []), *(listed or [])] if isinstance(special_map[_EXTRA], list) else listed
    if _OLD_EXTRA in special_map:
        old = _parse_tokens(folder, SPECIAL_MAP, _OLD_EXTRA, special_map[_OLD_EXTRA])
    return (old if extra is None else extra) or []


def _read_added(folder: Folder) -> dict[int, AddedToken]:
    """The tokens that are added by id."""
    config = folder.read(CONFIG)
    if _DECODER in config:
        decoder = config[_DECODER]
        if not isinstance(decoder, dict) or not all(map(_is_id, decoder)):
            raise folder.refuse(CONFIG, _DECODER, decoder, "a JSON object of ids and their tokens")
        return {int(number): _parse_token(folder, CONFIG, _DECODER, token) for number, token in decoder.items()}
    found: dict[int, AddedToken] = {}
    special = _list_special(folder)
    for content, number in folder.read(ADDED).items():
        if type(number) is not int or number in found:
            raise folder.refuse(ADDED, content, number, "an integer that is the id of no other token")
        is_special = content in special
        found[number] = AddedToken(content, special=is_special, normalized=not is_special)
    for token in folder.read(TOKENIZER_JSON).get("added_tokens", []):
        number = token.pop("id")
        if number in found and found[number].content != token["content"]:
            raise folder.refuse(
                ADDED, found[number].content, number, f"an id that {TOKENIZER_JSON} gives no other token"
            )
        found[number] = _parse_token(folder, TOKENIZER_JSON, "added_tokens", token)
    return found


def _is_id(number: str) -> bool:
    return number.isdecimal() and len(number) <= _MAX_DIGITS


def _list_special(folder: Folder) -> set[str]:
    """The tokens of added_tokens.json that are special; as in `transformers`, objects in the config do not count."""
    config, special_map = folder.read(CONFIG), _read_special_map(folder)
    named = [config[key] for key in _NAMES if isinstance(config.get(key), str) and key not in special_map]
    named += [special_map[key] for key in _NAMES if key in special_map]
    listed = special_map.get(_EXTRA, [])
    if isinstance(listed, list):  # or else they replace those of the config
        named += [*(config.get(_EXTRA) or config.get(_OLD_EXTRA) or []), *listed]
    contents = [value.get("content") if isinstance(value, dict) and _TYPE not in value else value for value in named]
    return {content for content in contents if isinstance(content, str)}


def _read_special_map(folder: Folder) -> Mapping[str, Any]:
    """The tokens of special_tokens_map.json, which is ignored if the config lists the added tokens.

    `transformers` takes any other key of it for a setting of the tokenizer, stronger than the config's.
    """
    found = {} if _DECODER in folder.read(CONFIG) else folder.read(SPECIAL_MAP)
    for key, value in found.items():
        if not key.endswith("_token") and key not in (_EXTRA, _OLD_EXTRA):
            raise folder.refuse(SPECIAL_MAP, key, value, f"special tokens alone; settings belong in {CONFIG}")
    return found


def _parse_tokens(folder: Folder, file: str, key: str, values: Any) -> list[AddedToken] | None:
    """A list of tokens; None for an empty object, which is as if it were not there."""
    if values is None or values == {}:
        return [] if values is None else None
    if not isinstance(values, list):
        raise folder.refuse(file, key, values, "a list of tokens")
    return [_parse_token(folder, file, key, value, is_special=file == SPECIAL_MAP) for value in values]


def _parse_token(folder: Folder, file: str, key: str, value: Any, *, is_special: bool = False) -> AddedToken:
    """A token as a string, which is then special, or as an object."""
    if isinstance(value, str) and value and key != _DECODER:
        return AddedToken(value, special=True)
    fields = {name: field for name, field in value.items() if name != _TYPE} if isinstance(value, dict) else {}
    content = fields.pop("content", None)
    are_flags = all(isinstance(flag, bool) for flag in fields.values()) and fields.keys() <= _FIELDS
    if not isinstance(content, str) or not content or not are_flags:
        raise folder.refuse(file, key, value, "a token as transformers writes it")
    return AddedToken(content, **(fields | {"special": True} if is_special else fields))
