"""The table of strategies: every way to select positions, and the one kernel that chooses between them.

To add one, write a module beside this one, and name it here and in `MaskStrategy`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from maskmill.pipeline.masking.mask_plan import MaskPlan
from maskmill.pipeline.masking.row_kernel import row_kernel
from maskmill.pipeline.masking.scratch import POSITIONS, SHOWN, TAKEN, UNITS
from maskmill.pipeline.masking.strategies.ngram import NGRAMS, select_ngrams
from maskmill.pipeline.masking.strategies.sequence_rates import SEQUENCE_TOKENS, select_at_sequence_rates
from maskmill.pipeline.masking.strategies.span import SPANS, select_spans
from maskmill.pipeline.masking.strategies.strategy import Strategy
from maskmill.pipeline.masking.strategies.token import ANY_TOKENS, EXACT_TOKENS, select_any_tokens, select_tokens
from maskmill.schemas.masking import Masking, MaskStrategy, Selection

STRATEGIES = {
    MaskStrategy.TOKEN: EXACT_TOKENS,
    MaskStrategy.WHOLE_WORD: NGRAMS,
    MaskStrategy.SPAN: SPANS,
    MaskStrategy.NGRAM: NGRAMS,
}

_EXACT, _ANY, _SEQUENCE, _SPANS = (one.selector for one in (EXACT_TOKENS, ANY_TOKENS, SEQUENCE_TOKENS, SPANS))


def find_strategy(masking: Masking) -> Strategy:
    """The strategy of mask settings."""
    if masking.per_sequence_rate is not None:
        return SEQUENCE_TOKENS
    if masking.selection == Selection.BERNOULLI:
        return ANY_TOKENS
    return STRATEGIES[masking.strategy]


def is_drawn_on_device(masking: Masking) -> bool:
    """Whether there are tensor operations for a strategy; the masks of others are drawn on the host.

    So are those of a schedule: tables of a rate would have to be sent for every step.
    """
    is_plain = not masking.protect and masking.token_weights is None and masking.schedule is None
    return find_strategy(masking) is EXACT_TOKENS and is_plain


@row_kernel
def select_row(ids: Any, word_starts: Any, row_id: np.uint64, plan: MaskPlan, scratch: Any) -> np.int64:
    """Select the positions of a row by the plan's strategy, for `draw_row`, whose arguments it takes.

    Returns:
        Their number. They are in `scratch[POSITIONS]`, ascending, and of strategies of words the start of each one's
        unit in `scratch[UNITS]`.
    """
    if plan.selector == _EXACT:
        return np.int64(select_tokens(ids, row_id, plan, scratch[SHOWN], scratch[POSITIONS]))
    if plan.selector == _ANY:
        return np.int64(select_any_tokens(ids, row_id, plan, scratch[POSITIONS]))
    if plan.selector == _SEQUENCE:
        return np.int64(select_at_sequence_rates(ids, row_id, plan, scratch[POSITIONS]))
    count = np.int64(
        select_spans(ids, word_starts, row_id, plan, scratch)
        if plan.selector == _SPANS
        else select_ngrams(ids, word_starts, row_id, plan, scratch)
    )
    filled, taken = np.int64(0), scratch[TAKEN]
    for i in range(ids.shape[0]):
        scratch[POSITIONS, filled] = i
        scratch[UNITS, filled] = taken[i] - np.uint32(1)
        filled += np.int64(taken[i] != 0)
    return count
