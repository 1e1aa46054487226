"""Words are counted as `tokenizers` makes them of whole texts, whatever is held in memory on the way."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from maskmill.pipeline.wordpiece.counting.count_words import WordCounter
from maskmill.pipeline.wordpiece.counting.counted_words import CountedWords, PartitionedWords
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.schemas.errors import InputDataError
from tests.wordpiece.any_texts import NORMALISATIONS, any_texts, as_dict, count_all, count_by_tokenizers
from tests.wordpiece.letter_oracle import count_letters
from tests.wordpiece.texts import hostile_texts, read_corpus


def sum_rounds(rounds: list[PartitionedWords]) -> dict[tuple[str, int], int]:
    """Each (word, source) and its count over all rounds; a round has it once, and in one partition alone."""
    counts: Counter[tuple[str, int]] = Counter()
    partition_of: dict[str, int] = {}
    for partitions in rounds:
        seen = set()
        for number, rows in enumerate(partitions):
            for row in rows.to_pylist():
                key = (row["word"], row["source"])
                assert key not in seen
                assert partition_of.setdefault(row["word"], number) == number
                seen.add(key)
                counts[key] += row["count"]
    return dict(counts)


@settings(max_examples=600, deadline=None)
@given(st.lists(st.one_of(any_texts, hostile_texts), max_size=5), st.sampled_from(NORMALISATIONS))
def test_words_are_those_of_tokenizers_over_whole_texts(texts: list[str], normalisation: Normalisation) -> None:
    assert count_all(texts, normalisation) == count_by_tokenizers(texts, normalisation)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(any_texts, st.integers(0, 3)), max_size=8), st.sampled_from(NORMALISATIONS))
def test_each_source_is_counted_apart(documents: list[tuple[str, int]], normalisation: Normalisation) -> None:
    counter = WordCounter(normalisation, num_sources=4)
    counter.add(
        pa.array([text for text, _ in documents], pa.string()),
        np.array([source for _, source in documents], np.int32),
    )
    rows = counter.finish().to_pylist()
    keys = [(row["word"].encode(), row["source"]) for row in rows]
    assert keys == sorted(set(keys))
    found = {(row["word"], row["source"]): row["count"] for row in rows}
    expected = {}
    for source in range(4):
        texts = [text for text, its_source in documents if its_source == source]
        expected |= {(word, source): count for word, count in count_by_tokenizers(texts, normalisation).items()}
        assert counter.text_bytes[source] == sum(len(text.encode()) for text in texts)
        found_letters = (*counter.letters[source].tolist(), int(counter.words_changed[source]))
        assert found_letters == count_letters(texts, normalisation)
    assert found == expected


def test_letters_are_counted_in_text_of_any_length() -> None:
    for length in range(140):
        for text, letters, changed in [
            ("aZ[`{@ 1" * length, 2 * length, 0),
            ("x" * length + "\u00e9", length + 1, 1),
            ("\u00e9" + "x" * length, length + 1, 1),
            ("\uac00 \u4e2d" * length, 2 * length, length),
            ("x" * length + "\u0301", length, min(1, length)),
            ("\u0301" + "x" * length + "\x00\u0301\u0301 \u0301", length, min(1, length)),
            ("x" * length + "1\u0301 -\u0301", length, 0),
        ]:
            counter = WordCounter(Normalisation())
            counter.add(pa.array([text, text]))
            assert counter.letters.tolist() == [[2 * letters, 2 * changed]]
            assert counter.words_changed.tolist() == [2 * changed]  # none has two letters that are changed


LANGUAGES = {
    "Hindi": ("\u092a\u093f\u091b\u0932\u0947 \u0938\u093e\u0932", 5, 1, 1),
    "Thai": ("\u0e40\u0e21\u0e37\u0e48\u0e2d", 3, 1, 1),
    "Tamil": ("\u0ba4\u0bae\u0bbf\u0bb4\u0bcd", 3, 1, 1),
    "Burmese": ("\u1019\u103c\u1014\u103a\u1019\u102c", 3, 1, 1),
    "Khmer": ("\u1781\u17d2\u1798\u17c2\u179a", 3, 1, 1),
    "Bengali": ("\u09ac\u09cd\u09af\u09be", 2, 1, 1),
    "pointed Hebrew": ("\u05e9\u05c1\u05dc\u05d5\u05b9\u05dd", 4, 2, 1),
    "Vietnamese": ("Ti\u1ebfng Vi\u1ec7t", 9, 2, 2),
    "German": ("\u00dcber Gr\u00f6\u00dfe und Stra\u00dfe", 18, 2, 2),
    "kana": ("\u304c\u304e \u304b", 3, 2, 1),
    "an emoji with its selector": ("I \u2764\ufe0f it", 3, 0, 0),
}


@pytest.mark.parametrize(("text", "letters", "changed", "words"), LANGUAGES.values(), ids=LANGUAGES)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_marks_that_are_lost_change_their_letter_however_it_is_written(
    text: str, letters: int, changed: int, words: int, form: Literal["NFC", "NFD"], normalisation: Normalisation
) -> None:
    counter = WordCounter(normalisation)
    counter.add(pa.array([unicodedata.normalize(form, text)]))
    assert counter.letters.tolist() == [[letters, changed]]
    assert counter.words_changed.tolist() == [words]


def is_taken_apart(char: str) -> bool:
    """Whether stripping accents takes a letter apart and drops nothing: Hangul, and Balinese with spacing marks."""
    parts = unicodedata.normalize("NFD", char)
    return len(parts) > 1 and not any(unicodedata.category(part) == "Mn" for part in parts)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(any_texts, st.sampled_from([text for text, *_ in LANGUAGES.values()])), max_size=4))
def test_composed_and_decomposed_text_are_counted_alike(texts: list[str]) -> None:
    text = " ".join(texts)
    assume(not any(map(is_taken_apart, unicodedata.normalize("NFC", text))))
    found = []
    for form in ("NFC", "NFD"):
        counter = WordCounter(Normalisation())
        counter.add(pa.array([unicodedata.normalize(form, text)]))
        found.append((counter.letters.tolist(), counter.words_changed.tolist()))
    assert found[0] == found[1]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.one_of(any_texts, hostile_texts), st.integers(0, 2)), max_size=12),
    st.integers(1, 9),
    st.integers(1, 4),
)
def test_small_memory_gives_the_same_counts(documents: list[tuple[str, int]], max_words: int, batch: int) -> None:
    rounds: list[PartitionedWords] = []
    counter = WordCounter(Normalisation(), num_sources=3, max_words=max_words, spill=rounds.append)
    for start in range(0, len(documents), batch):
        texts, sources = zip(*documents[start : start + batch], strict=True)
        counter.add(pa.array(texts, pa.large_string()), np.array(sources, np.int32))
    rounds.append(counter.take())
    assert max(sum(rows.num_rows for rows in partitions) for partitions in rounds) <= max_words
    expected = {}
    for source in range(3):
        texts = [text for text, its_source in documents if its_source == source]
        expected |= {(word, source): n for word, n in count_by_tokenizers(texts, Normalisation()).items()}
    assert sum_rounds(rounds) == expected


def test_memory_stays_within_its_limits() -> None:
    rounds: list[PartitionedWords] = []
    counter = WordCounter(Normalisation(), max_words=1 << 13, spill=rounds.append)
    counter.add(pa.array([f"word{number}" for number in range(100_000)]))
    rounds.append(counter.take())
    sizes = [sum(rows.num_rows for rows in partitions) for partitions in rounds]
    assert max(sizes) == 1 << 13
    assert len(sizes) == -(-100_000 // (1 << 13))
    assert len(sum_rounds(rounds)) == 100_000


def test_long_words_are_handed_on_by_their_bytes() -> None:
    rounds: list[PartitionedWords] = []
    counter = WordCounter(Normalisation(), max_words=1 << 10, spill=rounds.append)
    counter.add(pa.array([f"{number:0500d}" for number in range(1000)]))
    rounds.append(counter.take())
    # 1024 words may be held, of 16 bytes on the whole: 16 KiB, which is 32 words of 504 bytes.
    assert max(sum(rows.num_rows for rows in partitions) for partitions in rounds) <= 33
    assert len(sum_rounds(rounds)) == 1000


@pytest.mark.parametrize("spills", [True, False])
def test_a_word_longer_than_every_buffer_is_counted(spills: bool) -> None:
    long_word = "xy" * 1_000_000
    ordered = "b\u302e" * 100_000  # of characters that only tokenizers can order, longer than the buffer
    rounds: list[PartitionedWords] = []
    counter = WordCounter(Normalisation(), max_words=4, spill=rounds.append if spills else None)
    counter.add(pa.array([f"a {long_word} a", "\u00e9" * 100_000, f"a {ordered} b{long_word}"]))
    rounds.append(counter.take())
    words = {"a": 3, long_word: 1, "e" * 100_000: 1, ordered: 1, f"b{long_word}": 1}
    assert sum_rounds(rounds) == {(word, 0): count for word, count in words.items()}


def test_words_for_tokenizers_are_put_aside_within_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskmill.pipeline.wordpiece.counting.count_words._MAX_ASIDE_BYTES", 1000)
    counter = WordCounter(Normalisation())
    split = counter._split_aside
    held = []

    def split_and_note() -> None:
        held.append(counter._aside_bytes)
        split()

    monkeypatch.setattr(counter, "_split_aside", split_and_note)
    texts = [f"\u302e\u0316{number}" for number in range(20_000)] * 2
    counter.add(pa.array(texts))
    assert len(held) > 1
    assert as_dict(counter.finish()) == count_by_tokenizers(texts, Normalisation())


def test_slices_and_bytes_are_read_as_texts() -> None:
    texts = pa.array(["left out", "one two", "", "two", "left out"], pa.string())
    for form in (texts[1:4], [b"one two", b"two"], texts[1:4].cast("binary"), texts[1:4].cast("large_string")):
        counter = WordCounter(Normalisation())
        counter.add(form)
        assert as_dict(counter.finish()) == {"one": 1, "two": 2}
        assert counter.text_bytes.tolist() == [10]


def test_nothing_to_count_is_nothing() -> None:
    counter = WordCounter(Normalisation())
    counter.add(pa.array([], pa.string()))
    counter.add(pa.array(["", " \t\r\n", "\x00\u200d"]))
    assert counter.finish().num_rows == 0
    with pytest.raises(ValueError, match="null"):
        counter.add(pa.array(["a", None]))


def test_neighbouring_texts_do_not_join_words() -> None:
    assert count_all(["one", "two", "", "three"], Normalisation()) == {"one": 1, "two": 1, "three": 1}
    # A mark at the start of a text is no part of the text before it.
    assert count_all(["b\u302f", "\u302e"], Normalisation()) == {"b\u302f": 1, "\u302e": 1}


def test_special_tokens_in_text_are_text() -> None:
    assert count_all(["[MASK] x[MASK]y"], Normalisation()) == {"[": 2, "mask": 2, "]": 2, "x": 1, "y": 1}


@pytest.mark.parametrize("place", [0, 1, 63, 64, 200])
def test_what_is_not_utf8_is_refused(place: int) -> None:
    counter = WordCounter(Normalisation())
    with pytest.raises(InputDataError, match=rf"byte {place} of the text.*not UTF-8.*xff.*convert"):
        counter.add([b"well-formed " * 9, b"a" * place + b"\xff\xfe bad"])


def test_a_counter_goes_on_after_finish() -> None:
    counter = WordCounter(Normalisation())
    counter.add(pa.array(["one two \u302e\u0316"]))
    assert as_dict(counter.finish()) == {"one": 1, "two": 1, "\u302e": 1}
    counter.add(pa.array(["two"]))
    assert as_dict(counter.finish()) == {"two": 1}
    assert counter.text_bytes.tolist() == [16]


def test_sums_beyond_32_bits_are_exact() -> None:
    words = CountedWords()
    for _ in range(3):
        words.add_rows(pa.array(["b", "a", "b"]), np.array([0, 0, 1]), np.array([3_000_000_000, 5, 1]))
    rows = [row for partition in words.take() for row in partition.to_pylist()]
    found = {(row["word"], row["source"]): row["count"] for row in rows}
    assert found == {("a", 0): 15, ("b", 0): 9_000_000_000, ("b", 1): 3}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=20), st.integers(0, 999), st.integers(1, 1 << 40)), max_size=60),
    st.integers(1, 8),
)
def test_rows_are_summed_in_any_memory(rows: list[tuple[str, int, int]], max_words: int) -> None:
    rounds: list[PartitionedWords] = []
    words = CountedWords(max_words=max_words, spill=rounds.append)
    expected: Counter[tuple[str, int]] = Counter()
    for word, source, count in rows:
        expected[word, source] += count
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    words.add_rows(pa.array(columns[0], pa.string()), np.array(columns[1], np.int32), np.array(columns[2], np.int64))
    rounds.append(words.take())
    assert sum_rounds(rounds) == dict(expected)


@pytest.mark.parametrize("name", ["tf-docs-ja", "tf-docs-ko", "tf-docs-zh", "php-doc-ru", "ms-cpp-docs", "eltec-fra"])
@pytest.mark.parametrize("normalisation", [Normalisation(), Normalisation(lowercase=False)], ids=["uncased", "cased"])
def test_corpora_are_counted_as_tokenizers_counts_them(name: str, normalisation: Normalisation) -> None:
    texts = [text[:50_000] for text in read_corpus(name, 40)]
    assert count_all(texts, normalisation) == count_by_tokenizers(texts, normalisation)
