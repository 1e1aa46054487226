"""Words are counted as `tokenizers` makes them of whole texts, whatever is held in memory on the way."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.wordpiece.count_words import WORD_COUNTS_SCHEMA, WordCounter, merge_counts, partition_of_words
from pipeline.wordpiece.normalise import Normalisation
from schemas.errors import ConfigError, InputDataError
from tests.wordpiece.texts import hostile_texts, read_corpus

NORMALISATIONS = [
    Normalisation(),
    Normalisation(lowercase=False),
    Normalisation(lowercase=True, strip_accents=False),
    Normalisation(lowercase=False, strip_accents=True, handle_chinese_chars=False),
]


def count_by_tokenizers(texts: list[str], normalisation: Normalisation) -> dict[str, int]:
    normalizer, pre_tokenizer = normalisation.build_normalizer(), normalisation.build_pre_tokenizer()
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text)))
    return dict(counts)


def as_dict(table: pa.Table) -> dict[str, int]:
    assert table.schema.names == ["word", "count"]
    words = table["word"].to_pylist()
    assert words == sorted(words, key=str.encode)
    assert len(set(words)) == len(words)
    return dict(zip(words, table["count"].to_pylist(), strict=True))


@settings(max_examples=300, deadline=None)
@given(st.lists(hostile_texts, max_size=5), st.sampled_from(NORMALISATIONS))
def test_words_are_those_of_tokenizers_over_whole_texts(texts: list[str], normalisation: Normalisation) -> None:
    counter = WordCounter(normalisation)
    counter.add(pa.array(texts, pa.string()))
    assert as_dict(counter.finish()) == count_by_tokenizers(texts, normalisation)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_every_ascii_character_alone_and_between_letters(normalisation: Normalisation) -> None:
    contexts = ("{0}", "Ab{0}Cd", "{0}x", "X{0}{0}y")
    texts = [context.format(chr(code)) for code in range(128) for context in contexts]
    counter = WordCounter(normalisation)
    counter.add(pa.array(texts))
    assert as_dict(counter.finish()) == count_by_tokenizers(texts, normalisation)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(hostile_texts, max_size=12),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(1, 4),
)
def test_small_memory_gives_the_same_counts(texts: list[str], max_chunks: int, max_words: int, batch: int) -> None:
    spilled: list[pa.Table] = []
    counter = WordCounter(Normalisation(), max_chunks=max_chunks, max_words=max_words, spill=spilled.append)
    for start in range(0, len(texts), batch):
        counter.add(pa.array(texts[start : start + batch], pa.large_string()))
    last = counter.finish()
    for table in [*spilled, last]:
        as_dict(table)
    assert as_dict(merge_counts([*spilled, last])) == count_by_tokenizers(texts, Normalisation())


def test_memory_stays_within_its_limits() -> None:
    spilled: list[pa.Table] = []
    counter = WordCounter(Normalisation(), max_chunks=1 << 13, max_words=1 << 13, spill=spilled.append)
    counter.add(pa.array([f"word{number}" for number in range(100_000)]))
    last = counter.finish()
    tables = [*spilled, last]
    assert len(tables) >= 100_000 // (1 << 13)
    assert max(table.num_rows for table in tables) <= 1 << 13
    assert merge_counts(tables).num_rows == 100_000


def test_a_chunk_longer_than_every_table_is_counted() -> None:
    long_word = "x" * 300_000
    spilled: list[pa.Table] = []
    counter = WordCounter(Normalisation(), max_chunks=4, max_words=4, spill=spilled.append)
    counter.add(pa.array([f"a {long_word} a", "\u00e9" * 100_000]))
    last = counter.finish()
    assert as_dict(merge_counts([*spilled, last])) == {"a": 2, long_word: 1, "e" * 100_000: 1}


def test_more_words_than_may_be_held_are_refused_without_a_spill() -> None:
    counter = WordCounter(Normalisation(), max_chunks=1 << 13, max_words=1 << 13)
    with pytest.raises(ConfigError, match="more distinct words"):
        counter.add(pa.array([f"word{number}" for number in range(100_000)]))


def test_nulls_slices_chunks_and_bytes_are_read_as_texts() -> None:
    texts = pa.array(["left out", "one two", None, "two", "left out"], pa.string())
    expected = {"one": 1, "two": 2}
    for form in (
        texts[1:4],
        pa.chunked_array([texts[1:2], texts[2:4]]),
        [b"one two", b"two"],
        texts[1:4].cast("binary"),
    ):
        counter = WordCounter(Normalisation())
        counter.add(form)
        assert as_dict(counter.finish()) == expected


def test_neighbouring_texts_do_not_join_words() -> None:
    counter = WordCounter(Normalisation())
    counter.add(pa.array(["one", "two", "", "three"]))
    assert as_dict(counter.finish()) == {"one": 1, "two": 1, "three": 1}


def test_special_tokens_in_text_are_text() -> None:
    counter = WordCounter(Normalisation())
    counter.add(pa.array(["[MASK] x[MASK]y"]))
    assert as_dict(counter.finish()) == {"[": 2, "mask": 2, "]": 2, "x": 1, "y": 1}


def test_only_a_table_that_is_merged_already_is_taken_as_it_is() -> None:
    for rows, merged in [
        ([("b", 1), ("a", 2)], [("a", 2), ("b", 1)]),  # not sorted
        ([("a", 1), ("a", 2), ("b", 3)], [("a", 3), ("b", 3)]),  # not distinct
        ([("a", 1), ("\ue000", 2), ("\U0001f600", 3)], None),  # by code point, as by bytes
        ([("a", 1)], None),
    ]:
        words, counts = zip(*rows, strict=True)
        found = merge_counts([pa.table({"word": pa.array(words), "count": pa.array(counts)})])
        assert list(zip(found["word"].to_pylist(), found["count"].to_pylist(), strict=True)) == (merged or rows)
        assert found.schema == WORD_COUNTS_SCHEMA
    halves = [pa.table({"word": [word], "count": [1]}) for word in ("b", "a")]  # each sorted, not together
    assert merge_counts(halves)["word"].to_pylist() == ["a", "b"]


def test_what_is_not_utf8_is_refused() -> None:
    counter = WordCounter(Normalisation())
    counter.add([b"good \xff\xfe bad"])
    with pytest.raises(InputDataError, match=r"not UTF-8.*xff.*convert"):
        counter.finish()


def test_a_counter_goes_on_after_finish() -> None:
    counter = WordCounter(Normalisation())
    counter.add(pa.array(["one two"]))
    first = counter.finish()
    counter.add(pa.array(["two"]))
    assert as_dict(merge_counts([first, counter.finish()])) == {"one": 1, "two": 2}
    assert counter.num_bytes == 10


def test_sums_beyond_32_bits_are_exact() -> None:
    schema = pa.schema([("word", pa.string()), ("count", pa.int64())])
    table = pa.table({"word": ["b", "a"], "count": [3_000_000_000, 5]}, schema=schema)
    assert as_dict(merge_counts([table, table, table])) == {"a": 15, "b": 9_000_000_000}
    assert merge_counts([schema.empty_table()]).num_rows == 0


def test_partitions_hold_each_word_once_by_a_fixed_hash() -> None:
    words = ["", "a", "b", "\u4e2d", "word"]
    parts = partition_of_words(pa.array(words), 7)
    assert parts.tolist() == [xxhash.xxh3_64(word.encode()).intdigest() % 7 for word in words]
    assert xxhash.xxh3_64(b"").intdigest() == 0x2D06800538D394C2  # the published value of the empty string
    spread = np.bincount(partition_of_words(pa.array([f"w{number}" for number in range(8000)]), 8))
    assert spread.min() > 850


@pytest.mark.parametrize("name", ["tf-docs-ja", "tf-docs-ko", "php-doc-ru", "ms-cpp-docs"])
def test_corpora_are_counted_as_tokenizers_counts_them(name: str) -> None:
    texts = read_corpus(name, 40)
    counter = WordCounter(Normalisation())
    counter.add(pa.array(texts))
    assert as_dict(counter.finish()) == count_by_tokenizers(texts, Normalisation())
