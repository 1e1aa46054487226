"""What masks of rows come to: rates, shares and words of units, counted over any number of rows.

All of it is counted in what the kernels selected. The papers say how long a unit is when it is drawn. Of what is
selected in the end some is shorter, at the end of a segment or of the budget, n-grams that would meet another are
dropped, and spans that meet are one unit. So units are counted twice: all that were selected, to be held against the
same rule in plain Python (`python_masks`), and of each row the first that was drawn, which nothing shortens, drops or
joins, to be held against the papers' shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from maskmill.pipeline.masking.hashing import split_row_key
from maskmill.pipeline.masking.mask_plan import MaskPlan
from maskmill.pipeline.masking.numba_masks import draw_row
from maskmill.pipeline.masking.plan_masks import plan_masks
from maskmill.pipeline.masking.scratch import POSITIONS, SCRATCH_ROWS, SHOWN, UNITS
from maskmill.pipeline.masking.strategies.span import SPANS
from maskmill.pipeline.masking.strategies.table import find_strategy
from maskmill.pipeline.masking.strategies.token import count_selected
from maskmill.pipeline.masking.strategies.weights import draw_key, find_weight
from maskmill.pipeline.masking.strategies.words import list_words
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.schemas.masking import Masking

MAX_WORDS = 64
"""Units of more words are counted with those of so many."""
_NEVER = np.uint32(2**32 - 1)
_SPANS = SPANS.selector


@dataclass(frozen=True)
class MaskStatistics:
    """Sums over masked rows.

    Attributes:
        rows: How many.
        maskable: Tokens that could be selected.
        selected: Tokens that were.
        masked: Of them, shown as [MASK].
        kept: Of them, shown as they are; random tokens that happen to be the true ones too.
        units: int64 (65,), how many selected units there are of each number of words; a word that is cut counts as
            one. Zeros for strategies of single tokens.
    """

    rows: int
    maskable: int
    selected: int
    masked: int
    kept: int
    units: NDArray[np.int64]

    @property
    def rate(self) -> float:
        """Share of the maskable tokens that was selected."""
        return self.selected / self.maskable


def count_masks(rows: NDArray[Any], epochs: int, masking: Masking, tables: MaskTables) -> MaskStatistics:
    """Mask rows (R, S) in each of so many epochs, and count what comes of it."""
    sums = np.zeros(4, np.int64)
    units = np.zeros(MAX_WORDS + 1, np.int64)
    has_units = find_strategy(masking).needs_words
    for epoch in range(epochs):
        _count(rows, has_units, plan_masks(masking, tables, epoch), sums, units)
    return MaskStatistics(len(rows) * epochs, *sums.tolist(), units)


def count_first_units(rows: NDArray[Any], epochs: int, masking: Masking, tables: MaskTables) -> NDArray[np.int64]:
    """Count the words of the first unit of each row, as the kernel selected it.

    Rows are left out where their ids, or the order in which words or tokens are tried, could make that unit another
    than the one drawn: where the longest unit would not fit into its segment or the budget, and for spans where another
    could begin so near that it may touch. None of this depends on the length that is drawn, so what is left has the
    lengths of the law. Of spans it is enough only at rates of a few percent, and in rows of hundreds of tokens.

    Args:
        rows: uint16 or uint32 (R, S).
        epochs: How often each row is masked.
        masking: With a strategy of words.
        tables: Of the vocabulary.

    Returns:
        int64 (65,), how many there are of each number of words.
    """
    longest = len(find_strategy(masking).list_length_shares(masking))
    units = np.zeros(MAX_WORDS + 1, np.int64)
    for epoch in range(epochs):
        _count_first(rows, longest, plan_masks(masking, tables, epoch), units)
    return units


def find_mean(units: NDArray[np.int64]) -> float:
    """Mean words of units that are counted by their words."""
    return float(units @ np.arange(len(units)) / units.sum())


@njit(cache=True, nogil=True)
def _count(rows: Any, has_units: bool, plan: MaskPlan, sums: Any, units: Any) -> None:
    scratch = np.empty((SCRATCH_ROWS, rows.shape[1]), np.uint32)
    starts, stops = np.empty(rows.shape[1], np.uint32), np.empty(rows.shape[1], np.uint32)
    for b in range(rows.shape[0]):
        row = rows[b]
        num_words, num_maskable = list_words(row, np.empty(0, np.bool_), plan.kinds, starts, stops)
        count = draw_row(row, np.empty(0, np.bool_), np.uint64(b), plan, scratch)
        sums[0] += num_maskable
        sums[1] += count
        for j in range(count):
            position = scratch[POSITIONS, j]
            shown = scratch[SHOWN, j]
            sums[2] += np.int64(shown == plan.mask_id)
            sums[3] += np.int64(shown == row[position])
        word, j = 0, 0
        while has_units and j < count:
            unit, words = scratch[UNITS, j], 0
            while j < count and scratch[UNITS, j] == unit:
                while word < num_words and starts[word] < scratch[POSITIONS, j]:
                    word += 1
                words += np.int64(word < num_words and starts[word] == scratch[POSITIONS, j])
                j += 1
            units[min(words, MAX_WORDS)] += 1


@njit(cache=True, nogil=True)
def _count_first(rows: Any, longest: int, plan: MaskPlan, units: Any) -> None:
    scratch = np.empty((SCRATCH_ROWS, rows.shape[1]), np.uint32)
    starts, stops = np.empty(rows.shape[1], np.uint32), np.empty(rows.shape[1], np.uint32)
    keys = np.empty(rows.shape[1], np.uint32)
    for b in range(rows.shape[0]):
        row = rows[b]
        num_words, num_maskable = list_words(row, np.empty(0, np.bool_), plan.kinds, starts, stops)
        budget = np.int64(count_selected(num_maskable, plan.rate_ppm))
        first = _order(row, np.uint64(b), plan, starts, stops, num_words, keys)
        if not _is_alone(first, longest, budget, plan, starts, stops, num_words, keys):
            continue
        count = draw_row(row, np.empty(0, np.bool_), np.uint64(b), plan, scratch)
        words = 0
        for j in range(count):
            if scratch[UNITS, j] == starts[first]:
                next_word = first + words
                words += np.int64(next_word < num_words and starts[next_word] == scratch[POSITIONS, j])
        units[min(words, MAX_WORDS)] += 1


@njit(cache=True, nogil=True)
def _order(row: Any, row_id: np.uint64, plan: MaskPlan, starts: Any, stops: Any, num_words: int, keys: Any) -> int:
    """Write the key of each token that may begin a unit; return the word that is tried first."""
    b0, b1 = split_row_key(plan.selection_key, row_id)
    keys[:] = _NEVER
    first, least = 0, _NEVER
    for word in range(num_words):
        heaviest = np.uint32(1)
        for i in range(starts[word], stops[word]):
            weight = find_weight(row[i], plan.weights)
            heaviest = max(heaviest, weight)
            if plan.selector == _SPANS:
                keys[i] = draw_key(b0, b1, np.uint32(i), weight)
        if plan.selector != _SPANS:
            keys[starts[word]] = draw_key(b0, b1, starts[word], heaviest)
        for i in range(starts[word], stops[word]):
            if keys[i] < least:
                first, least = word, keys[i]
    return first


@njit(cache=True, nogil=True)
def _is_alone(
    first: int, longest: int, budget: int, plan: MaskPlan, starts: Any, stops: Any, num_words: int, keys: Any
) -> bool:
    """Whether the first unit is as long as it is drawn and no other touches it, whatever lengths are drawn.

    Every token that is tried is selected afterwards, so no span begins at a token that is not among the first by their
    keys, as many as the budget.
    """
    if first + longest > num_words or stops[first + longest - 1] - starts[first] > budget:
        return False
    for word in range(first + 1, first + longest):
        if starts[word] != stops[word - 1]:
            return False
    if plan.selector != _SPANS:
        return True
    for word in range(max(0, first - longest), min(num_words, first + longest + 1)):
        for i in range(starts[word], stops[word]):
            if word != first and np.sum(keys < keys[i]) < budget:
                return False
    return True
