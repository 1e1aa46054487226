"""Words keep their bytes and fall into partitions by a stated hash."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.wordpiece.counting.counted_words import WORD_PARTITIONS, CountedWords


def hash_word(word: str) -> int:
    """The hash as its documentation states it, in Python's integers."""
    data = word.encode()
    value = 0xCBF29CE484222325
    for start in range(0, len(data), 8):
        value = ((value ^ int.from_bytes(data[start : start + 8], "little")) * 0x9E3779B97F4A7C15) % 2**64
        value ^= value >> 32
    return value


def part(words: list[str], num_partitions: int) -> list[list[str]]:
    """The words of each partition."""
    table = CountedWords(num_partitions=num_partitions)
    table.add_rows(pa.array(words, pa.string()), np.zeros(len(words), np.int32), np.ones(len(words), np.int64))
    return [rows.column("word").to_pylist() for rows in table.take()]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=30, unique=True), st.integers(1, 1000))
def test_a_words_partition_is_its_stated_hash(words: list[str], num_partitions: int) -> None:
    for number, found in enumerate(part(words, num_partitions)):
        assert found == [word for word in words if hash_word(word) % num_partitions == number]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=30), st.integers(0, 2**16 - 1)), unique=True, max_size=40))
def test_words_come_out_as_they_went_in_partition_by_partition(keys: list[tuple[str, int]]) -> None:
    table = CountedWords()
    words, sources = zip(*keys, strict=True) if keys else ((), ())
    counts = np.arange(1, len(keys) + 1)
    table.add_rows(pa.array(words, pa.string()), np.array(sources, np.int32), counts)
    partitions = table.take()
    assert len(partitions) == WORD_PARTITIONS
    for number, rows in enumerate(partitions):
        expected = [
            {"word": word, "source": source, "count": count}
            for (word, source), count in zip(keys, counts.tolist(), strict=True)
            if hash_word(word) % WORD_PARTITIONS == number
        ]
        assert rows.to_pylist() == expected
    assert sum(rows.num_rows for rows in table.take()) == 0


def test_partitions_are_about_equal() -> None:
    for words in (
        [f"w{number}" for number in range(64_000)],
        [chr(0x4E00 + number) for number in range(20_000)],
        [
            chr(97 + one) + chr(97 + two) + chr(97 + three)
            for one in range(26)
            for two in range(26)
            for three in range(26)
        ],
    ):
        sizes = np.array(list(map(len, part(words, 64))))
        mean = len(words) / 64
        assert abs(sizes - mean).max() < 5 * mean**0.5
