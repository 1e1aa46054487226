"""What a batch carries of sequences that are pairs of segments."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import njit

from maskmill.pipeline.loader.rows.row_batch import RowBatch
from maskmill.schemas.rows import SEGMENT_LENGTHS, SEQUENCE_LABELS, Per


class FoundPairs(NamedTuple):
    """The N pairs of a batch, in the order of rows.

    Attributes:
        starts: Where each begins in the flattened B * S positions, int32 (N,).
        turns: Where its second segment begins, int32 (N,).
        stops: Where it ends, int32 (N,).
        labels: int32 (N,).
    """

    starts: npt.NDArray[np.int32]
    turns: npt.NDArray[np.int32]
    stops: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int32]


def find_pairs(rows: RowBatch) -> FoundPairs:
    """Find the pairs of a batch; the reader of blocks has checked that every sequence is one."""
    staged, slots, places = rows.staged, rows.slots, rows.places
    labels, segments = staged.lists[Per.SEQUENCE], staged.lists[Per.SEGMENT]
    found = np.empty((4, int(labels.counts[slots, places].sum())), np.int32)
    columns = (segments.values[SEGMENT_LENGTHS], labels.values[SEQUENCE_LABELS], labels.counts)
    _find(columns, slots, places, staged.seq_len, found)
    return FoundPairs(*found)


def mark_pairs(rows: RowBatch) -> dict[str, Any]:
    """The fields of a `Batch` that only datasets of pairs have; described there."""
    pairs = find_pairs(rows)
    token_type_ids = np.zeros((len(rows), rows.staged.seq_len), np.int64)
    _mark_second(pairs, token_type_ids.reshape(-1))
    return {
        "token_type_ids": torch.from_numpy(token_type_ids),
        "sequence_labels": torch.from_numpy(pairs.labels.astype(np.int64)),
        "cls_positions": torch.from_numpy(pairs.starts.astype(np.int64)),
    }


@njit(cache=True, nogil=True)
def _find(columns: Any, slots: Any, places: Any, seq_len: int, found: Any) -> None:
    lengths, labels, counts = columns
    pair = 0
    for b in range(len(slots)):
        slot, place = slots[b], places[b]
        position = np.int64(b) * seq_len
        for sequence in range(counts[slot, place]):
            found[0, pair] = position
            position += np.int64(lengths[slot, place, 2 * sequence])
            found[1, pair] = position
            position += np.int64(lengths[slot, place, 2 * sequence + 1])
            found[2, pair] = position
            found[3, pair] = labels[slot, place, sequence]
            pair += 1


@njit(cache=True, nogil=True)
def _mark_second(pairs: FoundPairs, token_types: Any) -> None:
    for pair in range(len(pairs.turns)):
        token_types[pairs.turns[pair] : pairs.stops[pair]] = 1
