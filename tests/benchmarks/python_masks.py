"""SpanBERT's and ALBERT's rules as a data loader in plain Python would follow them: for the benchmark."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import chain

Word = list[int]
Select = Callable[[list[list[Word]], int, random.Random], set[int]]

SPAN_LENGTHS = list(range(1, 11))
SPAN_WEIGHTS = [0.2 * 0.8 ** (length - 1) for length in SPAN_LENGTHS]
NGRAMS = [1, 2, 3]
NGRAM_WEIGHTS = [1 / n for n in NGRAMS]


def select_spans(segments: list[list[Word]], budget: int, rng: random.Random) -> set[int]:
    """Spans of words from random tokens on, until the budget is filled."""
    place_of = {p: (words, at) for words in segments for at, word in enumerate(words) for p in word}
    places = list(place_of)
    selected: set[int] = set()
    while len(selected) < budget:
        length = rng.choices(SPAN_LENGTHS, SPAN_WEIGHTS)[0]
        anchor = rng.choice(places)
        if anchor in selected:
            continue
        words, at = place_of[anchor]
        for position in chain(*words[at : at + length]):
            if len(selected) < budget:
                selected.add(position)
    return selected


def select_ngrams(segments: list[list[Word]], budget: int, rng: random.Random) -> set[int]:
    """Words and the n-grams that they begin, shuffled; what exceeds the budget is shortened, then skipped."""
    candidates = [words[at : at + NGRAMS[-1]] for words in segments for at in range(len(words))]
    rng.shuffle(candidates)
    selected: set[int] = set()
    for candidate in candidates:
        if len(selected) >= budget:
            break
        n = rng.choices(NGRAMS, NGRAM_WEIGHTS)[0]
        positions = list(chain(*candidate[:n]))
        while n > 1 and len(selected) + len(positions) > budget:
            n -= 1
            positions = list(chain(*candidate[:n]))
        if len(selected) + len(positions) <= budget and selected.isdisjoint(positions):
            selected.update(positions)
    return selected


def mask_row(
    ids: list[int], kinds: list[int], mask_id: int, select: Select, rng: random.Random
) -> tuple[list[int], ...]:
    """Mask a row at a rate of 0.15; `kinds` of ids as in `MaskTables`."""
    segments: list[list[Word]] = [[]]
    for position, token in enumerate(ids):
        if kinds[token] == 0:
            segments.append([])
        elif kinds[token] == 2 and segments[-1]:
            segments[-1][-1].append(position)
        else:
            segments[-1].append([position])
    budget = max(1, round(0.15 * sum(len(word) for words in segments for word in words)))
    shown, labels = list(ids), [-100] * len(ids)
    for position in select(segments, budget, rng):
        labels[position] = ids[position]
        draw = rng.random()
        if draw < 0.8:
            shown[position] = mask_id
        elif draw < 0.9:
            shown[position] = rng.randrange(len(kinds) - 1)
    return shown, labels
