"""Mask settings, vocabulary and epoch as one argument of the mask kernels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskmill.pipeline.masking.hashing import (
    ACTION_STREAM,
    REPLACEMENT_STREAM,
    SELECTION_STREAM,
    derive_stream_key,
)
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.schemas.masking import Masking


class MaskPlan(NamedTuple):
    """Everything but the rows that a mask of one epoch depends on, in the kernels' own types.

    A named tuple, so that a kernel takes it as one argument.
    """

    selection_key: np.uint64
    action_key: np.uint64
    replacement_key: np.uint64
    rate_ppm: np.int64
    mask_threshold: np.uint64
    random_threshold: np.uint64
    pad_id: np.uint32
    cls_id: np.uint32
    sep_id: np.uint32
    mask_id: np.uint32
    replacements: NDArray[np.uint32]


def plan_masks(masking: Masking, tables: MaskTables, epoch: int) -> MaskPlan:
    """Derive the plan of an epoch, which serves every row of it."""
    vocabulary = tables.vocabulary
    return MaskPlan(
        selection_key=np.uint64(derive_stream_key(SELECTION_STREAM, masking.seed, epoch)),
        action_key=np.uint64(derive_stream_key(ACTION_STREAM, masking.seed, epoch)),
        replacement_key=np.uint64(derive_stream_key(REPLACEMENT_STREAM, masking.seed, epoch)),
        rate_ppm=np.int64(masking.rate_ppm),
        mask_threshold=np.uint64(masking.mask_threshold),
        random_threshold=np.uint64(masking.random_threshold),
        pad_id=np.uint32(vocabulary.pad_id),
        cls_id=np.uint32(vocabulary.cls_id),
        sep_id=np.uint32(vocabulary.sep_id),
        mask_id=np.uint32(vocabulary.mask_id),
        replacements=tables.replacements,
    )
