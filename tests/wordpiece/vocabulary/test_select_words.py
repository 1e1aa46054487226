"""The words to train on are the most frequent ones after weighting, whatever their order in the file."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from maskmill.pipeline.wordpiece.vocabulary import select_words as module
from maskmill.pipeline.wordpiece.vocabulary.select_words import SelectedWords, select_words
from maskmill.pipeline.wordpiece.vocabulary.weigh_sources import weigh_sources
from tests.wordpiece.count_files import Rows, write_rows

ONE = 1 << 16

words = st.one_of(
    st.text("ab\u00e9\u4e2d\U0001d400", min_size=1, max_size=3),
    st.text("ab", min_size=1, max_size=3).map(lambda end: "abcdefgh" + end),  # equal in their first 8 bytes
    st.sampled_from(["abcdefgh", "abcdefg", "\uffff", "\U00010000"]),  # by UTF-16 the last would sort first
)
rows_of_sources = st.dictionaries(
    st.tuples(words, st.sampled_from(["", "b", "\u00e9"])), st.integers(1, 3), max_size=30
)


def as_dict(selected: SelectedWords) -> dict[str, int]:
    found = selected.words["word"].to_pylist()
    assert len(set(found)) == len(found)
    return dict(zip(found, selected.words["count"].to_pylist(), strict=True))


def weigh_by_hand(rows: Rows, weights: dict[str, int]) -> dict[str, int]:
    exact: dict[str, int] = {}
    for (word, source), count in rows.items():
        exact[word] = exact.get(word, 0) + count * weights[source]
    return {word: (total + ONE // 2) // ONE for word, total in exact.items()}


@settings(max_examples=300, deadline=None)
@given(
    rows_of_sources,
    st.one_of(st.none(), st.integers(1, 12)),
    st.sampled_from([1000, 700, 333, 0]),
    st.integers(1, 5),
    st.integers(0, 3),
)
@example({("\uffff", ""): 1, ("\U00010000", ""): 1}, 1, 1000, 2, 0)
def test_chosen_are_the_most_frequent_words_in_any_partitions(
    rows: Rows, max_words: int | None, alpha: int, num_partitions: int, seed: int
) -> None:
    counts = write_rows(rows, num_partitions, seed)
    weights = weigh_sources(counts.sources, alpha)
    selected = select_words(counts, max_words, weights)
    names = [source.source for source in counts.sources]
    weighted = weigh_by_hand(rows, dict(zip(names, weights.tolist(), strict=True)))
    best = sorted(weighted, key=lambda word: (-weighted[word], word.encode()))[:max_words]
    assert as_dict(selected) == {word: weighted[word] for word in best}
    assert selected.num_distinct == len(weighted)
    assert selected.num_occurrences == sum(rows.values())
    assert selected.words_cut == len(weighted) - len(best)
    assert selected.word_occurrences_cut == sum(count for (word, _), count in rows.items() if word not in best)


def test_with_alpha_one_counts_are_those_of_the_corpus() -> None:
    rows = {("a", "x"): 3, ("a", "y"): 2**40, ("b", "y"): 1}
    counts = write_rows(rows)
    assert as_dict(select_words(counts, None, weigh_sources(counts.sources, 1000))) == {"a": 2**40 + 3, "b": 1}


def test_products_beyond_64_bits_are_exact() -> None:
    # 2^40 times a weight of 2^36 + 3/4: 2^16 * 2^36 would fit into no 64 bits with the count.
    weights = np.array([(ONE << 20) + 3 * ONE // 4, ONE // 2], np.int64)
    counts = write_rows({("a", "x"): 2**40, ("a", "y"): 1, ("b", "y"): 1, ("c", "y"): 2, ("d", "y"): 3})
    selected = as_dict(select_words(counts, None, weights))
    # b is half a word, which rounds up; d is one and a half.
    assert selected == {"a": 2**60 + 3 * 2**38 + 1, "b": 1, "c": 1, "d": 2}


def test_no_more_is_held_than_the_limit_an_eighth_and_one_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    def spy(blocks: list[pa.Table], max_words: int) -> tuple[list[pa.Table], int]:
        held.append(sum(block.num_rows for block in blocks))
        return keep(blocks, max_words)

    keep = module._keep_most_frequent
    monkeypatch.setattr(module, "_keep_most_frequent", spy)
    rows = {(f"w{number}", ""): 1 + number % 7 for number in range(4000)}
    counts = write_rows(rows, num_partitions=20)
    largest = max(table.num_rows for table in counts.iter_partitions())
    selected = select_words(counts, 400, weigh_sources(counts.sources, 1000))
    assert len(held) > 3
    assert max(held) <= 400 + 50 + largest
    assert as_dict(selected) == dict.fromkeys(sorted(word for (word, _), count in rows.items() if count == 7)[:400], 7)


def test_no_words_are_no_words() -> None:
    counts = write_rows({}, 3)
    selected = select_words(counts, 5, weigh_sources(counts.sources, 700))
    assert (selected.words.num_rows, selected.num_distinct, selected.words_cut) == (0, 0, 0)
