"""The rows of one batch before they are masked, gathered from wherever they are staged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass
class RowBatch:
    """B rows of S positions, as they are stored. Its arrays are written again for the next batch.

    Attributes:
        rows: `(B, S)` uint16 or uint32 token ids.
        row_ids: `(B,)` uint64.
        lengths: `(B, S // 3)` uint16 sequence lengths, 0 behind the last.
        num_sequences: `(B,)` int32, how many of them count.
        mask_positions: `(B, M)` uint16, stored masks; M is 0 where masks are drawn. `mask_ids` and `mask_labels`
            beside it.
        num_masked: `(B,)` int32, how many of them count.
        mask_epochs: `(B,)` int64, the epoch each row is in: rows of a mixture are in those of their datasets.
        datasets: `(B,)` int64, the dataset each row comes from.
        epoch: From 0.
        step: Of the global batch.
        rows_before: Of this rank's share of it, those that came in batches before.
        state: Where the loader stands after this batch.
        waited_seconds: How long storage was waited for.
    """

    rows: npt.NDArray[Any]
    row_ids: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.uint16]
    num_sequences: npt.NDArray[np.int32]
    mask_positions: npt.NDArray[np.uint16]
    mask_ids: npt.NDArray[Any]
    mask_labels: npt.NDArray[Any]
    num_masked: npt.NDArray[np.int32]
    mask_epochs: npt.NDArray[np.int64]
    datasets: npt.NDArray[np.int64]
    epoch: int = 0
    step: int = 0
    rows_before: int = 0
    state: dict[str, Any] = field(default_factory=dict)
    waited_seconds: float = 0.0

    @staticmethod
    def allocate(num_rows: int, seq_len: int, lengths: int, num_masked: int, id_dtype: Any) -> RowBatch:
        """Room for batches of `num_rows` rows, `lengths` sequences and `num_masked` stored masks a row."""
        masks = (num_rows, num_masked)
        return RowBatch(
            rows=np.empty((num_rows, seq_len), id_dtype),
            row_ids=np.empty(num_rows, np.uint64),
            lengths=np.zeros((num_rows, lengths), np.uint16),
            num_sequences=np.empty(num_rows, np.int32),
            mask_positions=np.zeros(masks, np.uint16),
            mask_ids=np.zeros(masks, id_dtype),
            mask_labels=np.zeros(masks, id_dtype),
            num_masked=np.zeros(num_rows, np.int32),
            mask_epochs=np.zeros(num_rows, np.int64),
            datasets=np.zeros(num_rows, np.int64),
        )
