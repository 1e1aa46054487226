"""What passes the check is used by `tokenizers` without a panic; everything else is refused with the file's name."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from maskmill.pipeline.wordpiece.files.check_tokenizer import parse_tokenizer_json
from maskmill.pipeline.wordpiece.files.tokenizer_files import describe_vocabulary
from maskmill.schemas import bounded_json
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.tokenizer.normalizers import MAX_GROWTH
from maskmill.schemas.tokenizer.tokenizer_file import (
    MAX_ADDED,
    MAX_PIECE,
    MAX_SPECIAL,
    MAX_TOKENIZER_BYTES,
    MAX_WORD,
    check_tokenizer_json,
)
from tests.schemas.tokenizer.descriptions import PIECES, describe, describe_model, describe_token, dump, place

VOCAB = {piece: number for number, piece in enumerate(PIECES)}
BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


def replace(content: str, **pattern: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def sequence(*normalizers: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": list(normalizers)}


def split(**pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}


def nest(depth: int) -> dict[str, Any]:
    return sequence(nest(depth - 1)) if depth else {"type": "Lowercase"}


def template(**values: Any) -> dict[str, Any]:
    return describe()["post_processor"] | values


ADDED = describe()["added_tokens"]
HOSTILE = {
    "empty object": b"{}",
    "not JSON": b"{",
    "not UTF-8": b"\xff",
    "a list": b"[]",
    "deep": b"[" * 1_000_000,
    "half of a surrogate pair": dump(describe(model=describe_model(vocab=VOCAB | {"\ud800": 10}))),
    "NaN": dump(describe(model=describe_model(max_input_chars_per_word=float("nan")))),
    "infinity": b'{"a": 1e999}',
    "a huge number": b'{"a": ' + b"9" * 100_000 + b"}",
    "a key twice": dump(describe()).replace(b'"version": "1.0"', b'"version": "1.0", "version": "1.0"'),
    "another version": describe(version="2.0"),
    "an unknown key": describe(more=1),
    "no model": {key: value for key, value in describe().items() if key != "model"},
    "a null model": describe(model=None),
    "a model of merges": describe(model={"type": "BPE"}),
    "a model's type of another type": describe(model=describe_model(type=[1])),
    "an id of 2^32 - 1": describe(model=describe_model(vocab=VOCAB | {"z": 2**32 - 1})),
    "an id of 2^32": describe(model=describe_model(vocab=VOCAB | {"z": 2**32})),
    "an id below 0": describe(model=describe_model(vocab=VOCAB | {"z": -1})),
    "an id of true": describe(model=describe_model(vocab=VOCAB | {"b": True})),
    "an id of text": describe(model=describe_model(vocab=VOCAB | {"z": "10"})),
    "an id with a point": describe(model=describe_model(vocab=VOCAB | {"z": 10.0})),
    "an id twice": describe(model=describe_model(vocab=VOCAB | {"z": 9})),
    "a hole": describe(model=describe_model(vocab=VOCAB | {"z": 11})),
    "an empty vocabulary": describe(model=describe_model(vocab={})),
    "no [UNK]": describe(model=describe_model(vocab={k: v for k, v in VOCAB.items() if k != "[UNK]"})),
    "another unknown token": describe(model=describe_model(unk_token="a")),  # noqa: S106  # a piece, not a password
    "a long piece": describe(model=describe_model(vocab=VOCAB | {"z" * (MAX_PIECE + 1): 10})),
    "a long prefix": describe(model=describe_model(continuing_subword_prefix="#" * 1000)),
    "words without end": describe(model=describe_model(max_input_chars_per_word=2**63)),
    "words of more than the limit": describe(model=describe_model(max_input_chars_per_word=MAX_WORD + 1)),
    "an added id of 2^32 - 1": describe(added_tokens=[*ADDED, describe_token(2**32 - 1, "z")]),
    "another id for an added token": describe(added_tokens=[*ADDED, describe_token(9, "z")]),
    "an added token twice": describe(added_tokens=[*ADDED, describe_token(4, "[MASK]")]),
    "an empty added token": describe(added_tokens=[*ADDED, describe_token(10, "")]),
    "an added token that is normalised to nothing": describe(
        added_tokens=[*ADDED, describe_token(10, "\x01", normalized=True)]
    ),
    "added tokens as text": describe(added_tokens="abc"),
    "too many added tokens": describe(added_tokens=[describe_token(10 + n, f"t{n}") for n in range(MAX_ADDED + 1)]),
    "too many special tokens": describe(
        added_tokens=[*ADDED, *(describe_token(10 + n, f"t{n}") for n in range(MAX_SPECIAL))]
    ),
    "a replacement that multiplies": describe(normalizer=replace("a" * 9, String="a")),
    "replacements that multiply together": describe(normalizer=sequence(*[replace("aaa", String="a")] * 2)),
    "a replacement of nothing": describe(normalizer=replace("aaaaaaaa", String="")),
    "a replacement of what may be nothing": describe(normalizer=replace("a" * 8, Regex="x*")),
    "a prefix that multiplies": describe(normalizer={"type": "Prepend", "prepend": "a" * 1000}),
    "compatibility forms between replacements": describe(
        normalizer=sequence({"type": "NFKD"}, replace("\ufdfa", String="abc"), {"type": "NFKD"})
    ),
    "a split at nothing": describe(pre_tokenizer=split(Regex="a?")),
    "nested groups that repeat": describe(normalizer=replace("b", Regex="(a+)+$")),
    "a repetition with something behind": describe(normalizer=replace("b", Regex="[^z]*zz")),
    "an open group": describe(normalizer=replace("b", Regex="(")),
    "a lookahead": describe(normalizer=replace("b", Regex="a(?=b)")),
    "a back reference": describe(normalizer=replace("b", Regex=r"a\1")),
    "a category that is none": describe(normalizer=replace("b", Regex=r"\p{Qq}")),
    "a range that is empty": describe(normalizer=replace("b", Regex="[z-a]")),
    "a range of numbers that is empty": describe(normalizer=replace("b", Regex=r"[\x1f-\x00]")),
    "classes that are joined": describe(normalizer=replace("b", Regex="[a&&b]")),
    "a class of nothing": describe(normalizer=replace("b", Regex="[^]")),
    "a class that is not closed": describe(normalizer=replace("b", Regex="[^]a]|[b]")),
    "a character past the end of its encoding": describe(normalizer=replace("b", Regex=r"\xe4")),
    "a class without an end": describe(normalizer=replace("b", Regex="[" + r"\x20" * 62)),
    "a repetition that is none": describe(normalizer=replace("b", Regex="a{3,2}")),
    "an open alternative": describe(normalizer=replace("b", Regex="a|")),
    "a long pattern": describe(normalizer=replace("b", Regex="a" * 1000)),
    "a pattern of both kinds": describe(normalizer=replace("b", Regex="a", String="a")),
    "a pattern of no kind": describe(normalizer=replace("b")),
    "a character map": describe(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
    "normalizers within normalizers": describe(normalizer=nest(100)),
    "too many normalizers": describe(normalizer=sequence(*[{"type": "NFC"}] * 100)),
    "an unknown normalizer": describe(normalizer={"type": "Other"}),
    "pieces of length 0": describe(pre_tokenizer={"type": "FixedLength", "length": 0}),
    "a split that backtracks": describe(pre_tokenizer=split(Regex="(a|aa)+$")),
    "pre-tokenizers that lengthen a text by turns": describe(
        pre_tokenizer={
            "type": "Sequence",
            "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}] * 2,
        }
    ),
    "a delimiter of two": describe(pre_tokenizer={"type": "CharDelimiterSplit", "delimiter": "ab"}),
    "a template with an unknown token": describe(post_processor=template(special_tokens={})),
    "a template that multiplies": describe(post_processor=template(single=[place("Sequence", "A")] * 1000)),
    "a template with the sequence twice": describe(post_processor=template(single=[place("Sequence", "A")] * 2)),
    "a template of other ids": describe(
        post_processor=template(
            special_tokens={t: {"id": t, "ids": [2**32 - 1], "tokens": [t]} for t in ("[CLS]", "[SEP]")}
        )
    ),
    "a template of a third sequence": describe(post_processor=template(single=[place("Sequence", "C")])),
    "a processor of other ids": describe(
        post_processor={"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2**32 - 1]}
    ),
    "a decoder with a pattern": describe(decoder={"type": "Replace", "pattern": {"Regex": "("}, "content": "b"}),
    "padding to 2^40": describe(
        padding={
            "strategy": {"Fixed": 2**40},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        }
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_by_name_at_once(name: str) -> None:
    content = HOSTILE[name] if isinstance(HOSTILE[name], bytes) else dump(HOSTILE[name])
    started = time.perf_counter()
    with pytest.raises(ConfigError) as caught:
        parse_tokenizer_json(content, "bucket/tokenizer.json")
    assert time.perf_counter() - started < 5
    assert caught.value.path == "bucket/tokenizer.json"
    assert len(str(caught.value)) < 2000


def test_sizes_are_bounded_before_the_file_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_json, "json", None)
    large = b" " * (MAX_TOKENIZER_BYTES + 1)
    for content in (large, b'{"a":[' + b"{}," * (1 << 20), b"[" + b"1," * (5 << 20)):
        with pytest.raises(ConfigError, match="cannot be read"):
            check_tokenizer_json(content)


GOOD = {
    "as it is": describe(),
    "without a type of the model": describe(
        model={key: value for key, value in describe_model().items() if key != "type"}
    ),
    "without keys": {key: value for key, value in describe().items() if key in ("added_tokens", "model")},
    "without parts": describe(normalizer=None, pre_tokenizer=None, post_processor=None, decoder=None),
    "added behind": describe(added_tokens=[*ADDED, describe_token(10, "<x>"), describe_token(11, "y", special=False)]),
    "spaces to one": describe(normalizer=sequence({"type": "NFKC"}, replace(" ", Regex=" {2,}"), {"type": "NFC"})),
    "quotation marks": describe(normalizer=sequence(replace('"', String="``"), replace("\u2581", String=" "))),
    "categories": describe(normalizer=replace(" ", Regex=r"[\p{Zs}\s]+|\p{Cc}")),
    "a range": describe(pre_tokenizer=split(Regex="[\u4e00-\u9fff]")),
    "hyphens and signs in classes": describe(pre_tokenizer=split(Regex="[-'a]|[^-a]|[0-9_-]|[.*^&$|(){}]+")),
    "a hyphen outside of classes": describe(pre_tokenizer=split(Regex="z-a")),
    "characters by number": describe(normalizer=replace(" ", Regex=r"[\x00-\x1f]|[\u4e00-\u9fff]|\x7f+")),
    "shown spaces": describe(
        pre_tokenizer={"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
        decoder={"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
    ),
    "several decoders": describe(
        decoder={
            "type": "Sequence",
            "decoders": [{"type": "WordPiece", "prefix": "##", "cleanup": True}, {"type": "Fuse"}],
        }
    ),
    "of RoBERTa": describe(
        post_processor={
            "type": "RobertaProcessing",
            "sep": ["[SEP]", 3],
            "cls": ["[CLS]", 2],
            "trim_offsets": True,
            "add_prefix_space": False,
        }
    ),
    "padded": describe(
        padding={
            "strategy": "BatchLongest",
            "direction": "Right",
            "pad_to_multiple_of": 8,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
        truncation={"direction": "Right", "max_length": 512, "strategy": "LongestFirst", "stride": 0},
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_honest_files_are_loaded_with_the_vocabulary_that_the_library_has(name: str) -> None:
    content = dump(GOOD[name])
    loaded = Tokenizer.from_str(content.decode())
    assert parse_tokenizer_json(content).to_str() == loaded.to_str()
    ids = loaded.get_vocab(with_added_tokens=True)
    assert check_tokenizer_json(content).list_pieces() == sorted(ids, key=ids.__getitem__)
    assert describe_vocabulary(loaded)[0] == check_tokenizer_json(content).describe_vocabulary()


names = st.sampled_from(["[CLS]", "[SEP]", "a", "q", "A", "B", ""])
texts = st.text("ab x\u00e9\ufdfa#[]", max_size=6)
numbers = st.one_of(st.integers(-1, 12), st.sampled_from([2**20, 2**31, 2**32 - 1, 2**32, 2**63, 2**64]))
patterns = st.one_of(
    st.builds(lambda text: {"String": text}, texts),
    st.builds(
        lambda atoms, end: {"Regex": "".join(atoms) + end},
        st.lists(
            st.sampled_from(
                [
                    "a",
                    "[ab]",
                    r"\s",
                    r"\p{L}",
                    ".",
                    "[^x]",
                    "[-a]",
                    "[a-]",
                    r"\x20",
                    "[^&]",
                    "|",
                    "(",
                    ")",
                    r"\\",
                    "[a-x]",
                    "^",
                ]
            )
        ),
        st.sampled_from(["", "+", "*", "?", "{1,}", "{0,3}", "{2}", "{,2}", "+?", "++", "$"]),
    ),
)
plain = st.sampled_from(["NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase", "StripAccents", "ByteLevel"])
one_normalizer = st.one_of(
    st.builds(lambda name: {"type": name}, plain),
    st.builds(lambda left, right: {"type": "Strip", "strip_left": left, "strip_right": right}, st.booleans(), texts),
    st.builds(lambda pattern, text: {"type": "Replace", "pattern": pattern, "content": text}, patterns, texts),
    st.builds(lambda text: {"type": "Prepend", "prepend": text}, texts),
)
one_pre_tokenizer = st.one_of(
    st.builds(lambda name: {"type": name}, st.sampled_from(["Whitespace", "WhitespaceSplit", "UnicodeScripts"])),
    st.builds(lambda one: {"type": "Punctuation", "behavior": one}, st.sampled_from([*BEHAVIORS, "Other"])),
    st.builds(lambda one: {"type": "Digits", "individual_digits": one}, st.booleans()),
    st.builds(lambda text: {"type": "CharDelimiterSplit", "delimiter": text}, texts),
    st.builds(lambda length: {"type": "FixedLength", "length": length}, numbers),
    st.builds(
        lambda text, scheme, one: {"type": "Metaspace", "replacement": text, "prepend_scheme": scheme, "split": one},
        texts,
        st.sampled_from(["first", "never", "always", "x"]),
        st.booleans(),
    ),
    st.builds(
        lambda one, regex: {"type": "ByteLevel", "add_prefix_space": one, "trim_offsets": True, "use_regex": regex},
        st.booleans(),
        st.booleans(),
    ),
    st.builds(
        lambda pattern, one, invert: {"type": "Split", "pattern": pattern, "behavior": one, "invert": invert},
        patterns,
        st.sampled_from(BEHAVIORS),
        st.booleans(),
    ),
)
items = st.lists(st.builds(place, st.sampled_from(["SpecialToken", "Sequence"]), names, st.integers(0, 2)), max_size=4)
post_processors = st.one_of(
    st.none(),
    st.builds(
        lambda single, pair, ids: template(
            single=single,
            pair=pair,
            special_tokens={name: {"id": name, "ids": [one], "tokens": [name]} for name, one in ids.items()},
        ),
        st.one_of(st.just(template()["single"]), items),
        st.one_of(st.just(template()["pair"]), items),
        st.one_of(st.just({"[CLS]": 2, "[SEP]": 3}), st.dictionaries(names, numbers, max_size=3)),
    ),
    st.builds(lambda sep: {"type": "BertProcessing", "sep": ["[SEP]", sep], "cls": ["[CLS]", 2]}, numbers),
)
flags = st.fixed_dictionaries(
    {name: st.booleans() for name in ("single_word", "lstrip", "rstrip", "normalized", "special")}
)


def number_tokens(contents: list[str], flags: list[dict[str, bool]], shift: int) -> list[dict[str, Any]]:
    """Added tokens with the ids that they should have, or others."""
    ids = dict(VOCAB)
    return [
        describe_token(ids.setdefault(content, len(ids)) + shift, content, **one)
        for content, one in zip(contents, flags, strict=True)
    ]


def mostly(good: Any, other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(*[st.just(good)] * 4, other)


added_tokens = st.builds(
    number_tokens,
    st.lists(st.text("ab x\u00e9\ufdfa#[]", min_size=1, max_size=4), min_size=2, max_size=2, unique=True),
    st.lists(flags, min_size=2, max_size=2),
    mostly(0, numbers),
)
descriptions = st.builds(
    lambda normalizer, pre_tokenizer, processor, added, word, prefix: describe(
        normalizer=normalizer,
        pre_tokenizer=pre_tokenizer,
        post_processor=processor,
        added_tokens=ADDED + added,
        model=describe_model(max_input_chars_per_word=word, continuing_subword_prefix=prefix),
    ),
    st.one_of(one_normalizer, st.builds(lambda many: sequence(*many), st.lists(one_normalizer, max_size=3))),
    st.one_of(
        one_pre_tokenizer,
        st.builds(lambda many: {"type": "Sequence", "pretokenizers": many}, st.lists(one_pre_tokenizer, max_size=2)),
    ),
    mostly(template(), post_processors),
    mostly([], added_tokens),
    mostly(100, numbers),
    texts,
)
TEXTS = ["", "a", "ab  x aa\n\tA1.b", "a" * 120 + " [MASK] x" * 20, "\ufdfa\u0390 \u0130\u4e2d" * 10]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(descriptions)
def test_what_passes_is_used_without_a_panic(description: dict[str, Any]) -> None:
    content = dump(description)
    try:
        loaded = parse_tokenizer_json(content)
    except ConfigError:
        return
    checked = check_tokenizer_json(content)
    ids = loaded.get_vocab(with_added_tokens=True)
    assert checked.list_pieces() == sorted(ids, key=ids.__getitem__)
    for text in TEXTS:
        for encoding in (loaded.encode(text), loaded.encode(text, text), loaded.encode(text, add_special_tokens=False)):
            assert all(number < len(ids) for number in encoding.ids)
        normalised = loaded.normalizer.normalize_str(text) if loaded.normalizer else text
        assert len(normalised.encode()) <= MAX_GROWTH * 12 * (len(text.encode()) + 1)
        loaded.decode(loaded.encode(text).ids)


def test_the_files_of_the_library_come_back_as_they_are() -> None:
    description = json.loads(Tokenizer.from_str(dump(describe()).decode()).to_str())
    assert json.loads(Tokenizer.from_str(dump(description).decode()).to_str()) == description
    assert check_tokenizer_json(dump(description)).list_pieces() == list(PIECES)
