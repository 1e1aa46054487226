"""Words encode by the trie as `tokenizers`' WordPiece model encodes them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from maskmill.pipeline.wordpiece.counting.word_arrays import flatten_words, mark_first_rows
from maskmill.pipeline.wordpiece.vocabulary.match_pieces import make_tokenizer_trie, make_trie, match_words

UNKNOWN = "[UNK]"
ALPHABET = "ab#\u00e9\u4e2d\U0001d400"
pieces = st.lists(st.text(ALPHABET, min_size=1, max_size=4), max_size=12)
words = st.lists(st.text(ALPHABET, min_size=1, max_size=14), max_size=12)


def make_law(vocabulary: list[str], prefix: str, max_characters: int) -> Tokenizer:
    ids = {piece: number for number, piece in enumerate(dict.fromkeys([UNKNOWN, *vocabulary]))}
    model = models.WordPiece(
        ids, unk_token=UNKNOWN, max_input_chars_per_word=max_characters, continuing_subword_prefix=prefix
    )
    law = Tokenizer(model)
    law.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return law


@settings(max_examples=500, deadline=None)
@given(pieces, pieces, words, st.sampled_from(["##", "#", "ab", ""]), st.sampled_from([100, 5, 1]))
@example(["##", "a"], ["#", "##"], ["a##", "##a", "###", "a"], "##", 100)
@example(["ab"], ["b"], ["abb", "abc", "aab"], "##", 100)
@example([], [], ["a"], "##", 100)
def test_words_encode_as_the_model_does(
    first: list[str], later: list[str], texts: list[str], prefix: str, max_characters: int
) -> None:
    law = make_law([*first, *(prefix + piece for piece in later)], prefix, max_characters)
    data, offsets = flatten_words(pa.array(texts, pa.string()))
    matched = match_words(make_tokenizer_trie(law), data, offsets[:-1], offsets[1:])
    encodings = [law.encode(text).ids for text in texts]
    assert matched.ids.tolist() == [number for ids in encodings for number in ids]
    assert matched.lengths.tolist() == [len(ids) for ids in encodings]
    assert matched.characters.tolist() == [len(text) for text in texts]
    unknown = [ids == [0] and text != UNKNOWN for ids, text in zip(encodings, texts, strict=True)]
    assert matched.is_unknown.tolist() == unknown


def test_a_word_of_a_hundred_characters_is_the_longest_that_is_known() -> None:
    words = ["\u00e9" * 100, "\u00e9" * 101]
    data, offsets = flatten_words(pa.array(words))
    trie = make_trie({UNKNOWN: 7, "\u00e9": 1, "##\u00e9": 2}, unknown_id=7, max_characters=100)
    matched = match_words(trie, data, offsets[:-1], offsets[1:])
    assert matched.lengths.tolist() == [100, 1]
    assert matched.ids[-1] == 7


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary()])
def test_flat_words_are_the_words_of_any_array(kind: pa.DataType) -> None:
    words = pa.chunked_array([["x", "\u00e9\u00e9"], [], ["", "abc", "abc"]], pa.string()).cast(kind)
    for array in (words, words.slice(1, 3), words.chunk(0).slice(1), words.slice(0, 0)):
        data, offsets = flatten_words(array)
        found = [bytes(data[start:stop]) for start, stop in pairwise(offsets)]
        assert found == array.cast(pa.binary()).to_pylist()


@given(st.lists(st.sampled_from(["a", "ab", "aa", "\u00e9", ""]), max_size=12))
def test_first_rows_are_those_with_another_word_than_before(words: list[str]) -> None:
    is_first = mark_first_rows(*flatten_words(pa.array(words, pa.string())))
    assert is_first.dtype == np.bool_
    assert is_first.tolist() == [place == 0 or word != words[place - 1] for place, word in enumerate(words)]
