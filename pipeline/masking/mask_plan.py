"""Mask settings, vocabulary and epoch as one argument of the mask kernels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskmill.pipeline.masking.hashing import (
    ACTION_STREAM,
    LENGTH_STREAM,
    REPLACEMENT_STREAM,
    SELECTION_STREAM,
    derive_stream_key,
)
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.schemas.masking import Masking, MaskStrategy, ReplaceBy, Selection, SpanLengths

EXACT_TOKENS, ANY_TOKENS, WORDS, SPANS = 0, 1, 2, 3
"""The kernels that select: `whole_word` is `ngram` with one word."""

_SPAN_P = Fraction(1, 5)
"""Of the geometric distribution of a span's words (SpanBERT, section 3.1)."""
_ONE_TOKEN = np.full(1, 2**32, np.uint64)
_ONE_TOKEN.setflags(write=False)


class MaskPlan(NamedTuple):
    """Everything but the rows that a mask of one epoch depends on, in the kernels' own types.

    A named tuple, so that a kernel takes it as one argument.
    """

    kernel: np.int64
    selection_key: np.uint64
    length_key: np.uint64
    action_key: np.uint64
    replacement_key: np.uint64
    rate_ppm: np.int64
    length_thresholds: NDArray[np.uint64]
    by_unit: np.bool_
    mask_threshold: np.uint64
    random_threshold: np.uint64
    pad_id: np.uint32
    cls_id: np.uint32
    sep_id: np.uint32
    mask_id: np.uint32
    by_kind: np.bool_
    kinds: NDArray[np.uint8]
    replacements: NDArray[np.uint32]


def plan_masks(masking: Masking, tables: MaskTables, epoch: int) -> MaskPlan:
    """Derive the plan of an epoch, which serves every row of it."""
    vocabulary = tables.vocabulary
    return MaskPlan(
        kernel=np.int64(choose_kernel(masking)),
        selection_key=np.uint64(derive_stream_key(SELECTION_STREAM, masking.seed, epoch)),
        length_key=np.uint64(derive_stream_key(LENGTH_STREAM, masking.seed, epoch)),
        action_key=np.uint64(derive_stream_key(ACTION_STREAM, masking.seed, epoch)),
        replacement_key=np.uint64(derive_stream_key(REPLACEMENT_STREAM, masking.seed, epoch)),
        rate_ppm=np.int64(masking.rate_ppm),
        length_thresholds=_ONE_TOKEN if masking.strategy == MaskStrategy.TOKEN else _find_thresholds(masking),
        by_unit=np.bool_(masking.replace_by == ReplaceBy.UNIT),
        mask_threshold=np.uint64(masking.mask_threshold),
        random_threshold=np.uint64(masking.random_threshold),
        pad_id=np.uint32(vocabulary.pad_id),
        cls_id=np.uint32(vocabulary.cls_id),
        sep_id=np.uint32(vocabulary.sep_id),
        mask_id=np.uint32(vocabulary.mask_id),
        by_kind=np.bool_(len(tables.protected) > 0),
        kinds=tables.kinds,
        replacements=tables.replacements,
    )


class EpochPlans:
    """The plans of the epochs that the rows of a batch are in, kept until none of them is.

    Args:
        masking: The settings in force.
        tables: Built from the dataset's vocabulary.
    """

    def __init__(self, masking: Masking, tables: MaskTables) -> None:
        self._masking = masking
        self._tables = tables
        self._plans: dict[int, MaskPlan] = {}

    def of(self, epochs: Sequence[int]) -> dict[int, MaskPlan]:
        """The plan of each epoch, by its number."""
        if list(self._plans) != epochs:
            self._plans = {epoch: self._plans.get(epoch) or self._make(epoch) for epoch in epochs}
        return self._plans

    def _make(self, epoch: int) -> MaskPlan:
        return plan_masks(self._masking, self._tables, epoch)


def choose_kernel(masking: Masking) -> int:
    """The kernel of a strategy."""
    if masking.strategy == MaskStrategy.TOKEN:
        return EXACT_TOKENS if masking.selection == Selection.EXACT else ANY_TOKENS
    return SPANS if masking.strategy == MaskStrategy.SPAN else WORDS


def is_drawn_on_device(masking: Masking) -> bool:
    """Whether there are tensor operations for a strategy; the masks of others are drawn on the host."""
    return choose_kernel(masking) == EXACT_TOKENS and not masking.protect


def list_length_shares(masking: Masking) -> list[Fraction]:
    """The probabilities of 1, 2 and so on words in a unit."""
    if masking.strategy == MaskStrategy.SPAN:
        shares = [_SPAN_P * (1 - _SPAN_P) ** before for before in range(masking.max_span)]
        if masking.span_lengths == SpanLengths.CLIPPED:
            shares[-1] += 1 - sum(shares)
    else:
        longest = masking.max_ngram if masking.strategy == MaskStrategy.NGRAM else 1
        shares = [Fraction(1, words) for words in range(1, longest + 1)]
    return [share / sum(shares) for share in shares]


@lru_cache(maxsize=16)
def _find_thresholds(masking: Masking) -> NDArray[np.uint64]:
    """A unit of which a hash is below the first of these has one word, below the second two, and so on."""
    sums = itertools.accumulate(list_length_shares(masking))
    thresholds = np.array([math.ceil(2**32 * share) for share in sums], np.uint64)
    thresholds.setflags(write=False)
    return thresholds
