"""The two arrays that hold the tokens of many documents, and their checks.

`ids` is one flat array of token ids; document `d` is `ids[offsets[d] : offsets[d + 1]]`, without `[CLS]` and
`[SEP]`. Compiled loops do not check bounds, so everything they index with is checked here first.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

TokenIds: TypeAlias = npt.NDArray[np.uint16 | np.uint32]
TokenType: TypeAlias = type[np.uint16 | np.uint32]


def check_offsets(offsets: npt.NDArray[Any], num_ids: int) -> npt.NDArray[np.int64]:
    """Checks where documents start and end in `num_ids` ids.

    Args:
        offsets: Where each document starts and the last one ends, any integer type, shape (N + 1,).
        num_ids: Length of the ids they point into.

    Returns:
        The offsets as int64.

    Raises:
        ValueError: They do not rise from at least 0 to at most `num_ids`.
    """
    if offsets.ndim != 1 or offsets.dtype.kind not in "iu" or offsets.size == 0:
        raise ValueError(f"offsets: expected N + 1 integers, found {offsets.dtype} of shape {offsets.shape}")
    starts = np.ascontiguousarray(offsets, dtype=np.int64)
    if starts[0] < 0 or starts[-1] > num_ids or (starts[1:] < starts[:-1]).any():
        raise ValueError(f"offsets: expected values that rise within 0..{num_ids}, the number of ids")
    return starts


def check_ids(ids: npt.NDArray[Any]) -> TokenIds:
    """Brings token ids to one of the two types that compiled loops are built for.

    Args:
        ids: Token ids of all documents, any integer type, shape (T,).

    Returns:
        Contiguous uint16 or uint32; the same array where it is that already.

    Raises:
        ValueError: An id is negative or over 2^32 - 1.
    """
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(f"ids: expected a flat integer array, found {ids.dtype} of shape {ids.shape}")
    if ids.dtype in (np.uint16, np.uint32):
        return np.ascontiguousarray(ids)
    if ids.size and (int(ids.min()) < 0 or int(ids.max()) >= 1 << 32):
        raise ValueError(f"ids: expected 0..2^32 - 1, found {ids.min()}..{ids.max()}")
    return np.ascontiguousarray(ids, dtype=np.uint32)


def check_sentence_starts(sentence_starts: npt.NDArray[np.bool_] | None, num_ids: int) -> npt.NDArray[np.bool_]:
    """Brings the flags of sentence starts to the type that compiled loops are built for.

    Args:
        sentence_starts: Whether a sentence starts at a token, shape (T,), or None where sentences are not known.
        num_ids: T.

    Returns:
        Contiguous flags; none at all, shape (0,), for None.

    Raises:
        ValueError: They are no flags, or not one for every id.
    """
    if sentence_starts is None:
        return np.empty(0, np.bool_)
    if sentence_starts.dtype != np.bool_ or sentence_starts.shape != (num_ids,):
        raise ValueError(
            f"sentence_starts: expected {num_ids} flags, one for every token, "
            f"found {sentence_starts.dtype} of shape {sentence_starts.shape}"
        )
    return np.ascontiguousarray(sentence_starts)
