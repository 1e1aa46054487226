"""Predicted positions of a batch in lists of one length, on the host."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numba import njit

from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.schemas.masking import IGNORE_INDEX


def gather_masked(batch: Batch, most: int) -> Batch:
    """Add `masked_positions` and `masked_labels` to a batch in host memory.

    Args:
        batch: Its tensors stay what they are.
        most: C, the most predicted positions that a row can have.
    """
    labels = batch.labels.numpy()
    entries = np.empty((2, len(labels), most), np.int64)
    _gather(labels, *entries)
    masked_positions, masked_labels = torch.from_numpy(entries).view(2, -1).unbind()
    return replace(batch, masked_positions=masked_positions, masked_labels=masked_labels)


@njit(cache=True, nogil=True)
def _gather(labels: Any, positions: Any, wanted: Any) -> None:
    seq_len = labels.shape[1]
    found = np.empty(seq_len, np.uint32)
    for b in range(labels.shape[0]):
        row, row_positions, row_wanted = labels[b], positions[b], wanted[b]
        count = np.uint32(0)  # unsigned: a possibly negative index costs a comparison
        # Every position is written, and overwritten by the next unless it counts: no branch to mispredict.
        for i in range(seq_len):
            found[count] = i
            count = np.uint32(count + np.uint32(row[i] != IGNORE_INDEX))
        for j in range(count):
            row_positions[j] = b * seq_len + np.int64(found[j])
            row_wanted[j] = row[found[j]]
        for j in range(count, row_wanted.shape[0]):
            row_positions[j] = 0
            row_wanted[j] = IGNORE_INDEX
