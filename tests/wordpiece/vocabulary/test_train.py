"""The vocabulary is that of `tokenizers`' trainer with its random ids pinned, at any size of count."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.pipeline.wordpiece.vocabulary.train import train_wordpiece
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.tokenizer.tokenizer_file import SPECIAL_TOKENS
from tests.wordpiece.count_files import as_table, count_by_tokenizers
from tests.wordpiece.texts import SENTENCES, hostile_texts, read_corpus

CORPUS_CHARACTERS = 2_000_000
NORMALISATIONS = [
    Normalisation(lowercase, strip_accents, chinese)
    for lowercase in (True, False)
    for strip_accents in (None, True, False)
    for chinese in (True, False)
]


def choose_kept(counts: dict[str, int], limit: int | None, initial: str = "") -> set[str]:
    occurrences: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            occurrences[character] += count
    occurrences.update(dict.fromkeys(initial, 10**30))
    limit = None if limit is None else max(limit, len(set(initial)))
    return set(sorted(occurrences, key=lambda character: (-occurrences[character], character))[:limit])


def pin_pieces(counts: dict[str, int], limit: int | None, initial: str = "", unused: int = 0) -> list[str]:
    kept = choose_kept(counts, limit, initial)
    later = {character for word in counts for character in word[1:]} & kept
    slots = [f"[unused{number}]" for number in range(unused)]
    return [*SPECIAL_TOKENS, *slots, *sorted(kept), *("##" + character for character in sorted(later))]


def list_pieces(tokenizer: Tokenizer) -> list[str]:
    ids = tokenizer.get_vocab()
    assert sorted(ids.values()) == list(range(len(ids)))
    return sorted(ids, key=ids.__getitem__)


def train_by_tokenizers(
    texts: Iterator[str], pinned: list[str], vocab_size: int, min_frequency: int, normalisation: Normalisation | None
) -> list[str]:
    tokenizer = Tokenizer(models.WordPiece({SPECIAL_TOKENS[1]: 0}, unk_token=SPECIAL_TOKENS[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if normalisation is not None:
        tokenizer.normalizer = normalisation.build_normalizer()
        tokenizer.pre_tokenizer = normalisation.build_pre_tokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        limit_alphabet=0,
        special_tokens=pinned,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return list_pieces(tokenizer)


def train_words_by_tokenizers(
    counts: dict[str, int], vocab_size: int, min_frequency: int, limit: int | None = None
) -> list[str]:
    texts = (" ".join([word] * count) for word, count in counts.items())
    return train_by_tokenizers(texts, pin_pieces(counts, limit), vocab_size, min_frequency, None)


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
    assert trained.pieces == train_words_by_tokenizers(counts, vocab_size, min_frequency, limit)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(hostile_texts, st.sampled_from(SENTENCES)), min_size=1, max_size=6),
    st.sampled_from(NORMALISATIONS),
    st.integers(0, 60),
    st.integers(0, 3),
    st.one_of(st.none(), st.integers(0, 30)),
    st.text("aeqE\u00e9\u4e2d\U0001d400.", max_size=4),
    st.integers(0, 3),
)
@example(["aba aba cab"], NORMALISATIONS[0], 20, 2, 1, "zQ", 0)
def test_raw_text_trains_to_the_peers_vocabulary_with_every_setting(
    texts: list[str],
    normalisation: Normalisation,
    room: int,
    min_frequency: int,
    limit: int | None,
    initial: str,
    unused: int,
) -> None:
    counts = count_by_tokenizers(texts, normalisation)
    pinned = pin_pieces(counts, limit, initial, unused)
    trained = train_wordpiece(
        as_table(counts),
        len(pinned) + room,
        min_frequency=min_frequency,
        limit_alphabet=limit,
        initial_alphabet=initial,
        unused=unused,
    )
    assert trained.pieces == train_by_tokenizers(iter(texts), pinned, len(pinned) + room, min_frequency, normalisation)


@settings(max_examples=200, deadline=None)
@given(corpora, st.text("aqE\u00e9\u4e2d", max_size=4), st.one_of(st.none(), st.integers(0, 8)))
def test_the_initial_alphabet_is_kept_first_as_the_peer_does(
    counts: dict[str, int], initial: str, limit: int | None
) -> None:
    occurrences: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            occurrences[character] += count
    others = sorted((number for character, number in occurrences.items() if character not in initial), reverse=True)
    room = len(others) if limit is None else limit - len(set(initial))
    if room < 0 or (0 < room < len(others) and others[room - 1] == others[room]):
        return  # here the peer keeps arbitrary ones
    tokenizer = Tokenizer(models.WordPiece({SPECIAL_TOKENS[1]: 0}, unk_token=SPECIAL_TOKENS[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=1000,
        **({} if limit is None else {"limit_alphabet": limit}),
        initial_alphabet=sorted(set(initial)),
        special_tokens=[SPECIAL_TOKENS[1]],
        show_progress=False,
    )
    tokenizer.train_from_iterator((" ".join([word] * count) for word, count in counts.items()), trainer)
    trained = train_wordpiece(as_table(counts), 1000, limit_alphabet=limit, initial_alphabet=initial)
    characters = [piece for piece in list_pieces(tokenizer) if len(piece) == 1]
    assert list(trained.characters_kept) == characters
    assert {piece for piece in trained.pieces if len(piece) == 3 and piece.startswith("##")} == {
        piece for piece in tokenizer.get_vocab() if len(piece) == 3 and piece.startswith("##")
    }


def test_an_initial_alphabet_above_the_limit_is_kept_whole() -> None:
    trained = train_wordpiece(as_table({"ab": 9}), 100, limit_alphabet=1, initial_alphabet="zyz")
    assert trained.pieces == [*SPECIAL_TOKENS, "y", "z"]
    assert (trained.characters_kept, trained.characters_cut) == ("yz", "ab")
    assert trained.character_occurrences_cut == 18


@pytest.mark.parametrize("seed", range(6))
def test_larger_corpora_of_words_that_share_parts_are_the_peers(seed: int) -> None:
    chooser = random.Random(seed)
    parts = ["".join(chooser.choices("abcdeo", k=chooser.randint(1, 3))) for _ in range(30)]
    counts = {"".join(chooser.choices(parts, k=chooser.randint(1, 6))): chooser.randint(1, 30) for _ in range(1500)}
    trained = train_wordpiece(as_table(counts), 1500)
    assert trained.pieces == train_words_by_tokenizers(counts, 1500, 2)


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


def test_counts_too_large_for_64_bits_are_refused_in_words() -> None:
    with pytest.raises(ConfigError, match="counted too often for 64 bits"):
        train_wordpiece(as_table({"abcd": 2**60, "b": 1}), 100)
    assert train_wordpiece(as_table({"abc": 2**60}), 100).character_occurrences == 3 * 2**60


def test_a_merge_that_spells_an_existing_piece_makes_no_id() -> None:
    # abc arises as ab + ##c and as a + ##bc.
    counts = {"abc": 5, "ab": 9, "xbc": 7, "abcq": 6}
    trained = train_wordpiece(as_table(counts), 100, min_frequency=1)
    assert len(set(trained.pieces)) == len(trained.pieces)
    assert trained.pieces == train_words_by_tokenizers(counts, 100, 1)


def test_rare_characters_are_dropped_and_counted() -> None:
    counts = {"azb": 3, "ab": 2, "za": 1, "q": 4}
    trained = train_wordpiece(as_table(counts), 100, min_frequency=5, limit_alphabet=2)
    # a 6, b 5, z 4, q 4 occurrences: z and q go, and azb is ab.
    assert trained.pieces == [*SPECIAL_TOKENS, "a", "b", "##a", "##b", "ab"]
    assert (trained.characters_kept, trained.characters_cut) == ("ab", "qz")
    assert (trained.character_occurrences, trained.character_occurrences_cut) == (19, 8)
    assert trained.num_words == 4


@pytest.mark.parametrize(
    ("unused", "multiple", "expected"),
    [
        (0, 1, ["a", "##a", "aa"]),
        (2, 1, ["[unused0]", "[unused1]", "a", "##a", "aa"]),
        (1, 8, ["[unused0]", "a", "##a"]),  # 8 pieces, and no room to merge
        (2, 8, ["[unused0]", "[unused1]", "a", "##a", "aa", *(f"[unused{number}]" for number in range(2, 8))]),
        (0, 10, ["a", "##a", "aa", "[unused0]", "[unused1]"]),
    ],
)
def test_unused_slots_follow_the_special_tokens_and_pad_the_end(
    unused: int, multiple: int, expected: list[str]
) -> None:
    vocab_size = 8 if (unused, multiple) == (1, 8) else 20
    trained = train_wordpiece(as_table({"aa": 4}), vocab_size, unused=unused, size_multiple=multiple)
    assert trained.pieces == [*SPECIAL_TOKENS, *expected]
    assert len(trained.pieces) % multiple == 0


def test_no_words_make_the_special_tokens_alone() -> None:
    trained = train_wordpiece(as_table({}), 100)
    assert trained.pieces == list(SPECIAL_TOKENS)


def test_a_vocabulary_too_small_for_the_alphabet_is_refused_with_sizes() -> None:
    with pytest.raises(ConfigError) as caught:
        train_wordpiece(as_table({"abc": 2}), 11, unused=2)
    assert "at least 12: 7 special and unused tokens and 5 pieces for 3 characters" in str(caught.value)
    assert "limit_alphabet" in str(caught.value)
    assert len(train_wordpiece(as_table({"abc": 2}), 12, unused=2).pieces) == 12


def test_sentences_train_to_the_peers_vocabulary() -> None:
    texts = SENTENCES * 3
    counts = count_by_tokenizers(texts, Normalisation())
    pinned = pin_pieces(counts, None)
    trained = train_wordpiece(as_table(counts), 150)
    assert trained.pieces == train_by_tokenizers(iter(texts), pinned, 150, 2, Normalisation())


def list_corpora() -> list[str]:
    folder = os.environ.get("MASKMILL_CORPORA")
    names = [path.name.removesuffix(".jsonl.zst") for path in Path(folder or "/nowhere").glob("*.jsonl.zst")]
    return sorted(names) or ["any"]


@pytest.mark.parametrize("name", list_corpora())
def test_every_corpus_trains_to_the_peers_vocabulary(name: str) -> None:
    texts, num_characters = [], 0
    for text in read_corpus(name, 2000):
        texts.append(text[: CORPUS_CHARACTERS - num_characters])
        num_characters += len(texts[-1])
        if num_characters >= CORPUS_CHARACTERS:
            break
    normalisation = Normalisation(lowercase="eltec" not in name)
    counts = count_by_tokenizers(texts, normalisation)
    initial, limit = "\u00df\u4e2d\u0967", 300  # below what Japanese, Korean and Chinese have
    pinned = pin_pieces(counts, limit, initial, 10)
    trained = train_wordpiece(as_table(counts), 12_000, limit_alphabet=limit, initial_alphabet=initial, unused=10)
    assert trained.pieces == train_by_tokenizers(iter(texts), pinned, 12_000, 2, normalisation)
