"""What the mask kernels of a row are given beside the row itself."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class MaskPlan(NamedTuple):
    """Everything but the rows that a mask of one epoch depends on, in the kernels' own types.

    A named tuple, so that a kernel takes it as one argument.

    Attributes:
        selector: The number by which `select_row` knows the strategy.
        selection_key: Keys of the epoch for what is selected,
        length_key: for lengths of units,
        rate_key: for rates of sequences,
        action_key: for what is shown,
        replacement_key: and for random tokens.
        rate_ppm: Of the tokens, selected in millionths; where each sequence has a rate of its own, the highest.
        least_ppm: Then the lowest.
        length_thresholds: Units of a hash below the first have one word, below the second two, and so on.
        by_unit: Whether what is shown is drawn for a unit.
        mask_threshold: See `Masking.mask_threshold`.
        random_threshold: See `Masking.random_threshold`.
        pad_id: Of [PAD].
        cls_id: Of [CLS].
        sep_id: Of [SEP].
        mask_id: Of [MASK].
        by_kind: Whether ids must be looked up: more than these four are never selected, or ids have weights.
        kinds: See `MaskTables`.
        weights: Of each id, 1 to 255; of none where all weigh the same.
        replacements: See `MaskTables`.
    """

    selector: np.int64
    selection_key: np.uint64
    length_key: np.uint64
    rate_key: np.uint64
    action_key: np.uint64
    replacement_key: np.uint64
    rate_ppm: np.int64
    least_ppm: np.int64
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
    weights: NDArray[np.uint8]
    replacements: NDArray[np.uint32]
