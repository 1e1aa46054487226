"""What a tokenizer makes of text is measured the same by words and by texts, and as counted by hand."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.wordpiece.counting.word_counts import (
    WORD_COUNTS_SCHEMA,
    SourceText,
    WordCounts,
    write_word_counts,
)
from maskmill.pipeline.wordpiece.encoding.load_encoders import SpecialInText
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.pipeline.wordpiece.files.tokenizer_files import build_tokenizer
from maskmill.pipeline.wordpiece.vocabulary.measure_tokenizer import (
    measure_encodings,
    measure_texts,
    measure_word_counts,
)
from maskmill.pipeline.wordpiece.vocabulary.sample_texts import sample_texts, share_bytes
from maskmill.pipeline.wordpiece.vocabulary.train import train_wordpiece
from maskmill.schemas.counts import SourceReport
from maskmill.schemas.documents import DOCUMENT_SCHEMA
from maskmill.schemas.errors import ShardCorruptError
from maskmill.schemas.tokenizer.tokenizer_file import SPECIAL_TOKENS
from tests.wordpiece.count_files import as_table, count_by_tokenizers
from tests.wordpiece.letter_oracle import count_letters
from tests.wordpiece.texts import SENTENCES, hostile_texts

NORMALISATIONS = [Normalisation(), Normalisation(False), Normalisation(True, False), Normalisation(False, True, False)]


def train_small(normalisation: Normalisation) -> Tokenizer:
    counts = count_by_tokenizers(SENTENCES * 3, normalisation)
    return build_tokenizer(train_wordpiece(as_table(counts), 150).pieces, normalisation)


TOKENIZERS = {normalisation: train_small(normalisation) for normalisation in NORMALISATIONS}


def count_words(texts: dict[str, list[str]], normalisation: Normalisation) -> WordCounts:
    counts = {source: count_by_tokenizers(documents, normalisation) for source, documents in texts.items()}
    described = [
        SourceText(
            source,
            sum(len(text.encode()) for text in texts[source]),
            sum(counts[source].values()),
            *count_letters(texts[source], normalisation),
        )
        for source in texts
    ]
    rows = sorted((word, source, count) for source in counts for word, count in counts[source].items())
    partitions = []
    for number in range(2):
        words, sources, numbers = zip(*[row for row in rows if len(row[0]) % 2 == number] or [("", "", 0)], strict=True)
        columns = [pa.array(words), pa.array(sources).dictionary_encode(), pa.array(numbers, pa.int64())]
        partition = pa.table(columns, names=WORD_COUNTS_SCHEMA.names).cast(WORD_COUNTS_SCHEMA)
        partitions.append(partition.filter(pa.compute.greater(partition["count"], 0)))
    store = Store("memory://measured")
    write_word_counts(store, "words", partitions, corpus="", normalisation=normalisation, sources=described)
    return WordCounts.open(store, "words")


documents = st.lists(st.one_of(hostile_texts, st.sampled_from(SENTENCES)), max_size=4)


@settings(max_examples=300, deadline=None)
@given(documents, documents, st.sampled_from(NORMALISATIONS))
@example([], ["e\u0301\u302e a!\u0301\u302eb"], NORMALISATIONS[0])
@example([], ["e\u0301\u302e a!\u0301\u302eb"], NORMALISATIONS[1])
@example(["\u226e[MASK]\u0130x", "q" * 101], ["\ud55c\uad6d q\u0307\u0323"], NORMALISATIONS[0])
def test_words_texts_and_encodings_give_the_same_report(
    first: list[str], second: list[str], normalisation: Normalisation
) -> None:
    tokenizer = TOKENIZERS[normalisation]
    texts = {"a": first, "b": second}
    by_words = measure_word_counts(tokenizer, count_words(texts, normalisation))
    assert measure_texts(tokenizer, texts) == by_words
    assert measure_encodings(tokenizer, texts) == by_words


@settings(max_examples=100, deadline=None)
@given(documents, st.sampled_from(NORMALISATIONS))
@example(["\u00e9\x0b\u302e a\u0301\u200d\u302e\x00b"], NORMALISATIONS[0])
@example(["\u00e9\x0b\u302e a\u0301\u200d\u302e\x00b"], NORMALISATIONS[1])
def test_tokens_and_words_are_those_of_tokenizers(texts: list[str], normalisation: Normalisation) -> None:
    tokenizer = Tokenizer.from_str(TOKENIZERS[normalisation].to_str())
    (report,) = measure_encodings(tokenizer, {"": texts})
    words = count_by_tokenizers(texts, normalisation)
    tokenizer.encode_special_tokens = True
    encoded = {word: tokenizer.model.tokenize(word) for word in words}
    unknown = [word for word, tokens in encoded.items() if [token.value for token in tokens] == ["[UNK]"]]
    assert report.tokens == sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts)
    assert report.tokens == sum(count * len(encoded[word]) for word, count in words.items())
    assert report.words == sum(words.values())
    assert report.unknown == sum(words[word] for word in unknown)
    assert report.characters == sum(count * len(word) for word, count in words.items())
    assert report.characters_unknown == sum(words[word] * len(word) for word in unknown)
    assert report.text_bytes == sum(len(text.encode()) for text in texts)


def test_a_report_by_hand() -> None:
    tokenizer = build_tokenizer([*SPECIAL_TOKENS, "a", "##b", "e", "[", "]"], Normalisation())
    # ab, ab, e (of E with an accent), x and the five words of [a]e: x is unknown. Of the letters one is changed.
    (report,) = measure_texts(tokenizer, {"s": ["ab ab", "\u00c9 x [a]e"]})
    assert report == SourceReport(
        source="s",
        text_bytes=5 + 9,
        words=8,
        tokens=10,
        unknown=1,
        characters=10,
        characters_unknown=1,
        letters=8,
        letters_changed=1,
        words_changed=1,
    )


def test_words_too_long_for_the_encoder_are_counted_after_normalising() -> None:
    tokenizer = build_tokenizer([*SPECIAL_TOKENS, "e", "##e", "\u0436"], Normalisation())
    texts = {"": ["e" * 100, "e" * 101, "e\u0301" * 100, "E\u0301\u0301" * 101, "\u0436\u0436"]}
    for report in (measure_texts(tokenizer, texts)[0], measure_encodings(tokenizer, texts)[0]):
        assert (report.words_too_long, report.characters_too_long) == (2, 202)
        assert (report.unknown, report.characters_unknown) == (3, 204)


def test_special_tokens_in_text_are_text_unless_said_otherwise() -> None:
    tokenizer = build_tokenizer([*SPECIAL_TOKENS, "a", "[", "]", "mask"], Normalisation())
    texts = {"": ["a[MASK]a"]}
    as_text, as_special = (measure_texts(tokenizer, texts, special)[0] for special in SpecialInText)
    assert (as_text.words, as_text.tokens, as_text.characters) == (5, 5, 8)
    assert (as_special.words, as_special.tokens, as_special.characters) == (3, 3, 8)
    without = {"": ["a a[MASK"]}
    assert len({measure_texts(tokenizer, without, special) for special in SpecialInText}) == 1


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["plain", "Plain", "<x>", "two words", " ", "ab", "[MASK]", "a"]), max_size=8),
    st.sampled_from(SpecialInText),
    st.booleans(),
    st.booleans(),
)
def test_added_tokens_in_text_are_words(parts: list[str], special: SpecialInText, normalized: bool, only: bool) -> None:
    tokenizer = build_tokenizer([*SPECIAL_TOKENS, *"abpl", "##b", "##l", "##a"], Normalisation())
    tokenizer.add_special_tokens(["<x>"])
    if not only:
        tokenizer.add_tokens(
            [AddedToken("plain", normalized=normalized), AddedToken("two words", normalized=normalized)]
        )
    texts = {"": ["".join(parts)]}
    assert measure_texts(tokenizer, texts, special) == measure_encodings(tokenizer, texts, special)


def test_tokenizers_of_other_kinds_are_measured() -> None:
    tokenizer = Tokenizer(models.BPE({"<unk>": 0, "a": 1, "b": 2, "ab": 3}, [("a", "b")], unk_token="<unk>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    (report,) = measure_texts(tokenizer, {"": ["ab aab xa"]})
    assert (report.words, report.tokens, report.unknown) == (3, 5, 1)
    assert (report.characters, report.characters_unknown) == (7, 1)
    unigram = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0, byte_fallback=False))
    unigram.normalizer = normalizers.Lowercase()
    unigram.pre_tokenizer = pre_tokenizers.Whitespace()
    (report,) = measure_texts(unigram, {"": ["aA ab"]})
    assert (report.tokens, report.unknown, report.characters_unknown) == (4, 1, 1)


def write_shards(store: Store, shards: list[list[tuple[str, str]]]) -> list[tuple[str, str]]:
    written = []
    for number, rows in enumerate(shards):
        columns = {
            "doc_id": [""] * len(rows),
            "source": [source for source, _ in rows],
            "text": [text for _, text in rows],
        }
        half = len(rows) // 2
        table = pa.table(columns, schema=DOCUMENT_SCHEMA)
        batches = [part.combine_chunks().to_batches()[0] for part in (table[:half], table[half:]) if part.num_rows]
        receipt = write_blocks(store, f"shard-{number}", DOCUMENT_SCHEMA, batches)
        written.append((receipt.path, receipt.checksum))
    return written


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("ab\u00e9"), st.text("ab\u00e9 \n\u4e2d", max_size=30)), max_size=8),
        min_size=1,
        max_size=3,
    ),
    st.integers(0, 200),
)
def test_a_sample_shares_its_bytes_evenly_among_sources(shards: list[list[tuple[str, str]]], num_bytes: int) -> None:
    store = Store("memory://sampled")
    written = write_shards(store, shards)
    texts = sample_texts(store, written, num_bytes)
    assert texts == sample_texts(store, written, num_bytes)
    sizes: Counter[str] = Counter()
    for source, text in (row for rows in shards for row in rows):
        sizes[source] += len(text.encode())
    shares = share_bytes(dict(sizes), num_bytes)
    assert list(texts) == sorted(sizes)
    for source, taken in texts.items():
        expected, left = [], shares[source]
        for text in (text for rows in shards for other, text in rows if other == source):
            prefixes = [text[:stop] for stop in range(len(text) + 1) if len(text[:stop].encode()) <= left]
            broken = [prefix for prefix in prefixes if prefix[-1:] in (" ", "\n")]
            expected.append(text if prefixes[-1] == text else (broken or prefixes)[-1])
            left = max(0, left - len(text.encode()))
        assert list(filter(None, taken)) == list(filter(None, expected))


@given(st.dictionaries(st.text(max_size=2), st.integers(0, 50), max_size=6), st.integers(0, 200))
def test_shares_are_even_and_never_more_than_there_is(sizes: dict[str, int], total: int) -> None:
    shares = share_bytes(sizes, total)
    assert all(shares[source] <= sizes[source] for source in sizes)
    assert sum(shares.values()) == min(total, sum(sizes.values()))
    short = [shares[source] for source in sizes if shares[source] < sizes[source]]
    assert not short or max(short) - min(short) <= 1
    assert not short or min(short) >= max(shares.values()) - 1


def test_a_long_text_is_cut_between_words() -> None:
    store = Store("memory://long")
    shards = write_shards(store, [[("a", "one two three"), ("b", "x" * 50)], [("c", "four")]])
    assert sample_texts(store, shards, 30) == {"a": ["one two three"], "b": ["x" * 13], "c": ["four"]}
    assert sample_texts(store, shards, 27) == {"a": ["one two "], "b": ["x" * 12], "c": ["four"]}
    assert sample_texts(store, shards[:1], 10) == {"a": ["one "], "b": ["x" * 5]}


def test_too_many_sources_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskmill.pipeline.wordpiece.vocabulary.sample_texts.MAX_SOURCES", 2)
    store = Store("memory://many")
    shards = write_shards(store, [[("a", "one"), ("b", "two"), ("c", "three")]])
    assert sample_texts(store, shards, 8) == {"": ["one", "two", "th"]}


def test_a_damaged_shard_is_not_sampled() -> None:
    store = Store("memory://damaged")
    ((path, _),) = write_shards(store, [[("a", "one")]])
    with pytest.raises(ShardCorruptError):
        sample_texts(store, [(path, "0" * 32)], 8)
