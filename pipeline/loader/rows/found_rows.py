"""The rows of one batch where they stand staged, and as a batch of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.loader.rows.row_batch import RowBatch
from maskmill.pipeline.loader.rows.stage_rows import StagedRows, take_masks, take_rows


@dataclass
class FoundRows:
    """B rows of a batch. They stand where they are until the next batch is looked for.

    Attributes:
        staged: Where they stand.
        slots: `(B,)` int64, the slot of each.
        places: `(B,)` int64, its place in that slot.
        epochs: `(B,)` int64, the epoch each is in: rows of a mixture are in those of their datasets.
        datasets: `(B,)` int64, the dataset each comes from.
        distinct_epochs: Every epoch among them.
        epoch: From 0.
        step: Of the global batch.
        rows_before: Of this rank's share of it, those that came in batches before.
        state: Where the loader stands after this batch.
        waited_seconds: How long storage was waited for.
    """

    staged: StagedRows
    slots: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    epochs: npt.NDArray[np.int64]
    datasets: npt.NDArray[np.int64]
    distinct_epochs: list[int]
    epoch: int = 0
    step: int = 0
    rows_before: int = 0
    state: dict[str, Any] = field(default_factory=dict)
    waited_seconds: float = 0.0

    def gather(self, into: RowBatch | None) -> RowBatch:
        """Copy them out, into a batch that is no longer wanted where it has their shape."""
        rows, masks = self.staged.rows, self.staged.mask_positions
        shape = (len(self.slots), rows.shape[2], masks.shape[2])
        if into is None or (*into.rows.shape, into.mask_positions.shape[1]) != shape:
            into = RowBatch.allocate(shape[0], shape[1], self.staged.lengths.shape[2], shape[2], rows.dtype)
        staged, targets = self.staged, np.arange(shape[0])
        take_rows(
            (rows, staged.row_ids, staged.lengths, staged.num_sequences), self.slots, self.places, targets,
            (into.rows, into.row_ids, into.lengths, into.num_sequences),
        )  # fmt: skip
        if staged.holds_masks:
            take_masks(
                (masks, staged.mask_ids, staged.mask_labels, staged.num_masked), self.slots, self.places, targets,
                (into.mask_positions, into.mask_ids, into.mask_labels, into.num_masked),
            )  # fmt: skip
        into.mask_epochs, into.datasets = self.epochs, self.datasets
        into.epoch, into.step, into.rows_before, into.state = self.epoch, self.step, self.rows_before, self.state
        into.waited_seconds = self.waited_seconds
        return into
