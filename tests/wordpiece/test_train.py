"""The vocabulary is that of `tokenizers`' trainer with its random ids pinned, at any size of count."""

from __future__ import annotations

import random
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from pipeline.wordpiece.count_words import WordCounter
from pipeline.wordpiece.normalise import Normalisation
from pipeline.wordpiece.train import SPECIAL_TOKENS, train_wordpiece
from schemas.errors import ConfigError
from tests.wordpiece.texts import SENTENCES, read_corpus


def as_table(counts: dict[str, int]) -> pa.Table:
    return pa.table({"word": pa.array(list(counts), pa.string()), "count": pa.array(list(counts.values()), pa.int64())})


def choose_kept(counts: dict[str, int], limit: int | None) -> set[str]:
    occurrences: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            occurrences[character] += count
    return set(sorted(occurrences, key=lambda character: (-occurrences[character], character))[:limit])


def pin_pieces(counts: dict[str, int], limit: int | None) -> list[str]:
    kept = choose_kept(counts, limit)
    later = {character for word in counts for character in word[1:]} & kept
    return [*SPECIAL_TOKENS, *sorted(kept), *("##" + character for character in sorted(later))]


def train_by_tokenizers(
    counts: dict[str, int], vocab_size: int, min_frequency: int, limit: int | None = None
) -> list[str]:
    tokenizer = Tokenizer(models.WordPiece({SPECIAL_TOKENS[1]: 0}, unk_token=SPECIAL_TOKENS[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        limit_alphabet=0,
        special_tokens=pin_pieces(counts, limit),
        show_progress=False,
    )
    tokenizer.train_from_iterator((" ".join([word] * count) for word, count in counts.items()), trainer)
    ids = tokenizer.get_vocab()
    assert sorted(ids.values()) == list(range(len(ids)))
    return sorted(ids, key=ids.__getitem__)


letters = st.sampled_from(["ab", "abc", "a", "aab\u00e9", "xyz\u4e2d", "\U0001d400ab"]).flatmap(
    lambda alphabet: st.text(alphabet, min_size=1, max_size=10)
)
corpora = st.dictionaries(letters, st.integers(1, 6), min_size=1, max_size=14)


@settings(max_examples=500, deadline=None)
@given(corpora, st.integers(0, 40), st.integers(0, 3), st.one_of(st.none(), st.integers(0, 4)))
@example({"aaaa": 1, "aaaaa": 1, "aaa": 2}, 30, 1, None)
@example({"abab": 2, "ababab": 1, "ba": 3}, 30, 1, None)
@example({"ab": 2, "ba": 2, "cab": 1}, 30, 1, 2)
@example({"xaya": 3, "aa": 3}, 30, 1, 1)
def test_vocabulary_and_ids_are_the_peers(
    counts: dict[str, int], room: int, min_frequency: int, limit: int | None
) -> None:
    vocab_size = len(pin_pieces(counts, limit)) + room
    trained = train_wordpiece(as_table(counts), vocab_size, min_frequency=min_frequency, limit_alphabet=limit)
    assert trained.pieces == train_by_tokenizers(counts, vocab_size, min_frequency, limit)


@pytest.mark.parametrize("seed", range(6))
def test_larger_corpora_of_words_that_share_parts_are_the_peers(seed: int) -> None:
    chooser = random.Random(seed)
    parts = ["".join(chooser.choices("abcdeo", k=chooser.randint(1, 3))) for _ in range(30)]
    counts = {"".join(chooser.choices(parts, k=chooser.randint(1, 6))): chooser.randint(1, 30) for _ in range(1500)}
    trained = train_wordpiece(as_table(counts), 1500)
    assert trained.pieces == train_by_tokenizers(counts, 1500, 2)


@settings(max_examples=60, deadline=None)
@given(corpora, st.integers(0, 40), st.sampled_from([2**31, 2**32, 10**11]), st.randoms(use_true_random=False))
def test_counts_beyond_32_bits_and_the_order_of_words_change_nothing(
    counts: dict[str, int], room: int, factor: int, chooser: random.Random
) -> None:
    vocab_size = len(pin_pieces(counts, None)) + room
    small = train_wordpiece(as_table(counts), vocab_size, min_frequency=2)
    shuffled = list(counts)
    chooser.shuffle(shuffled)
    large_counts = {word: counts[word] * factor for word in shuffled}
    large = train_wordpiece(as_table(large_counts), vocab_size, min_frequency=2 * factor)
    assert large.pieces == small.pieces
    assert large.character_occurrences == small.character_occurrences * factor


def test_large_counts_are_added_up_by_hand() -> None:
    # ab stands 2**31 + 2**32 + 1 times in two words, cd once less: 32 bits would rank cd first.
    counts = {"abx": 2**31, "aby": 2**32 + 1, "cd": 2**31 + 2**32}
    trained = train_wordpiece(as_table(counts), 100, min_frequency=2**32 + 2)
    alphabet = [*"abcdxy", "##b", "##d", "##x", "##y"]
    assert trained.pieces == [*SPECIAL_TOKENS, *alphabet, "ab", "cd"]
    assert trained.num_merges == 2


def test_a_merge_that_spells_an_existing_piece_makes_no_id() -> None:
    # abc arises as ab + ##c and as a + ##bc.
    counts = {"abc": 5, "ab": 9, "xbc": 7, "abcq": 6}
    trained = train_wordpiece(as_table(counts), 100, min_frequency=1)
    assert len(set(trained.pieces)) == len(trained.pieces)
    assert trained.pieces == train_by_tokenizers(counts, 100, 1)


def test_rare_characters_are_dropped_and_counted() -> None:
    counts = {"azb": 3, "ab": 2, "za": 1, "q": 4}
    trained = train_wordpiece(as_table(counts), 100, min_frequency=5, limit_alphabet=2)
    # a 6, b 5, z 4, q 4 occurrences: z and q go, and azb is ab.
    assert trained.pieces == [*SPECIAL_TOKENS, "a", "b", "##a", "##b", "ab"]
    assert (trained.characters_kept, trained.characters_cut) == ("ab", "qz")
    assert (trained.character_occurrences, trained.character_occurrences_cut) == (19, 8)


def test_too_many_words_are_cut_by_count_then_by_code_point_and_counted() -> None:
    counts = {"dd": 5, "bb": 2, "aa": 2, "cc": 2, "ee": 1}
    trained = train_wordpiece(as_table(counts), 100, min_frequency=1, max_words=3)
    assert trained.pieces == train_wordpiece(as_table({"dd": 5, "aa": 2, "bb": 2}), 100, min_frequency=1).pieces
    assert (trained.num_words, trained.words_cut, trained.word_occurrences_cut) == (3, 2, 3)
    assert train_wordpiece(as_table(counts), 100, min_frequency=1, max_words=5).words_cut == 0


def test_no_words_make_the_special_tokens_alone() -> None:
    trained = train_wordpiece(as_table({}), 100)
    assert trained.pieces == list(SPECIAL_TOKENS)


def test_a_vocabulary_too_small_for_the_alphabet_is_refused_with_sizes() -> None:
    with pytest.raises(ConfigError) as caught:
        train_wordpiece(as_table({"abc": 2}), 9)
    assert "at least 10: 5 special tokens and 5 pieces for 3 characters" in str(caught.value)
    assert "limit_alphabet" in str(caught.value)
    assert len(train_wordpiece(as_table({"abc": 2}), 10).pieces) == 10


def test_sentences_train_to_the_peers_vocabulary() -> None:
    counter = WordCounter(Normalisation())
    counter.add(pa.array(SENTENCES * 3))
    words = counter.finish()
    counts = dict(zip(words["word"].to_pylist(), words["count"].to_pylist(), strict=True))
    assert train_wordpiece(words, 150).pieces == train_by_tokenizers(counts, 150, 2)


@pytest.mark.parametrize(("name", "num_documents"), [("tf-docs-ja", 60), ("php-doc-ru", 200), ("eltec-eng", 100)])
def test_corpora_train_to_the_peers_vocabulary(name: str, num_documents: int) -> None:
    counter = WordCounter(Normalisation())
    counter.add(pa.array(read_corpus(name, num_documents)))
    words = counter.finish()
    counts = dict(zip(words["word"].to_pylist(), words["count"].to_pylist(), strict=True))
    trained = train_wordpiece(words, 8000, limit_alphabet=1000)
    assert trained.pieces == train_by_tokenizers(counts, 8000, 2, 1000)
