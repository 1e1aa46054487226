"""Validated Arrow arrays as NumPy has them: read-only and without a copy.

Only arrays that `arrow_batches` gave, or that Arrow made in this process, may be viewed: nothing is checked here.
"""

from __future__ import annotations

from collections.abc import Sequence
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


class BatchBuffers:
    """The buffers of a validated record batch, in the order in which Arrow writes them.

    Args:
        arrays: uint8, the memory of each buffer; of all of them together where `starts` are given.
        starts: Where in that memory each begins.
    """

    __slots__ = ("_arrays", "_starts")

    def __init__(self, arrays: Sequence[npt.NDArray[np.uint8]], starts: Sequence[int] | None = None) -> None:
        self._arrays = arrays
        self._starts = starts

    @staticmethod
    def of_bytes(data: npt.NDArray[np.uint8], spans: npt.NDArray[np.int64]) -> BatchBuffers:
        """Buffers that lie in a message and its body.

        Args:
            data: Both.
            spans: int64 (number of buffers, 2), where in `data` each begins, and its bytes.
        """
        return BatchBuffers((data,), spans[:, 0].tolist())

    @staticmethod
    def of_batch(batch: pa.RecordBatch) -> BatchBuffers:
        """The buffers of a record batch as Arrow has them: decompressed."""
        buffers = [buffer for column in batch.columns for buffer in column.buffers()]
        return BatchBuffers([_view(buffer, np.uint8, buffer.size if buffer else 0) for buffer in buffers])

    def view(self, number: int, dtype: np.dtype[Any], count: int) -> npt.NDArray[Any]:
        """The first numbers of a buffer, read-only and without a copy.

        Args:
            number: Of the buffer.
            dtype: Of its values.
            count: As many of them as its validated column has, at most.
        """
        size = count * dtype.itemsize
        if self._starts is None:
            return self._arrays[number][:size].view(dtype)
        start = self._starts[number]
        return self._arrays[0][start : start + size].view(dtype)


def view_texts(array: pa.Array) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """A validated column of texts as int32 offsets (rows + 1,) and all bytes, read-only and without a copy.

    Args:
        array: The column of a record batch that was read, which is never a slice.
    """
    _, starts, content = array.buffers()
    if not len(array):
        return _read_only(np.zeros(1, np.int32)), _read_only(np.empty(0, np.uint8))
    return _view(starts, np.int32, len(array) + 1), _view(content, np.uint8, content.size if content else 0)


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
