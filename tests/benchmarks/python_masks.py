"""SpanBERT's and ALBERT's rules as a data loader in plain Python would follow them: for benchmarks and their tests."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain

import numpy as np
from numpy.typing import NDArray

Word = list[int]
Select = Callable[[list[list[Word]], int, random.Random], dict[int, int]]
"""Selects among segments of words of positions: each selected position, and a number of the unit that it belongs to."""

SPAN_WEIGHTS = [0.2 * 0.8**before for before in range(10)]
CLIPPED_WEIGHTS = [*SPAN_WEIGHTS[:9], 0.8**9]
"""Megatron's spans: longer ones become spans of ten words."""
NGRAM_WEIGHTS = [1 / n for n in range(1, 4)]
WORD_WEIGHTS = [1.0]
"""Whole words, as n-grams of one word."""


def select_spans(
    segments: list[list[Word]], budget: int, rng: random.Random, weights: list[float] = SPAN_WEIGHTS
) -> dict[int, int]:
    """Spans of words from random tokens on, until the budget is filled; each run of them is one unit."""
    lengths = range(1, len(weights) + 1)
    place_of = {p: (words, at) for words in segments for at, word in enumerate(words) for p in word}
    places = list(place_of)
    selected: set[int] = set()
    while len(selected) < budget:
        length = rng.choices(lengths, weights)[0]
        anchor = rng.choice(places)
        if anchor in selected:
            continue
        words, at = place_of[anchor]
        for position in chain(*words[at : at + length]):
            if len(selected) < budget:
                selected.add(position)
    unit_of: dict[int, int] = {}
    for position in sorted(selected):
        unit_of[position] = unit_of.get(position - 1, position)
    return unit_of


def select_ngrams(
    segments: list[list[Word]], budget: int, rng: random.Random, weights: list[float] = NGRAM_WEIGHTS
) -> dict[int, int]:
    """Words and the n-grams that they begin, shuffled; what exceeds the budget is shortened, then skipped."""
    lengths = range(1, len(weights) + 1)
    candidates = [words[at : at + len(weights)] for words in segments for at in range(len(words))]
    rng.shuffle(candidates)
    unit_of: dict[int, int] = {}
    for candidate in candidates:
        if len(unit_of) >= budget:
            break
        n = rng.choices(lengths, weights)[0]
        positions = list(chain(*candidate[:n]))
        while n > 1 and len(unit_of) + len(positions) > budget:
            n -= 1
            positions = list(chain(*candidate[:n]))
        if len(unit_of) + len(positions) <= budget and unit_of.keys().isdisjoint(positions):
            unit_of.update(dict.fromkeys(positions, positions[0]))
    return unit_of


def list_segments(ids: list[int], kinds: list[int]) -> list[list[Word]]:
    """Segments of words of positions in a row; `kinds` of ids as in `MaskTables`."""
    segments: list[list[Word]] = [[]]
    for position, token in enumerate(ids):
        if kinds[token] == 0:
            segments.append([])
        elif kinds[token] == 2 and segments[-1]:
            segments[-1][-1].append(position)
        else:
            segments[-1].append([position])
    return segments


def find_budget(segments: list[list[Word]]) -> int:
    """Tokens to select in a row at a rate of 0.15."""
    return max(1, round(0.15 * sum(len(word) for words in segments for word in words)))


def mask_row(
    ids: list[int], kinds: list[int], mask_id: int, select: Select, rng: random.Random
) -> tuple[list[int], ...]:
    """Mask a row at a rate of 0.15; `kinds` of ids as in `MaskTables`."""
    segments = list_segments(ids, kinds)
    shown, labels = list(ids), [-100] * len(ids)
    for position in select(segments, find_budget(segments), rng):
        labels[position] = ids[position]
        draw = rng.random()
        if draw < 0.8:
            shown[position] = mask_id
        elif draw < 0.9:
            shown[position] = rng.randrange(len(kinds) - 1)
    return shown, labels


def count_units(rows: Iterable[list[int]], kinds: list[int], select: Select, rng: random.Random) -> NDArray[np.int64]:
    """Select in each row at a rate of 0.15: int64 (65,), how many units there are of each number of words."""
    units = np.zeros(65, np.int64)
    for ids in rows:
        segments = list_segments(ids, kinds)
        unit_of = select(segments, find_budget(segments), rng)
        words_of = Counter(unit_of[word[0]] for words in segments for word in words if word[0] in unit_of)
        for words in words_of.values():
            units[min(words, 64)] += 1
    return units
