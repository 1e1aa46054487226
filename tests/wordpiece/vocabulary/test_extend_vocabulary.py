"""An extension keeps every id, adds what a trainer by brute force would add, and what it adds is used."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import pairwise
from typing import Any, Literal

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers

from maskmill.pipeline.wordpiece.files.check_tokenizer import read_normalisation
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.pipeline.wordpiece.files.tokenizer_files import build_tokenizer, load_tokenizer, tokenizer_files
from maskmill.pipeline.wordpiece.vocabulary.extend_vocabulary import Extension, extend_tokenizer, extend_vocabulary
from maskmill.pipeline.wordpiece.vocabulary.train import train_wordpiece
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.tokenizer.tokenizer_file import SPECIAL_TOKENS
from tests.wordpiece.count_files import as_table, count_by_tokenizers
from tests.wordpiece.texts import SENTENCES

MAX_CHARACTERS = 8
UNCASED = Normalisation()


def encode_by_hand(word: str, vocabulary: dict[str, int]) -> list[str] | None:
    pieces: list[str] = []
    start = 0
    while start < len(word):
        prefix = "##" if start else ""
        stops = [stop for stop in range(len(word), start, -1) if prefix + word[start:stop] in vocabulary]
        if not stops:
            return None
        pieces.append(prefix + word[start : stops[0]])
        start = stops[0]
    return pieces if len(word) <= MAX_CHARACTERS else None


def find_missing_by_hand(vocabulary: dict[str, int], counts: dict[str, int], min_frequency: int) -> list[str]:
    missing: Counter[str] = Counter()
    for word, count in counts.items():
        if len(word) <= MAX_CHARACTERS and encode_by_hand(word, vocabulary) is None:
            for place, character in enumerate(word):
                missing["##" * (place > 0) + character] += count
    ranked = sorted(missing, key=lambda piece: (-missing[piece], len(piece) > 1, piece[-1]))
    return [piece for piece in ranked if piece not in vocabulary and missing[piece] >= max(1, min_frequency)]


def extend_by_hand(
    vocabulary: dict[str, int], counts: dict[str, int], num_pieces: int, min_frequency: int, limit: int | None
) -> list[str]:
    """Every pair counted anew for every merge. Gives up where the rules of training say more than this."""
    new = find_missing_by_hand(vocabulary, counts, min_frequency)
    new = new[: min(num_pieces, num_pieces if limit is None else limit)]
    ids = {**vocabulary, **{piece: len(vocabulary) + number for number, piece in enumerate(new)}}
    words = [(pieces, count) for word, count in counts.items() if (pieces := encode_by_hand(word, ids))]
    while len(new) < num_pieces:
        pairs: Counter[tuple[str, str]] = Counter()
        for pieces, count in words:
            for pair in pairwise(pieces):
                pairs[pair] += count
        assume(all(left != right for left, right in pairs))  # overlapping pairs
        best = min(pairs, key=lambda pair: (-pairs[pair], ids[pair[0]], ids[pair[1]]), default=None)
        if best is None or pairs[best] < max(1, min_frequency):
            break
        merged = best[0] + best[1][2:]
        assume(merged not in ids)  # spelt in two ways
        ids[merged] = len(ids)
        new.append(merged)
        for pieces, _ in words:
            for place in range(len(pieces) - 2, -1, -1):
                if (pieces[place], pieces[place + 1]) == best:
                    pieces[place : place + 2] = [merged]
    return new


letters = "abcd\u00e9\u4e2d"
counted = st.dictionaries(st.text(letters, min_size=1, max_size=9), st.integers(1, 9), min_size=1, max_size=10)


@settings(max_examples=400, deadline=None)
@given(
    counted,
    st.lists(st.sampled_from([*letters, *("##" + letter for letter in letters)]), max_size=10),
    st.lists(st.text(letters, min_size=2, max_size=3), max_size=4),
    st.integers(0, 12),
    st.integers(0, 4),
    st.one_of(st.none(), st.integers(1, 3)),
)
@example({"ab": 3, "abcdabcda": 9}, ["a"], [], 5, 2, None)
@example({"abc": 3, "bc": 2, "abd": 5}, [*"abcd", "##b", "##c", "##d"], [], 3, 1, None)
def test_new_pieces_are_those_of_brute_force(
    counts: dict[str, int],
    characters: list[str],
    longer: list[str],
    num_pieces: int,
    min_frequency: int,
    limit: int | None,
) -> None:
    pieces = [*SPECIAL_TOKENS, *characters, *longer, *("##" + piece for piece in longer[:2])]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    extension = extend_vocabulary(
        vocabulary,
        as_table(counts),
        num_pieces,
        unknown_id=1,
        max_characters=MAX_CHARACTERS,
        min_frequency=min_frequency,
        limit_alphabet=limit,
    )
    assert extension.pieces == extend_by_hand(vocabulary, counts, num_pieces, min_frequency, limit)
    assert extension.num_characters == sum(len(piece.removeprefix("##")) == 1 for piece in extension.pieces)
    whole = {**vocabulary, **{piece: len(vocabulary) + place for place, piece in enumerate(extension.pieces)}}
    for ids, tokens, unknown in (
        (vocabulary, extension.tokens_before, extension.unknown_before),
        (whole, extension.tokens_after, extension.unknown_after),
    ):
        encoded = {word: encode_by_hand(word, ids) for word in counts}
        assert tokens == sum(count * len(encoded[word] or "?") for word, count in counts.items())
        assert unknown == sum(count for word, count in counts.items() if encoded[word] is None)


def make_domain(seed: int) -> dict[str, int]:
    """Words of a domain: stems and endings, some far more frequent than others."""
    chooser = random.Random(seed)
    stems = ["".join(chooser.choices("bdfglmnprst", k=2)) + chooser.choice("aeiou") for _ in range(12)]
    words = ["".join(chooser.choices(stems, k=chooser.randint(1, 3))) + chooser.choice(["", "s"]) for _ in range(300)]
    return {word: 1 + 2000 // (1 + place) for place, word in enumerate(dict.fromkeys(words))}


def make_brought(num_unused: int = 40) -> Tokenizer:
    """A tokenizer as a user brings it: trained elsewhere, with unused slots and added tokens behind its pieces."""
    counts = count_by_tokenizers(SENTENCES * 3, UNCASED)
    trained = train_wordpiece(as_table(counts), 160 + num_unused, unused=num_unused, initial_alphabet="abdefgilmnprstu")
    tokenizer = build_tokenizer(trained.pieces, UNCASED)
    tokenizer.add_special_tokens(["<eot>", "[unused3]"])
    tokenizer.add_tokens(["two words", "mash"])
    return load_tokenizer(tokenizer.to_str().encode(), UNCASED)


def without_vocabulary(tokenizer: Tokenizer) -> dict[str, Any]:
    description: dict[str, Any] = json.loads(tokenizer.to_str())
    description["model"].pop("vocab")
    return description


Into = Literal["unused", "append"]


@pytest.mark.parametrize("into", ["unused", "append"])
@pytest.mark.parametrize("num_pieces", [0, 1, 30])
def test_every_id_and_all_else_in_the_file_stay(into: Into, num_pieces: int) -> None:
    brought = make_brought()
    before = brought.get_vocab()
    extended, extension = extend_tokenizer(brought, as_table(make_domain(0)), num_pieces, into)
    after = extended.get_vocab()
    assert len(extension.pieces) == num_pieces
    assert without_vocabulary(extended) == without_vocabulary(brought)
    assert sorted(after.values()) == list(range(len(after)))
    slots = [before[f"[unused{number}]"] for number in range(40) if number != 3]
    first = len(before)
    expected = slots[:num_pieces] if into == "unused" else [*range(first, first + num_pieces)]
    assert [after[piece] for piece in extension.pieces] == expected
    pieces = {number: piece for piece, number in before.items()}
    filled = expected if into == "unused" else []
    assert {after[piece] for piece in before if piece in after} == set(pieces) - set(filled)
    assert all(after[piece] == number for piece, number in before.items() if number not in filled)
    assert extended.get_added_tokens_decoder().keys() == brought.get_added_tokens_decoder().keys()
    again = load_tokenizer(tokenizer_files(extended), UNCASED)
    assert again.get_vocab() == after
    text = "two words <eot> mash [MASK] the fox"
    assert again.encode(text).tokens == brought.encode(text).tokens


@pytest.mark.parametrize("into", ["unused", "append"])
@pytest.mark.parametrize("seed", range(5))
def test_new_pieces_are_used_and_no_word_gets_longer_on_the_whole(into: Into, seed: int) -> None:
    counts = make_domain(seed)
    brought = make_brought()
    extended, extension = extend_tokenizer(brought, as_table(counts), 30, into)

    def count_tokens(tokenizer: Tokenizer) -> Counter[str]:
        tokens: Counter[str] = Counter()
        for word, count in counts.items():
            for token in tokenizer.encode(word, add_special_tokens=False).tokens:
                tokens[token] += count
        return tokens

    before, after = count_tokens(brought), count_tokens(extended)
    assert (before.total(), after.total()) == (extension.tokens_before, extension.tokens_after)
    assert after.total() < 0.8 * before.total()
    assert sum(after[piece] >= 2 for piece in extension.pieces) >= 24  # the others are parts of longer new ones


def test_characters_that_make_words_unknown_come_first_and_only_those() -> None:
    vocabulary = {piece: number for number, piece in enumerate([*SPECIAL_TOKENS, "a", "##a", "xyz"])}
    # xyz is known without its characters; q is missing first, z later; a word of 9 characters stays unknown.
    counts = {"xyz": 50, "qa": 3, "aq": 2, "az": 9, "r": 1, "ssssssssa": 70}
    extension = extend_vocabulary(vocabulary, as_table(counts), 9, unknown_id=1, max_characters=MAX_CHARACTERS)
    assert extension.pieces == ["##z", "q", "##q", "az", "qa", "aq"]
    assert (extension.num_characters, extension.num_words) == (3, 6)
    assert (extension.unknown_before, extension.unknown_after) == (3 + 2 + 9 + 1 + 70, 1 + 70)
    fewer = extend_vocabulary(
        vocabulary, as_table(counts), 9, unknown_id=1, max_characters=MAX_CHARACTERS, limit_alphabet=1
    )
    assert fewer.pieces == ["##z", "az"]


def test_an_added_token_is_no_new_piece() -> None:
    tokenizer = build_tokenizer([*SPECIAL_TOKENS, "a", "##b", "[unused0]", "[unused1]"], UNCASED)
    tokenizer.add_tokens(["ab", "c"])
    extended, extension = extend_tokenizer(tokenizer, as_table({"ab": 5, "c": 9, "abb": 3}), 2, "unused")
    assert extension.pieces == ["abb"]
    assert extended.get_vocab()["ab"] == tokenizer.get_vocab()["ab"] == 9


def test_too_few_slots_are_refused_in_words() -> None:
    with pytest.raises(ConfigError, match=r"too few \[unusedN\].*at most 39.*found 40.*append"):
        extend_tokenizer(make_brought(), as_table({"a": 2}), 40, "unused")
    assert extend_tokenizer(make_brought(), as_table({"a": 2}), 39, "unused")[1] == Extension([], 0, 1, 2, 2, 0, 0)


def test_what_cannot_be_extended_is_refused_in_words() -> None:
    description = json.loads(make_brought().to_str())
    description["model"]["continuing_subword_prefix"] = "@@"
    with pytest.raises(ConfigError, match="expected ##; found '@@'"):
        extend_tokenizer(Tokenizer.from_str(json.dumps(description)), as_table({"a": 2}), 1, "append")
    other = make_brought()
    other.normalizer = normalizers.NFKC()
    with pytest.raises(ConfigError, match="found NFKC, None, BertPreTokenizer"):
        read_normalisation(other)


@pytest.mark.parametrize("normalisation", [Normalisation(), Normalisation(False, True, False)])
def test_the_normalisation_of_a_brought_tokenizer_is_read_off(normalisation: Normalisation) -> None:
    assert read_normalisation(build_tokenizer([*SPECIAL_TOKENS, "a"], normalisation)) == normalisation
