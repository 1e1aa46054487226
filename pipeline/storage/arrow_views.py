"""Validated Arrow arrays as NumPy has them: read-only and without a copy.

Only arrays that `arrow_reader` gave, or that Arrow made in this process, may be viewed: nothing is checked here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def view_numbers(array: pa.Array) -> npt.NDArray[Any]:
    """A validated Arrow array of numbers without nulls as NumPy has it, read-only and without a copy.

    `Array.to_numpy` gives the same and imports pandas first, for 0.3 s, where that is installed.
    """
    dtype, values = np.dtype(array.type.to_pandas_dtype()), array.buffers()[1]
    return _view(values, dtype, array.offset + len(array))[array.offset :]


def view_rows(array: pa.Array, dtype: Any, num_items: int) -> npt.NDArray[Any]:
    """A validated column of lists of one length as `(rows, num_items)`, read-only and without a copy.

    Args:
        array: The column of a record batch that was read, which is never a slice.
        dtype: Of its values.
        num_items: Of each list.
    """
    return _view(array.buffers()[-1], dtype, len(array) * num_items).reshape(-1, num_items)


def view_lists(array: pa.Array, dtype: Any) -> tuple[npt.NDArray[np.int32], npt.NDArray[Any]]:
    """A validated column of lists as int32 offsets (rows + 1,) and all values, read-only and without a copy.

    Args:
        array: The column of a record batch that was read, which is never a slice.
        dtype: Of its values.
    """
    _, starts, _, values = array.buffers()
    num_rows = len(array)
    if not num_rows:
        return _read_only(np.zeros(1, np.int32)), _read_only(np.empty(0, dtype))
    offsets = _view(starts, np.int32, num_rows + 1)
    return offsets, _view(values, dtype, int(offsets[-1]))


def _view(buffer: Any, dtype: Any, count: int) -> npt.NDArray[Any]:
    return _read_only(np.frombuffer(buffer, dtype, count) if count else np.empty(0, dtype))


def _read_only(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Those of decompressed blocks would be writable: to numba another type, and every kernel is compiled twice."""
    values.flags.writeable = False
    return values
