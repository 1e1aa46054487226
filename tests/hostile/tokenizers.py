"""Mutations of `tokenizer.json`, for the Rust library and for every other reader of the file."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from tests.hostile.trees import Json, Tree, dump
from tests.hostile.values import INTEGERS, TEXTS, deep_json, mutate_json, nest

Draw = random.Random
Mutator = Callable[[Tree, Draw], str]
Write = Callable[[Tree, bytes], None]
_REPLACE = {"type": "Replace", "pattern": {"String": "a"}}


def _in_place(tree: Tree, data: bytes) -> None:
    tree.write_tokenizer(data)


def _bring(tree: Tree, data: bytes) -> None:
    """As a file that the run file names."""
    (tree.root / "brought").mkdir()
    (tree.root / "brought" / "tokenizer.json").write_bytes(data)
    path = tree.root / "run.toml"
    path.write_text(path.read_text().replace("vocab_size = 120", 'from = "brought/tokenizer.json"'))


def other_value(tokenizer: Json, draw: Draw) -> str:
    return mutate_json(tokenizer, draw)


def other_part(tokenizer: Json, draw: Draw) -> str:
    """A whole part of another type, or none."""
    part = draw.choice(("normalizer", "pre_tokenizer", "post_processor", "decoder", "model", "truncation", "padding"))
    tokenizer[part] = draw.choice(
        [
            None,
            [],
            {},
            {"type": "BPE", "vocab": {"a": 0}, "merges": []},
            {"type": "Unigram", "vocab": [["a", -1.0]], "unk_id": 0},
            {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"},
            {"type": "WordPiece", "vocab": {}, "unk_token": "[UNK]", "continuing_subword_prefix": "##"},
            {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
            {"type": "Prepend", "prepend": "x" * 10_000},
            {"type": "Split", "pattern": {"Regex": "(a*)*b"}, "behavior": "Isolated", "invert": False},
            {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False},
            {"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}},
            {"max_length": 0, "strategy": "LongestFirst", "stride": 5, "direction": "Right"},
            {"strategy": {"Fixed": 2**40}, "direction": "Right", "pad_to_multiple_of": 0, "pad_id": 0,
             "pad_type_id": 0, "pad_token": "[PAD]"},
        ]
    )  # fmt: skip
    return f"{part} = {tokenizer[part]!r:.80}"


def other_vocabulary(tokenizer: Json, draw: Draw) -> str:
    vocabulary = tokenizer["model"]["vocab"]
    token = draw.choice(list(vocabulary))
    how = draw.choice(("huge id", "huge id", "same id", "hole", "gone", "names", "empty", "long"))
    if how == "huge id":
        vocabulary[token] = draw.choice((2**32 - 1, 2**31, 2**31 - 1, 2**24, 10**6, *INTEGERS))
    elif how == "same id":
        vocabulary[token] = 0
    elif how == "hole":
        vocabulary[token] = len(vocabulary)
    elif how == "gone":
        del vocabulary[token]
    elif how == "names":
        vocabulary[draw.choice(TEXTS)] = vocabulary.pop(token)
    elif how == "empty":
        vocabulary.clear()
    else:
        vocabulary["x" * 1_000_000] = len(vocabulary)
    return f"vocabulary: {how} of {token!r}"


def other_added(tokenizer: Json, draw: Draw) -> str:
    """Added tokens with huge ids, doubled, or of odd content."""
    added = tokenizer["added_tokens"]
    token = draw.choice(added)
    how = draw.choice(("id", "id", "content", "gone", "doubled", "many"))
    if how == "id":
        token["id"] = draw.choice((2**32 - 1, 2**31, 120, 10**6, *INTEGERS))
    elif how == "content":
        token["content"] = draw.choice((*TEXTS, " ", "a"))
    elif how == "gone":
        added.remove(token)
    elif how == "doubled":
        added.append(dict(token))
    else:
        added.extend({**token, "id": 5000 + number, "content": f"added{number}"} for number in range(5000))
    return f"added token: {how}, {str(token)[:100]}"


def multiply_text(tokenizer: Json, draw: Draw) -> str:
    """`Replace` normalizers, each of which makes a letter into many: 64 of them make 2^64."""
    times, steps = draw.choice(((2, 64), (10, 12), (1000, 4), (100_000, 2), (1_000_000, 1)))
    tokenizer["normalizer"] = {
        "type": "Sequence",
        "normalizers": [tokenizer["normalizer"], *([{**_REPLACE, "content": "a" * times}] * steps)],
    }
    return f"{steps} normalizers, each makes {times} letters of one"


def nest_normalizers(tokenizer: Json, draw: Draw) -> str:
    """Sequences in sequences."""
    depth = draw.choice((10, 60, 120, 10_000))
    part, inner = draw.choice((("normalizer", "normalizers"), ("pre_tokenizer", "pretokenizers")))
    if depth > 1000:
        tokenizer[part] = "@deep@"
        tokenizer["@inner@"] = inner
        return f"{part}: {depth} sequences in each other"
    value = tokenizer[part]
    for _ in range(depth):
        value = {"type": "Sequence", inner: [value]}
    tokenizer[part] = value
    return f"{part}: {depth} sequences in each other"


def nest_lists(tokenizer: Json, draw: Draw) -> str:
    part = draw.choice(list(tokenizer))
    depth = draw.choice((3, 100, 200, 900))
    tokenizer[part] = nest(depth, tokenizer[part])
    return f"{part} in {depth} lists"


def _write_changed(write: Write, change: Callable[[Json, Draw], str], tree: Tree, draw: Draw) -> str:
    tokenizer = tree.read_json("tokenizer/tokenizer.json")
    what = change(tokenizer, draw)
    inner = tokenizer.pop("@inner@", "")
    text = dump(tokenizer)
    if inner:
        text = text.replace('"@deep@"', deep_json(10_000, f'{{"type": "Sequence", "{inner}": [', "]}"))
    write(tree, text.encode(errors="surrogatepass"))
    return what


def _write_bytes(write: Write, tree: Tree, draw: Draw) -> str:
    """A file that is not a tokenizer at all."""
    good = (tree.output / "tokenizer" / "tokenizer.json").read_bytes()
    deep = good.replace(b"{", b'{"deep": ' + deep_json(50_000).encode() + b",", 1)
    flipped = bytearray(good)
    flipped[draw.randrange(len(good))] ^= draw.randrange(1, 256)
    odd = (
        b"{}",
        b"{}",
        b"",
        b"[]",
        b"null",
        b"7",
        b"\xff\xfe",
        b"\0" * 100,
        good[:-20],
        good * 2,
        deep,
        bytes(flipped),
    )
    data = draw.choice(odd)
    write(tree, data)
    return f"{len(data)} bytes: {data[:20]!r}"


def _write_empty(write: Write, tree: Tree, draw: Draw) -> str:
    write(tree, b"{}")
    return "an empty object"


def tokenizers(write: Write) -> dict[str, Mutator]:
    """Every mutation of a tokenizer, written somewhere."""
    changes: dict[str, Callable[[Json, Draw], str]] = {
        "value": other_value,
        "vocabulary": other_vocabulary,
        "part": other_part,
        "added": other_added,
        "multiply": multiply_text,
        "nest": nest_normalizers,
        "lists": nest_lists,
    }
    mutators: dict[str, Mutator] = {name: partial(_write_changed, write, change) for name, change in changes.items()}
    return {**mutators, "bytes": partial(_write_bytes, write), "empty": partial(_write_empty, write)}


STORED, BROUGHT = tokenizers(_in_place), tokenizers(_bring)
