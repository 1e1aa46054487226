"""Arrays of a batch as the tensors that a trainer is given."""

from __future__ import annotations

import numpy as np
import torch

from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.pipeline.loader.batches.fill_batch import BatchArrays
from maskmill.pipeline.loader.rows.found_rows import FoundRows


def to_batch(arrays: BatchArrays, found: FoundRows, pad_id: int) -> Batch:
    """Arrays as tensors, without a copy.

    Args:
        arrays: What was made of the rows.
        found: Where the rows stand in the run.
        pad_id: Of [PAD].
    """
    return Batch(
        input_ids=torch.from_numpy(arrays.input_ids),
        labels=torch.from_numpy(arrays.labels),
        position_ids=torch.from_numpy(arrays.position_ids),
        segment_ids=torch.from_numpy(arrays.segment_ids),
        cu_seqlens=torch.from_numpy(arrays.cu_seqlens),
        max_seqlen=arrays.max_seqlen,
        row_ids=torch.from_numpy(arrays.row_ids.view(np.int64)),
        epoch=found.epoch,
        step=found.step,
        rows_before=found.rows_before,
        state=found.state,
        pad_id=pad_id,
        datasets=torch.from_numpy(found.datasets),
        row_epochs=torch.from_numpy(found.epochs),
        waited_seconds=found.waited_seconds,
    )
