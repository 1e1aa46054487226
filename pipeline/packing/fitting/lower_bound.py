"""A lower bound of the number of rows, with which a packing is compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def lower_bound_l2(lengths: npt.NDArray[Any], capacity: int) -> int:
    """Rows needed, counting that segments longer than half a row cannot share one.

    Martello and Toth, "Lower bounds and reduction procedures for the bin packing problem" (Discrete Applied
    Mathematics 28, 1990), bound L2. For each alpha in 0..capacity/2 the segments of at least alpha fall into
    those over capacity - alpha (a row each, with no space for the others), the rest of those over capacity/2
    (a row each), and the small ones, which take the space these leave before they take rows of their own. The
    bound is the largest over alpha; alpha = 0 makes it at least the sum of lengths divided
    by the capacity. O(D + capacity) by sums over a histogram.

    Args:
        lengths: Row positions each segment takes, each in 1..capacity; shape (D,).
        capacity: Positions in a row.

    Returns:
        The bound L2: no packing has fewer rows.

    Raises:
        ValueError: A length is not in 1..capacity.
    """
    if lengths.size == 0:
        return 0
    if int(lengths.min()) < 1 or int(lengths.max()) > capacity:
        raise ValueError(f"lengths: expected 1..{capacity}, found {lengths.min()}..{lengths.max()}")
    histogram = np.bincount(lengths, minlength=capacity + 1)
    # Segments, and their positions, of length below index: index 0..capacity + 1.
    count_below = np.concatenate(([0], np.cumsum(histogram)))
    sum_below = np.concatenate(([0], np.cumsum(histogram * np.arange(capacity + 1))))

    half = capacity // 2
    alpha = np.arange(half + 1)
    num_large = count_below[capacity + 1] - count_below[half + 1]  # over half, for any alpha
    num_sharing = count_below[capacity - alpha + 1] - count_below[half + 1]
    sum_sharing = sum_below[capacity - alpha + 1] - sum_below[half + 1]
    sum_small = sum_below[half + 1] - sum_below[alpha]
    overflow = sum_small - (num_sharing * capacity - sum_sharing)
    return int(num_large + np.maximum(0, -(-overflow // capacity)).max())
