"""Runs of whole words: SpanBERT's spans (arXiv 1907.10529, section 3.1).

Tokens are tried in keyed order until the budget, the same share of every row as for single tokens, is filled. A token
that is not yet selected begins a span at the start of its word, of as many words as its second hash says or as are
left in its segment. Spans may overlap, and the last one is cut where the budget is filled, as in SpanBERT's code, which
draws tokens at random and draws again where one is selected already: keyed order without repetition has the same
distribution. Overlapping and adjacent spans are one unit.

A lower rate selects a subset of a higher one: the spans are the same, cut earlier.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from maskmill.pipeline.masking.hashing import hash_position, split_row_key
from maskmill.pipeline.masking.mask_plan import MaskPlan
from maskmill.pipeline.masking.row_kernel import row_kernel
from maskmill.pipeline.masking.scratch import KEYS, ORDER, POSITIONS, STARTS, STOPS, TAKEN, WORDS
from maskmill.pipeline.masking.strategies.strategy import Strategy
from maskmill.pipeline.masking.strategies.token import count_selected
from maskmill.pipeline.masking.strategies.weights import draw_key, find_weight
from maskmill.pipeline.masking.strategies.words import find_last_word, list_words, order_lazily, take_next
from maskmill.schemas.masking import Masking, SpanLengths

_P = Fraction(1, 5)
"""Of the geometric distribution of a span's words (SpanBERT, section 3.1)."""


def _list_length_shares(masking: Masking) -> list[Fraction]:
    shares = [_P * (1 - _P) ** before for before in range(masking.max_span)]
    if masking.span_lengths == SpanLengths.CLIPPED:
        shares[-1] += 1 - sum(shares)
    return [share / sum(shares) for share in shares]


SPANS = Strategy(selector=3, needs_words=True, list_length_shares=_list_length_shares)


@row_kernel
def select_spans(ids: Any, word_starts: Any, row_id: np.uint64, plan: MaskPlan, scratch: Any) -> np.int64:
    """Mark the selected positions in `scratch[TAKEN]` with 1 + the start of their unit; return how many they are."""
    starts, stops, order, keys, taken = scratch[STARTS], scratch[STOPS], scratch[ORDER], scratch[KEYS], scratch[TAKEN]
    positions, words = scratch[POSITIONS], scratch[WORDS]
    num_words, num_maskable = list_words(ids, word_starts, plan.kinds, starts, stops)
    budget = np.int64(count_selected(num_maskable, plan.rate_ppm))
    b0, b1 = split_row_key(plan.selection_key, row_id)
    left = np.int64(0)
    for number in range(num_words):
        for i in range(starts[number], stops[number]):
            positions[left], words[left] = i, number
            keys[left] = draw_key(b0, b1, np.uint32(i), find_weight(ids[i], plan.weights))
            left += 1
    order_lazily(order, keys, left)
    for i in range(ids.shape[0]):
        taken[i] = 0
    b0, b1 = split_row_key(plan.length_key, row_id)
    filled = np.int64(0)
    while filled < budget:
        token = take_next(order, keys, left)
        left -= 1
        if taken[positions[token]] != 0:
            continue
        word = np.int64(words[token])
        last = find_last_word(starts, stops, num_words, word, hash_position(b0, b1, positions[token]), plan)
        for i in range(starts[word], stops[last]):
            if filled < budget and taken[i] == 0:
                taken[i] = 1
                filled += 1
    _name_runs(taken)
    return filled


@row_kernel
def _name_runs(taken: Any) -> None:
    for i in range(1, taken.shape[0]):
        if taken[i] != 0:
            taken[i] = taken[i - 1] if taken[i - 1] != 0 else np.uint32(i + 1)
