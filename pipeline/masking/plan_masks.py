"""Mask settings, vocabulary and epoch as one argument of the mask kernels."""

from __future__ import annotations

import base64
import itertools
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from maskmill.pipeline.masking.hashing import (
    ACTION_STREAM,
    LENGTH_STREAM,
    RATE_STREAM,
    REPLACEMENT_STREAM,
    SELECTION_STREAM,
    derive_stream_key,
)
from maskmill.pipeline.masking.mask_plan import MaskPlan
from maskmill.pipeline.masking.strategies.table import find_strategy
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.schemas.masking import Masking, ReplaceBy


def plan_masks(masking: Masking, tables: MaskTables, epoch: int) -> MaskPlan:
    """Derive the plan of an epoch, which serves every row of it.

    Args:
        masking: Settings without a schedule: those of a step, see `Masking.at`.
        tables: Built from the dataset's vocabulary.
        epoch: Counted from 0.
    """
    vocabulary = tables.vocabulary
    strategy = find_strategy(masking)
    low, high = masking.rate_bounds_ppm
    return MaskPlan(
        selector=np.int64(strategy.selector),
        selection_key=np.uint64(derive_stream_key(SELECTION_STREAM, masking.seed, epoch)),
        length_key=np.uint64(derive_stream_key(LENGTH_STREAM, masking.seed, epoch)),
        rate_key=np.uint64(derive_stream_key(RATE_STREAM, masking.seed, epoch)),
        action_key=np.uint64(derive_stream_key(ACTION_STREAM, masking.seed, epoch)),
        replacement_key=np.uint64(derive_stream_key(REPLACEMENT_STREAM, masking.seed, epoch)),
        rate_ppm=np.int64(high),
        least_ppm=np.int64(low),
        length_thresholds=_find_thresholds(masking),
        by_unit=np.bool_(masking.replace_by == ReplaceBy.UNIT),
        mask_threshold=np.uint64(masking.mask_threshold),
        random_threshold=np.uint64(masking.random_threshold),
        pad_id=np.uint32(vocabulary.pad_id),
        cls_id=np.uint32(vocabulary.cls_id),
        sep_id=np.uint32(vocabulary.sep_id),
        mask_id=np.uint32(vocabulary.mask_id),
        by_kind=np.bool_(len(tables.protected) > 0 or masking.token_weights is not None),
        kinds=tables.kinds,
        weights=_unpack_weights(masking.token_weights),
        replacements=tables.replacements,
    )


@lru_cache(maxsize=16)
def _unpack_weights(token_weights: str | None) -> NDArray[np.uint8]:
    return np.frombuffer(b"" if token_weights is None else base64.b64decode(token_weights), np.uint8)


@lru_cache(maxsize=16)
def _find_thresholds(masking: Masking) -> NDArray[np.uint64]:
    """A unit of which a hash is below the first of these has one word, below the second two, and so on."""
    sums = itertools.accumulate(find_strategy(masking).list_length_shares(masking))
    thresholds = np.array([math.ceil(2**32 * share) for share in sums], np.uint64)
    thresholds.setflags(write=False)
    return thresholds
