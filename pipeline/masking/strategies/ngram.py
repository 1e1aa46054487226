"""Units of one to n whole words: ALBERT's n-grams, and with n = 1 Google's whole word masking.

Words are tried in keyed order until the budget, the same share of every row as for single tokens, is filled. A word
begins a unit of as many words as its second hash says, or as many as are left in its segment; where the budget is too
short for them, of fewer, and where it is too short for one word, the word is skipped. So is a unit that would meet
another one. These are the rules of `create_masked_lm_predictions` in google-research/albert and google-research/bert.

A lower rate does not always select a subset: a word skipped at a small budget may fit into a larger one, and then
take the place of others.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from maskmill.pipeline.masking.hashing import hash_position, split_row_key
from maskmill.pipeline.masking.mask_plan import MaskPlan
from maskmill.pipeline.masking.row_kernel import row_kernel
from maskmill.pipeline.masking.scratch import KEYS, ORDER, STARTS, STOPS, TAKEN
from maskmill.pipeline.masking.strategies.strategy import Strategy
from maskmill.pipeline.masking.strategies.token import count_selected
from maskmill.pipeline.masking.strategies.weights import draw_key, find_weight
from maskmill.pipeline.masking.strategies.words import find_last_word, list_words, order_lazily, take_next
from maskmill.schemas.masking import Masking, MaskStrategy


def _list_length_shares(masking: Masking) -> list[Fraction]:
    longest = masking.max_ngram if masking.strategy == MaskStrategy.NGRAM else 1
    shares = [Fraction(1, words) for words in range(1, longest + 1)]
    return [share / sum(shares) for share in shares]


NGRAMS = Strategy(selector=2, needs_words=True, list_length_shares=_list_length_shares)


@row_kernel
def select_ngrams(ids: Any, word_starts: Any, row_id: np.uint64, plan: MaskPlan, scratch: Any) -> np.int64:
    """Mark the selected positions in `scratch[TAKEN]` with 1 + the start of their unit; return how many they are."""
    starts, stops, order, keys, taken = scratch[STARTS], scratch[STOPS], scratch[ORDER], scratch[KEYS], scratch[TAKEN]
    num_words, num_maskable = list_words(ids, word_starts, plan.kinds, starts, stops)
    budget = np.int64(count_selected(num_maskable, plan.rate_ppm))
    b0, b1 = split_row_key(plan.selection_key, row_id)
    for word in range(num_words):
        weight = np.uint32(1)
        for i in range(starts[word], stops[word]):
            weight = max(weight, find_weight(ids[i], plan.weights))
        keys[word] = draw_key(b0, b1, starts[word], weight)
    order_lazily(order, keys, num_words)
    for i in range(ids.shape[0]):
        taken[i] = 0
    b0, b1 = split_row_key(plan.length_key, row_id)
    filled, left = np.int64(0), num_words
    while filled < budget and left > 0:
        word = take_next(order, keys, left)
        left -= 1
        last = find_last_word(starts, stops, num_words, word, hash_position(b0, b1, starts[word]), plan)
        while last >= word and filled + np.int64(stops[last]) - np.int64(starts[word]) > budget:
            last -= 1
        is_free = last >= word
        for other in range(word, last + 1):
            is_free = is_free and taken[starts[other]] == 0
        if is_free:
            for i in range(starts[word], stops[last]):
                taken[i] = starts[word] + np.uint32(1)
            filled += np.int64(stops[last]) - np.int64(starts[word])
    return filled
