"""The rows of one batch, where they are staged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.loader.resume.batch_place import BatchPlace
from maskmill.pipeline.loader.rows.stage_rows import StagedRows


@dataclass
class RowBatch:
    """B rows before they are masked. Valid until the next batch is read: its rows are staged anew for that one.

    Attributes:
        staged: Where the rows are.
        slots: `(B,)` int64, the slot of each.
        places: `(B,)` int64, its place in that slot.
        epochs: `(B,)` int64, the epoch each is in: rows of a mixture are in those of their datasets.
        datasets: `(B,)` int64, the dataset each comes from.
        distinct_epochs: Every epoch among them.
        run_step: Global batches before this one since the start of the run.
        place: Of the batch in the run.
    """

    staged: StagedRows
    slots: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    epochs: npt.NDArray[np.int64]
    datasets: npt.NDArray[np.int64]
    distinct_epochs: list[int]
    run_step: int = 0
    place: BatchPlace = BatchPlace()  # noqa: RUF009  # frozen

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def word_starts(self) -> npt.NDArray[np.bool_]:
        """`(B, S)` bool, whether a word starts at each position; `(B, 0)` where no dataset stores it."""
        starts: npt.NDArray[np.bool_] = self.staged.word_starts[self.slots, self.places]
        return starts

    @property
    def row_ids(self) -> npt.NDArray[np.uint64]:
        """`(B,)` uint64."""
        ids: npt.NDArray[Any] = self.staged.row_ids[self.slots, self.places]
        return ids
