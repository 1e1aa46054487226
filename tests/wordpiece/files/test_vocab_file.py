"""`vocab.txt` is read as the readers of BERT's vocabularies read it, and written only where they read it back."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, BertWordPieceTokenizer, Tokenizer

from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.pipeline.wordpiece.files.tokenizer_files import (
    build_tokenizer,
    explain_missing_vocab,
    list_pieces,
    tokenizer_files,
)
from maskmill.pipeline.wordpiece.files.vocab_file import dump_vocab, find_unwritable, parse_vocab
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.tokenizer.tokenizer_file import SPECIAL_TOKENS

WHITESPACE = [chr(code) for code in range(0x3100) if chr(code).isspace()]
PARTS = st.sampled_from([*WHITESPACE, "\ufeff", "\u200b", "\x00", "a", "b", "##c", "\u00e9"])
HEAD = "".join(f"{token}\n" for token in SPECIAL_TOKENS)
contents = st.lists(PARTS, max_size=12).map(lambda parts: (HEAD + "".join(parts)).encode())


def read_by_tokenizers(content: bytes) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_bytes(content)
        return dict(BertWordPieceTokenizer(str(path)).get_vocab())


def read_by_transformers(content: bytes) -> dict[str, int]:
    transformers = pytest.importorskip("transformers")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_bytes(content)
        return dict(transformers.BertTokenizer.from_pretrained(str(path)).get_vocab())


def read_by_python(content: bytes) -> dict[str, int]:
    """As `load_vocab` of transformers 4 and of its `BertTokenizerLegacy`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_bytes(content)
        with path.open(encoding="utf-8") as file:
            return {line.rstrip("\n"): number for number, line in enumerate(file.readlines())}


@settings(max_examples=300, deadline=None)
@given(content=contents)
def test_what_is_read_is_what_both_readers_read(content: bytes) -> None:
    expected = read_by_tokenizers(content)
    try:
        pieces = parse_vocab(content)
    except ConfigError:
        assert sorted(expected.values()) != list(range(len(expected))) or "" in expected
        return
    assert {piece: number for number, piece in enumerate(pieces)} == expected
    assert read_by_transformers(content) == expected


@settings(max_examples=300, deadline=None)
@given(pieces=st.lists(st.lists(PARTS, max_size=3).map("".join), max_size=4, unique=True))
def test_what_is_written_is_read_back_by_every_reader(pieces: list[str]) -> None:
    pieces = [*SPECIAL_TOKENS, *pieces]
    expected = {piece: number for number, piece in enumerate(pieces)}
    content = dump_vocab(pieces)
    is_read_back = "" not in expected and read_by_tokenizers(content) == read_by_python(content) == expected
    assert (find_unwritable(pieces) is None) == is_read_back
    if is_read_back:
        assert read_by_transformers(content) == expected


@pytest.mark.parametrize("end", [" ", "\t", "\u00a0", "\u2028", "\u3000", "\r", " \r", "\x85"])
def test_whitespace_at_the_end_of_a_line_is_no_part_of_the_piece(end: str) -> None:
    assert parse_vocab(f"{HEAD}the{end}\n".encode()) == [*SPECIAL_TOKENS, "the"]
    with pytest.raises(ConfigError, match=r"line 7: .*duplicate.*'the' on lines 6, 7"):
        parse_vocab(f"{HEAD}the\nthe{end}\n".encode())


def test_a_byte_order_mark_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"vocab.txt, line 1: .*byte order mark"):
        parse_vocab(b"\xef\xbb\xbf" + HEAD.encode(), "vocab.txt")


def with_added(content: str) -> Tokenizer:
    tokenizer = build_tokenizer([*SPECIAL_TOKENS, "a"], Normalisation())
    tokenizer.add_tokens([AddedToken(content)])
    return tokenizer


@pytest.mark.parametrize("content", ["two words ", "a\nb", "a\rb", "a\u2028", "\u3000"])
def test_no_vocab_file_is_written_that_would_not_give_every_id_back(content: str) -> None:
    tokenizer = with_added(content)
    assert list(tokenizer_files(tokenizer)) == ["tokenizer.json", "tokenizer_config.json"]
    said = explain_missing_vocab(tokenizer)
    assert said is not None
    assert f"{content!r} of id 6" in said


@pytest.mark.parametrize("content", ["two words", " a", "a\u2028b", "\x1c", "\ufeffa"])
def test_a_vocab_file_is_written_that_gives_every_id_back(content: str) -> None:
    tokenizer = with_added(content)
    assert explain_missing_vocab(tokenizer) is None
    assert parse_vocab(tokenizer_files(tokenizer)["vocab.txt"]) == list_pieces(tokenizer)


def test_more_lines_than_any_vocabulary_are_refused_before_they_are_cut() -> None:
    with pytest.raises(ConfigError, match=r"vocab.txt: .*more lines"):
        parse_vocab(b"\n" * (1 << 21), "vocab.txt")
