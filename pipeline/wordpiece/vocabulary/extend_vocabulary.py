"""Extend a vocabulary to a new domain: all its ids stay, and the most useful new pieces are trained from counts.

It follows Purason, Chizhov, Yamshchikov and Fishel 2025, "Teaching Old Tokenizers New Words" (arXiv 2512.03989),
who continue BPE training from the tokenizer that there is. Training a second tokenizer on the domain and appending
what is new in it, as is common, gives many pieces that are never reached; theirs grow out of how the old tokenizer
cuts the words. Here it is WordPiece, which differs in three things:

- There are no merges to go on from. The domain's words are encoded as WordPiece does it, longest piece first, and
  neighbouring pieces are merged by count, by the rules of training. The result encodes longest piece first too, so a
  rare word may take a piece more than before where a new piece reaches into an old one, and some new pieces serve
  only as parts of longer ones: of 900 that 3 MB of novels, of technical English and of Russian gave BERT's English
  vocabulary, 88, 84 and 95 % are used. What is counted says what came of it.
- A word with a character that the vocabulary lacks is [UNK] as a whole, so missing characters come first.
- BERT's `[unusedN]` ids may be filled, so that a model's embedding table keeps its size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit
from tokenizers import Tokenizer

from maskmill.pipeline.wordpiece.counting.word_arrays import flatten_words
from maskmill.pipeline.wordpiece.vocabulary.choose_alphabet import decode_words
from maskmill.pipeline.wordpiece.vocabulary.match_pieces import PREFIX, MatchedWords, make_trie, match_words
from maskmill.pipeline.wordpiece.vocabulary.merge_pieces import merge_pieces
from maskmill.schemas.errors import ConfigError

_NUM_CODE_POINTS = 0x110000
_UNUSED = re.compile(r"\[unused\d+\]")


@dataclass(frozen=True)
class Extension:
    """The pieces of an extension, and its effect on the domain's words."""

    pieces: list[str]
    """The new pieces: characters, the most frequent first, then merges in the order made."""
    num_characters: int
    """How many of them are characters."""
    num_words: int
    """Distinct words of the domain."""
    tokens_before: int
    """Tokens of all words, each as often as it is counted; 1 for an unknown one."""
    tokens_after: int
    """The same with the new pieces."""
    unknown_before: int
    """How often unknown words occur."""
    unknown_after: int
    """The same with the new pieces."""


@njit(cache=True, nogil=True)
def _count_places(codes, lengths, weights, first, later):  # type: ignore[no-untyped-def]
    index = 0
    for word in range(len(lengths)):
        for place in range(lengths[word]):
            if place == 0:
                first[codes[index]] += weights[word]
            else:
                later[codes[index]] += weights[word]
            index += 1


class _Words:
    """The domain's words and how a vocabulary encodes them."""

    def __init__(self, words: pa.Table, unknown_id: int, max_characters: int) -> None:
        self.column = words["word"]
        self.counts: npt.NDArray[np.int64] = np.ascontiguousarray(words["count"].to_numpy(), np.int64)
        self._data, self._offsets = flatten_words(self.column)
        self._unknown_id = unknown_id
        self._max_characters = max_characters

    def match(self, vocabulary: Mapping[str, int]) -> MatchedWords:
        trie = make_trie(vocabulary, self._unknown_id, self._max_characters)
        return match_words(trie, self._data, self._offsets[:-1], self._offsets[1:])

    def find_missing(self, matched: MatchedWords, pieces: Collection[str], min_frequency: int) -> list[str]:
        """Characters, as pieces, that unknown words have and `pieces` lack: most frequent first, then code point."""
        chosen = matched.is_unknown & (matched.characters <= self._max_characters)
        codes, lengths = decode_words(*flatten_words(self.column.filter(pa.array(chosen))))
        counts = np.zeros((2, _NUM_CODE_POINTS), np.int64)
        _count_places(codes, lengths, self.counts[chosen], counts[0], counts[1])
        found = [
            (-int(counts[is_later, code]), is_later, code, (PREFIX if is_later else "") + chr(code))
            for is_later in (0, 1)
            for code in np.flatnonzero(counts[is_later] >= min_frequency).tolist()
        ]
        return [piece for *_, piece in sorted(found) if piece not in pieces]

    def count_tokens(self, matched: MatchedWords) -> tuple[int, int]:
        """Tokens of all words, and how many are unknown."""
        return int((self.counts * matched.lengths).sum()), int(self.counts[matched.is_unknown].sum())


def extend_vocabulary(
    vocabulary: Mapping[str, int],
    words: pa.Table,
    num_pieces: int,
    *,
    unknown_id: int,
    max_characters: int,
    reserved: Collection[str] = (),
    min_frequency: int = 2,
    limit_alphabet: int | None = None,
) -> Extension:
    """Find the most useful new pieces for a domain.

    First the characters that make words [UNK], each as the piece that is missing, `c` or `##c`: those that occur
    in such words most often. Then pairs of pieces that are adjacent in the words as they are encoded now,
    merged as in training until there are enough.

    Args:
        vocabulary: The id of each piece that the model has; later pieces begin with `##`.
        words: Columns word and count, each word once: the domain's, normalised as this tokenizer does it.
        num_pieces: How many to find; fewer where nothing is frequent enough.
        unknown_id: Of [UNK].
        max_characters: A word with more stays [UNK].
        reserved: Strings that are no new pieces although the vocabulary lacks them, such as added tokens.
        min_frequency: The lowest count of a new piece.
        limit_alphabet: Characters to add at most, `c` and `##c` being two. None: all.

    Returns:
        The new pieces and what they do.
    """
    domain = _Words(words, unknown_id, max_characters)
    before = domain.match(vocabulary)
    taken = [*sorted(vocabulary, key=vocabulary.__getitem__), *sorted(set(reserved) - vocabulary.keys())]
    missing = domain.find_missing(before, set(taken), max(1, min_frequency))
    characters = missing[: num_pieces if limit_alphabet is None else min(num_pieces, limit_alphabet)]
    pieces = [*taken, *characters]
    numbers = {piece: number for number, piece in enumerate(pieces)}

    known = domain.match({piece: numbers[piece] for piece in (*vocabulary, *characters)})
    chosen = ~known.is_unknown & (known.lengths > 1)
    symbols = known.ids[np.repeat(chosen, known.lengths)]
    lengths = known.lengths[chosen]
    wanted = len(taken) + num_pieces
    merged, _ = merge_pieces(symbols, lengths, domain.counts[chosen], pieces, wanted, max(1, min_frequency))
    new = merged[len(taken) :]

    after = domain.match({**vocabulary, **{piece: len(taken) + number for number, piece in enumerate(new)}})
    tokens_before, unknown_before = domain.count_tokens(before)
    tokens_after, unknown_after = domain.count_tokens(after)
    return Extension(new, len(characters), len(words), tokens_before, tokens_after, unknown_before, unknown_after)


def extend_tokenizer(
    tokenizer: Tokenizer,
    words: pa.Table,
    num_pieces: int,
    into: Literal["unused", "append"],
    *,
    min_frequency: int = 2,
    limit_alphabet: int | None = None,
) -> tuple[Tokenizer, Extension]:
    """A tokenizer with new pieces for a domain; every id keeps its piece, but for the `[unusedN]` that are filled.

    Args:
        tokenizer: As `load_tokenizer` returned it.
        words: As for `extend_vocabulary`.
        num_pieces: How many pieces to add.
        into: Into its `[unusedN]`, the lowest id first, or behind the last id.
        min_frequency: As for `extend_vocabulary`.
        limit_alphabet: As for `extend_vocabulary`.

    Raises:
        ConfigError: There are fewer `[unusedN]` than pieces to add, or later pieces of a word have another prefix.
    """
    model = tokenizer.model
    if model.continuing_subword_prefix != PREFIX:
        raise ConfigError(
            "the vocabulary marks later pieces of a word in another way",
            path="tokenizer.extend",
            expected=PREFIX,
            found=repr(model.continuing_subword_prefix),
            action="bring a vocabulary with BERT's prefix",
        )
    vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=False)
    whole: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    if into == "unused":
        free = [piece for piece in vocabulary if _UNUSED.fullmatch(piece) and piece not in added]
        free.sort(key=vocabulary.__getitem__)
        if len(free) < num_pieces:
            raise ConfigError(
                "the vocabulary has too few [unusedN]",
                path="tokenizer.extend",
                expected=f"at most {len(free)}",
                found=str(num_pieces),
                action='lower tokenizer.extend, or set tokenizer.extend_into = "append"',
            )
    else:
        # `tokenizers` numbers an added token that the model lacks from the number of the model's pieces on, so those
        # of ids that must stay are among them.
        free, vocabulary = [], whole
    extension = extend_vocabulary(
        vocabulary,
        words,
        num_pieces,
        unknown_id=whole[model.unk_token],
        max_characters=model.max_input_chars_per_word,
        reserved=whole.keys(),
        min_frequency=min_frequency,
        limit_alphabet=limit_alphabet,
    )
    pieces = dict(vocabulary)
    for number, piece in enumerate(extension.pieces):
        pieces[piece] = pieces.pop(free[number]) if into == "unused" else len(whole) + number
    description: dict[str, Any] = json.loads(tokenizer.to_str())
    description["model"]["vocab"] = dict(sorted(pieces.items(), key=lambda item: item[1]))
    return Tokenizer.from_str(json.dumps(description)), extension
