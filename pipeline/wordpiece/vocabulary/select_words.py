"""Choose the words that a vocabulary is trained on: weighted by source, none too long, the most frequent ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from maskmill.pipeline.wordpiece.counting.word_arrays import flatten_words, mark_first_rows
from maskmill.pipeline.wordpiece.counting.word_counts import WordCounts
from maskmill.pipeline.wordpiece.vocabulary.weigh_sources import WEIGHT_BITS

_PREFIX_BYTES = 8
_SLACK_SHARE = 8  # words over the limit, as its part, that are held before they are cut
_WORDS = pa.schema([("word", pa.large_string()), ("count", pa.int64()), ("occurrences", pa.int64())])


@dataclass(frozen=True)
class SelectedWords:
    """The words that a vocabulary is trained on, and what was cut."""

    words: pa.Table
    """word (large_string) and count (int64, weighted), each word once; in no order that means anything."""
    num_distinct: int
    """Distinct words of the corpus."""
    num_occurrences: int
    """How often they occur, unweighted."""
    words_too_long: int
    """Distinct words that have too many characters for the encoder."""
    word_occurrences_too_long: int
    """How often those occur, unweighted."""
    words_cut: int
    """Distinct words of the rest that were cut."""
    word_occurrences_cut: int
    """How often those occur, unweighted."""


@njit(cache=True, nogil=True)
def _sum_weighted(is_first, sources, counts, weights, weighted, occurrences):  # type: ignore[no-untyped-def]
    """Sum each word's rows; the low and the high bits of the weights apart, as their product may need 80 bits."""
    mask = (1 << WEIGHT_BITS) - 1
    word = -1
    whole = parts = np.int64(0)
    for row in range(len(counts)):
        if is_first[row]:
            word += 1
            whole = parts = np.int64(0)
            occurrences[word] = 0
        weight = weights[sources[row]]
        whole += counts[row] * (weight >> WEIGHT_BITS)
        parts += counts[row] * (weight & mask)
        occurrences[word] += counts[row]
        weighted[word] = whole + ((parts + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS)


def _sum_sources(rows: pa.Table, weights: npt.NDArray[np.int64]) -> pa.Table:
    """One row a word of a partition: its weighted count, rounded to the nearest, and how often it occurs."""
    data, offsets = flatten_words(rows["word"])
    is_first = mark_first_rows(data, offsets)
    num_words = int(is_first.sum())
    sources = np.concatenate([np.zeros(0, np.int32), *(chunk.indices.to_numpy() for chunk in rows["source"].chunks)])
    counts = np.array(rows["count"].to_numpy())  # a copy, which numba may be sure of
    weighted, occurrences = np.empty(num_words, np.int64), np.empty(num_words, np.int64)
    _sum_weighted(is_first, sources, counts, weights, weighted, occurrences)
    words = rows["word"].cast(pa.large_string())
    if num_words < rows.num_rows:
        words = words.filter(pa.array(is_first))
    return pa.table([words, weighted, occurrences], schema=_WORDS)


@njit(cache=True, nogil=True)
def _read_prefixes(data, offsets, prefixes):  # type: ignore[no-untyped-def]
    for word in range(len(prefixes)):
        prefix = np.uint64(0)
        for place in range(offsets[word], offsets[word] + _PREFIX_BYTES):
            prefix <<= np.uint64(8)
            if place < offsets[word + 1]:
                prefix |= np.uint64(data[place])
        prefixes[word] = prefix


def _mark_first_words(words: pa.ChunkedArray, number: int) -> npt.NDArray[np.bool_]:
    """Mark the `number` words that sort first by their bytes, of which there are more, at least one wanted."""
    # By their first 8 bytes as a number, and only where these are equal by all bytes: sorting ten million strings
    # takes many times as long.
    data, offsets = flatten_words(words)
    prefixes = np.empty(len(words), np.uint64)
    _read_prefixes(data, offsets, prefixes)
    border = np.partition(prefixes, number - 1)[number - 1]
    is_chosen: npt.NDArray[np.bool_] = prefixes < border
    equal = np.flatnonzero(prefixes == border)
    order = pc.array_sort_indices(words.take(pa.array(equal)).combine_chunks().cast(pa.large_binary())).to_numpy()
    is_chosen[equal[order[: number - int(is_chosen.sum())]]] = True
    return is_chosen


def _keep_most_frequent(blocks: list[pa.Table], max_words: int) -> tuple[list[pa.Table], int]:
    """The blocks without all but `max_words` words, of which there are more, and the lowest count that is left."""
    counts = np.concatenate([block["count"].to_numpy() for block in blocks])
    lowest = int(np.partition(counts, len(counts) - max_words)[len(counts) - max_words])
    is_kept = counts > lowest
    ties = np.flatnonzero(counts == lowest)
    tied_words = pa.chunked_array(
        [chunk for block in blocks for chunk in block.filter(pc.equal(block["count"], lowest))["word"].chunks],
        pa.large_string(),
    )
    wanted = max_words - int(is_kept.sum())
    is_kept[ties[_mark_first_words(tied_words, wanted)] if wanted < len(ties) else ties] = True
    start = 0
    for number, block in enumerate(blocks):
        blocks[number] = block.filter(pa.array(is_kept[start : start + block.num_rows]))
        start += block.num_rows
    return blocks, lowest


def select_words(
    counts: WordCounts,
    max_words: int | None,
    source_weights: npt.NDArray[np.int64],
    max_characters: int | None = None,
) -> SelectedWords:
    """Read the word counts, weigh them and keep the `max_words` most frequent words.

    A word that the encoder takes for [UNK] because of its length is left out first: what is merged in it would fill
    the vocabulary and never be used.

    A word counts sum_s(count_s * weight_s) / 2^16 over its sources s, rounded to the nearest. Of words with equal
    counts those that sort first by their UTF-8 bytes, which is by code point, are kept. What is chosen does not
    depend on how the words are partitioned. In memory are at most `max_words` words, an eighth more, and a piece
    of a partition.

    Args:
        counts: The word counts.
        max_words: Distinct words to keep at most. None: all.
        source_weights: Of `counts.sources`, in their order, int64 (S,), as `weigh_sources` gives them.
        max_characters: A word with more is left out. None: none is.

    Returns:
        The words and what was cut.
    """
    blocks: list[pa.Table] = []
    num_distinct = num_occurrences = 0
    words_too_long = occurrences_too_long = 0
    lowest = 0
    for rows in counts.iter_partitions():
        block = _sum_sources(rows, source_weights)
        num_distinct += block.num_rows
        num_occurrences += int(block["occurrences"].to_numpy().sum())
        if max_characters is not None:
            is_too_long = pc.greater(pc.utf8_length(block["word"]), max_characters)
            too_long, block = block.filter(is_too_long), block.filter(pc.invert(is_too_long))
            words_too_long += too_long.num_rows
            occurrences_too_long += int(too_long["occurrences"].to_numpy().sum())
        if lowest:  # rarer words are out already: so many others are more frequent
            block = block.filter(pc.greater_equal(block["count"], lowest))
        blocks.append(block)
        if max_words is not None and sum(len(block) for block in blocks) > max_words + max_words // _SLACK_SHARE:
            blocks, lowest = _keep_most_frequent(blocks, max_words)
    if max_words is not None and sum(len(block) for block in blocks) > max_words:
        blocks, lowest = _keep_most_frequent(blocks, max_words)
    words = pa.concat_tables([_WORDS.empty_table(), *blocks])
    occurrences = sum(int(chunk.to_numpy().sum()) for chunk in words["occurrences"].chunks)
    return SelectedWords(
        words=words.select(["word", "count"]),
        num_distinct=num_distinct,
        num_occurrences=num_occurrences,
        words_too_long=words_too_long,
        word_occurrences_too_long=occurrences_too_long,
        words_cut=num_distinct - words_too_long - words.num_rows,
        word_occurrences_cut=num_occurrences - occurrences_too_long - occurrences,
    )
