"""Measure how a tokenizer encodes the text of each source: by the words of a whole corpus, or by a sample of texts.

All ways count the same things and give the same numbers for the same text. A word is what the tokenizer's
pre-tokeniser makes one, an added token that it finds in raw text included; a word has the characters that the
normaliser leaves of it. Word counts know of no added tokens: by words, a special token's string is counted as text,
as it is when a vocabulary is trained.

`tokenizers` measures 1 MB of text in a second, most of it spent on reporting the place of each token. Where a
tokenizer is BERT's in all but its pieces and no added token can be found in the text, the words are counted first and
each is encoded once: 25 MB in a second.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit
from tokenizers import Encoding, Tokenizer, models

from maskmill.pipeline.wordpiece.counting.count_letters import LetterCounter
from maskmill.pipeline.wordpiece.counting.count_words import WordCounter
from maskmill.pipeline.wordpiece.counting.map_characters import CharacterMap
from maskmill.pipeline.wordpiece.counting.pack_words import view_strings
from maskmill.pipeline.wordpiece.counting.word_arrays import flatten_words, mark_first_rows
from maskmill.pipeline.wordpiece.counting.word_counts import SourceText, WordCounts
from maskmill.pipeline.wordpiece.encoding.load_encoders import SpecialInText, set_for_text
from maskmill.pipeline.wordpiece.files.check_tokenizer import read_normalisation
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.pipeline.wordpiece.vocabulary.match_pieces import PieceTrie, make_tokenizer_trie, match_words
from maskmill.schemas.counts import SourceReport
from maskmill.schemas.errors import ConfigError

_SUMS = ("words", "tokens", "unknown", "characters", "characters_unknown", "words_too_long", "characters_too_long")
_CHARACTERS_A_BATCH = 1 << 20  # bounds the Encoding objects alive: about 100 bytes a token
_SLICES_KEPT = 1 << 17
_NONE = np.zeros(0, np.int32)


@njit(cache=True, nogil=True)
def _add_rows(  # type: ignore[no-untyped-def]
    is_first, sources, counts, lengths, is_unknown, characters, max_characters, sums
):
    word = -1
    for row in range(len(counts)):
        word += is_first[row]
        line = sums[sources[row]]
        line[0] += counts[row]
        line[1] += counts[row] * lengths[word]
        line[3] += counts[row] * characters[word]
        if is_unknown[word]:
            line[2] += counts[row]
            line[4] += counts[row] * characters[word]
        if characters[word] > max_characters:
            line[5] += counts[row]
            line[6] += counts[row] * characters[word]


def measure_word_counts(tokenizer: Tokenizer, counts: WordCounts) -> tuple[SourceReport, ...]:
    """Measure a WordPiece tokenizer on a whole corpus, every distinct word encoded once.

    A piece of a partition of the words is in memory at a time.

    Args:
        tokenizer: As `build_tokenizer` or `load_tokenizer` returned it; it must normalise as the words were.
        counts: The word counts of the corpus.

    Returns:
        A report for each source, in the order of `counts.sources`.
    """
    trie = make_tokenizer_trie(tokenizer)
    sums = np.zeros((len(counts.sources), len(_SUMS)), np.int64)
    for rows in counts.iter_partitions():
        sources = [chunk.indices.to_numpy() for chunk in rows["source"].chunks]
        _add_words(trie, rows["word"], np.concatenate([_NONE, *sources]), rows["count"].to_numpy(), sums)
    return tuple(_report(source, line) for source, line in zip(counts.sources, sums, strict=True))


def _add_words(
    trie: PieceTrie,
    words: pa.ChunkedArray,
    sources: npt.NDArray[np.int32],
    counts: npt.NDArray[np.int64],
    sums: npt.NDArray[np.int64],
) -> None:
    """Add rows sorted by word to the sums of their sources (S, `_SUMS`)."""
    data, offsets = flatten_words(words)
    is_first = mark_first_rows(data, offsets)
    first = np.flatnonzero(is_first)
    matched = match_words(trie, data, offsets[first], offsets[first + 1])
    # Copies: written to or not is a part of a type for numba, which would compile once more.
    sources, counts = np.array(sources, np.int32), np.array(counts, np.int64)
    max_characters = trie.max_characters
    _add_rows(is_first, sources, counts, matched.lengths, matched.is_unknown, matched.characters, max_characters, sums)


def _report(text: SourceText, line: npt.NDArray[np.int64]) -> SourceReport:
    return SourceReport(
        source=text.source,
        text_bytes=text.text_bytes,
        letters=text.letters,
        letters_changed=text.letters_changed,
        words_changed=text.words_changed,
        **dict(zip(_SUMS, line.tolist(), strict=True)),
    )


def measure_texts(
    tokenizer: Tokenizer, texts: Mapping[str, Sequence[str]], special_in_text: SpecialInText = SpecialInText.TEXT
) -> tuple[SourceReport, ...]:
    """Measure any tokenizer of the `tokenizers` library on texts; by words where that is sure to be the same.

    Args:
        tokenizer: Any, trained here or elsewhere, WordPiece or not.
        texts: Those of each source.
        special_in_text: What a special token's string in raw text is.

    Returns:
        A report for each source, in the order of `texts`.
    """
    normalisation = _find_normalisation(tokenizer, texts, special_in_text)
    if normalisation is None:
        return measure_encodings(tokenizer, texts, special_in_text)
    trie = make_tokenizer_trie(tokenizer)
    counter = WordCounter(normalisation, num_sources=max(1, len(texts)))
    for number, documents in enumerate(texts.values()):
        counter.add(pa.array(documents, pa.large_string()), np.full(len(documents), number, np.int32))
    sums = np.zeros((len(texts), len(_SUMS)), np.int64)
    rows = counter.finish()
    _add_words(trie, rows["word"], rows["source"].to_numpy(), rows["count"].to_numpy(), sums)
    return tuple(
        _report(SourceText(source, size_bytes, 0, letters, changed, words_changed), line)
        for source, size_bytes, (letters, changed), words_changed, line in zip(
            texts,
            counter.text_bytes.tolist(),
            counter.letters.tolist(),
            counter.words_changed.tolist(),
            sums,
            strict=False,
        )
    )


def _find_normalisation(
    tokenizer: Tokenizer, texts: Mapping[str, Sequence[str]], special_in_text: SpecialInText
) -> Normalisation | None:
    """The normalisation, if counting words is enough for these texts; None if it is not BERT's alone."""
    if not isinstance(tokenizer.model, models.WordPiece):
        return None
    for token in tokenizer.get_added_tokens_decoder().values():
        if special_in_text is SpecialInText.TEXT and token.special:
            continue
        if token.normalized or any(token.content in text for documents in texts.values() for text in documents):
            return None
    return _read_normalisation(tokenizer)


def _read_normalisation(tokenizer: Tokenizer) -> Normalisation | None:
    try:
        return read_normalisation(tokenizer)
    except ConfigError:
        return None


def measure_encodings(
    tokenizer: Tokenizer, texts: Mapping[str, Sequence[str]], special_in_text: SpecialInText = SpecialInText.TEXT
) -> tuple[SourceReport, ...]:
    """Measure any tokenizer by what the `tokenizers` library says of each token; as `measure_texts`, but slowly."""
    law = set_for_text(Tokenizer.from_str(tokenizer.to_str()), special_in_text)
    return tuple(_measure_source(law, source, texts[source]) for source in texts)


def _measure_source(law: Tokenizer, source: str, texts: Sequence[str]) -> SourceReport:
    unknown_id = _find_unknown_id(law)
    normalizer = law.normalizer
    max_characters = law.model.max_input_chars_per_word if isinstance(law.model, models.WordPiece) else math.inf
    letters = LetterCounter(CharacterMap(_read_normalisation(law) or Normalisation()), 1)

    @lru_cache(_SLICES_KEPT)
    def count_characters(raw: str) -> int:
        # What surrounds an ideograph are spaces.
        return len("".join((normalizer.normalize_str(raw) if normalizer else raw).split()))

    @lru_cache(_SLICES_KEPT)
    def is_dropped(character: str) -> bool:
        return normalizer is not None and not normalizer.normalize_str(character)

    def count_stretch(text: str, stretch: tuple[int, int], starts: Collection[int]) -> int:
        return count_characters(_slice_whole(text, *stretch, starts, is_dropped))

    sums: Counter[str] = Counter()
    for batch in _iter_batches(texts):
        for text, encoding in zip(batch, law.encode_batch(batch, add_special_tokens=False), strict=True):
            ids: list[int] = encoding.ids
            offsets: list[tuple[int, int]] = encoding.offsets
            starts = {start for start, _ in offsets}
            words = list(_iter_words(encoding))
            unknown = [offsets[place] for place, number in enumerate(ids) if number == unknown_id]
            sums["words"] += len(words)
            sums["tokens"] += len(ids)
            sums["unknown"] += len(unknown)
            sums["characters"] += sum(count_stretch(text, stretch, starts) for stretch in words)
            lengths = [count_stretch(text, stretch, starts) for stretch in unknown]
            too_long = [length for length in lengths if length > max_characters]
            sums["characters_unknown"] += sum(lengths)
            sums["words_too_long"] += len(too_long)
            sums["characters_too_long"] += sum(too_long)
            sums["text_bytes"] += len(text.encode())
        data, starts_of_texts = view_strings(pa.array(batch, pa.large_string()))
        letters.add(data, starts_of_texts, np.zeros(len(batch), np.int32))
    num_letters, changed = letters.letters[0].tolist()
    described = SourceText(source, sums["text_bytes"], 0, num_letters, changed, int(letters.words_changed[0]))
    return _report(described, np.array([sums[name] for name in _SUMS], np.int64))


def _iter_batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    num_characters = 0
    for text in texts:
        batch.append(text)
        num_characters += len(text)
        if num_characters >= _CHARACTERS_A_BATCH:
            yield batch
            batch, num_characters = [], 0
    yield batch


def _iter_words(encoding: Encoding) -> Iterator[tuple[int, int]]:
    """The place of each word in the raw text."""
    for _, tokens in groupby(zip(encoding.word_ids, encoding.offsets, strict=True), key=lambda token: token[0]):
        stretches = [stretch for _, stretch in tokens]
        yield stretches[0][0], stretches[-1][1]


def _slice_whole(text: str, start: int, stop: int, starts: Collection[int], is_dropped: Callable[[str], bool]) -> str:
    """A stretch of raw text with all of its last letter's marks, and what the normaliser drops between them.

    Where the normaliser puts marks in another order, `tokenizers` 0.23 takes a stretch to end before the last of them.
    """
    while stop < len(text) and stop not in starts:
        if not unicodedata.category(text[stop]).startswith("M") and not is_dropped(text[stop]):
            break
        stop += 1
    return text[start:stop]


def _find_unknown_id(tokenizer: Tokenizer) -> int | None:
    """The id of the token for what the model cannot spell, if it has one."""
    model: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    if model.get("unk_token") is not None:
        found: int | None = tokenizer.token_to_id(model["unk_token"])
        return found
    return model.get("unk_id")
