"""A tokenizer survives its files, `transformers` loads them, and unusable ones are refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from tokenizers import AddedToken, Tokenizer, models

from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.pipeline.wordpiece.files.tokenizer_files import (
    build_tokenizer,
    describe_vocabulary,
    load_tokenizer,
    tokenizer_files,
)
from maskmill.pipeline.wordpiece.vocabulary.train import train_wordpiece
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.tokenizer.tokenizer_file import SPECIAL_TOKENS
from tests.wordpiece.count_files import as_table, count_by_tokenizers
from tests.wordpiece.texts import SENTENCES, hostile_texts

UNCASED, CASED = Normalisation(), Normalisation(lowercase=False)


def train_small(normalisation: Normalisation) -> Tokenizer:
    words = as_table(count_by_tokenizers(SENTENCES * 3, normalisation))
    return build_tokenizer(train_wordpiece(words, 200).pieces, normalisation)


@pytest.fixture(scope="module", params=[UNCASED, CASED], ids=["uncased", "cased"])
def both_tokenizers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Any]:
    transformers = pytest.importorskip("transformers")
    tokenizer = train_small(request.param)
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    for name, content in tokenizer_files(tokenizer).items():
        (folder / name).write_bytes(content)
    return tokenizer, transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


@settings(max_examples=200, deadline=None)
@given(text=hostile_texts)
def test_transformers_gives_the_same_ids(both_tokenizers: tuple[Tokenizer, Any], text: str) -> None:
    tokenizer, loaded = both_tokenizers
    assert loaded(text)["input_ids"] == tokenizer.encode(text).ids


def test_transformers_knows_the_special_tokens_and_the_decoder(both_tokenizers: tuple[Tokenizer, Any]) -> None:
    tokenizer, loaded = both_tokenizers
    names = (loaded.pad_token, loaded.unk_token, loaded.cls_token, loaded.sep_token, loaded.mask_token)
    assert names == SPECIAL_TOKENS
    assert [loaded.convert_tokens_to_ids(name) for name in names] == [0, 1, 2, 3, 4]
    assert len(loaded) == tokenizer.get_vocab_size()
    ids = loaded("the dog sleeps")["input_ids"]
    assert (ids[0], ids[-1]) == (2, 3)
    assert loaded.decode(ids, skip_special_tokens=True) == "the dog sleeps"


def test_added_tokens_with_spaces_survive_the_files_and_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = train_small(UNCASED)
    tokenizer.add_tokens([AddedToken("lazy dog", normalized=True), AddedToken(" x\ty ", lstrip=True)])
    tokenizer.add_special_tokens([AddedToken("<two words>", rstrip=True)])
    text = "The LAZY DOG x\ty  the<two words>  [MASK]lazy  dog\u2028x y"
    for name, content in tokenizer_files(tokenizer).items():
        (tmp_path / name).write_bytes(content)
    again = load_tokenizer((tmp_path / "tokenizer.json").read_bytes(), UNCASED)
    loaded = transformers.AutoTokenizer.from_pretrained(str(tmp_path), local_files_only=True)
    expected = tokenizer.encode(text)
    assert {tokenizer.token_to_id(token) for token in ("lazy dog", " x\ty ", "<two words>")} <= set(expected.ids)
    assert again.encode(text).ids == expected.ids
    assert loaded(text)["input_ids"] == expected.ids


def test_an_unused_slot_is_neither_special_nor_found_in_text() -> None:
    tokenizer = build_tokenizer([*SPECIAL_TOKENS, "[unused0]", "[", "unused", "##0", "]"], UNCASED)
    loaded = load_tokenizer(tokenizer_files(tokenizer), UNCASED)
    assert loaded.encode("[unused0]", add_special_tokens=False).tokens == ["[", "unused", "##0", "]"]
    assert loaded.decode([6, 5]) == "[ [unused0]"
    assert describe_vocabulary(loaded)[0].excluded_ranges == ((0, 6),)


@pytest.mark.parametrize("normalisation", [UNCASED, CASED])
def test_files_are_the_same_bytes_again_and_load_to_the_same_tokenizer(normalisation: Normalisation) -> None:
    tokenizer = train_small(normalisation)
    files = tokenizer_files(tokenizer)
    assert sorted(files) == ["tokenizer.json", "tokenizer_config.json", "vocab.txt"]
    assert tokenizer_files(train_small(normalisation)) == files
    for source in (files, files["tokenizer.json"], files["vocab.txt"]):
        again = load_tokenizer(source, normalisation)
        assert tokenizer_files(again) == files
        text = "Caf\u00e9s sleep [MASK] \u4e2d\u6587"
        assert again.encode(text).ids == tokenizer.encode(text).ids


def test_a_word_of_a_hundred_characters_is_the_longest_that_is_not_unknown() -> None:
    tokenizer = build_tokenizer([*SPECIAL_TOKENS, "a", "##a"], UNCASED)
    assert tokenizer.encode("a" * 100, add_special_tokens=False).ids == [5] + [6] * 99
    assert tokenizer.encode("a" * 101, add_special_tokens=False).ids == [1]


def test_truncation_and_padding_of_a_brought_tokenizer_are_taken_off() -> None:
    tokenizer = train_small(UNCASED)
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=64)
    loaded = load_tokenizer(tokenizer.to_str().encode(), UNCASED)
    assert loaded.truncation is None
    assert loaded.padding is None
    assert len(loaded.encode("the dog and the fox and the dog").ids) == 10


def test_special_tokens_of_a_brought_tokenizer_become_special() -> None:
    description = json.loads(train_small(UNCASED).to_str()) | {"added_tokens": []}
    loaded = load_tokenizer(json.dumps(description).encode(), UNCASED)
    assert loaded.encode("[MASK]", add_special_tokens=False).ids == [4]
    assert sorted(loaded.get_added_tokens_decoder()) == [0, 1, 2, 3, 4]


def vocab_file(*pieces: str) -> bytes:
    return "".join(f"{piece}\n" for piece in pieces).encode()


def test_vocab_lines_end_at_line_feeds_alone() -> None:
    loaded = load_tokenizer(vocab_file(*SPECIAL_TOKENS, "a\u2028b", "c\x85d", "\ufeffe"), UNCASED)
    assert loaded.token_to_id("c\x85d") == 6
    windows = load_tokenizer(vocab_file(*SPECIAL_TOKENS, "a").replace(b"\n", b"\r\n"), UNCASED)
    assert windows.token_to_id("a") == 5
    unended = load_tokenizer(vocab_file(*SPECIAL_TOKENS, "a").rstrip(b"\n"), UNCASED)
    assert unended.get_vocab_size() == 6


def with_vocabulary(vocabulary: dict[str, int]) -> bytes:
    description = json.loads(build_tokenizer([*SPECIAL_TOKENS, "a"], UNCASED).to_str())
    description["model"]["vocab"] = vocabulary
    return json.dumps(description).encode()


SPECIAL_IDS = {token: number for number, token in enumerate(SPECIAL_TOKENS)}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (vocab_file(*SPECIAL_TOKENS[:4], "a"), r"no \[MASK\]"),
        (vocab_file(*SPECIAL_TOKENS, "a", "b", "a"), r"line 8.*duplicate.*'a' on lines 6, 8"),
        (vocab_file(*SPECIAL_TOKENS, "", "b"), "line 6.*empty"),
        (vocab_file(*SPECIAL_TOKENS) + b"\xff\n", "line 6: .*not UTF-8"),
        (with_vocabulary(SPECIAL_IDS | {"a": 6}), "1 holes, the first at 5"),
        (with_vocabulary(SPECIAL_IDS | {"a": 5, "b": 5}), "one id for two pieces"),
        (Tokenizer(models.BPE({"a": 0}, [])).to_str().encode(), "not WordPiece.*found BPE"),
        (b'{"model": 1}', "cannot be read"),
        ({"merges.txt": b""}, "no tokenizer here.*found merges.txt"),
        (b"", r"no \[PAD\]"),
    ],
)
def test_unusable_tokenizers_are_refused_in_words(files: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_tokenizer(files, UNCASED)


def test_another_unknown_token_is_refused() -> None:
    description = json.loads(build_tokenizer([*SPECIAL_TOKENS, "a", "<unk>"], UNCASED).to_str())
    description["model"] |= {"unk_token": "<unk>"}
    with pytest.raises(ConfigError, match=r"expected \[UNK\]; found <unk>"):
        load_tokenizer(json.dumps(description).encode(), UNCASED)


def test_the_description_lists_ids_by_hand() -> None:
    pieces = [
        "[PAD]",
        "[unused0]",
        "[unused12]",
        "[UNK]",
        "the",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "##s",
        "[unusedx]",
        "##",
    ]
    tokenizer = load_tokenizer(vocab_file(*pieces), UNCASED)
    described, is_continuation = describe_vocabulary(tokenizer)
    ids = (described.pad_id, described.unk_id, described.cls_id, described.sep_id, described.mask_id)
    assert ids == (0, 3, 5, 6, 7)
    assert described.vocab_size == 11
    assert (len(is_continuation), np.flatnonzero(is_continuation).tolist()) == (11, [8, 10])
    assert described.excluded_ranges == ((0, 4), (5, 8))


def test_added_special_tokens_are_never_replacements() -> None:
    tokenizer = build_tokenizer([*SPECIAL_TOKENS, "a"], UNCASED)
    tokenizer.add_special_tokens(["<extra>"])
    tokenizer.add_tokens(["plain"])
    assert describe_vocabulary(tokenizer)[0].excluded_ranges == ((0, 5), (6, 7))


def test_a_vocabulary_without_ordinary_pieces_is_refused() -> None:
    with pytest.raises(ConfigError, match="no ordinary piece"):
        describe_vocabulary(build_tokenizer([*SPECIAL_TOKENS, "[unused0]"], UNCASED))
