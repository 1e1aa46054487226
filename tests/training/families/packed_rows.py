"""Rows that hold several sequences, written out by hand, and the same sequences alone."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import torch

from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.schemas.masking import IGNORE_INDEX

SEQ_LEN, VOCAB_SIZE = 24, 50
LENGTHS = ((9, 12), (24,), (5, 6, 7))
FIRST_ORDINARY = 8


def make_sequences(pad_id: int) -> list[list[torch.Tensor]]:
    """Ids of the sequences of each row; the padding's id is not among them."""
    generator = torch.Generator().manual_seed(3)
    rows = [
        [torch.randint(FIRST_ORDINARY, VOCAB_SIZE, (length,), generator=generator) for length in row] for row in LENGTHS
    ]
    assert all(pad_id not in sequence for row in rows for sequence in row)
    return rows


def make_labels(sequence: torch.Tensor) -> torch.Tensor:
    """A label at every third position, other than the id there."""
    labels = torch.full_like(sequence, IGNORE_INDEX)
    labels[1::3] = (sequence[1::3] + 1) % VOCAB_SIZE
    return labels


def make_packed(pad_id: int, **fields: Any) -> Batch:
    """The batch that a loader would give for these rows, with further fields."""
    rows = make_sequences(pad_id)
    shape = len(rows), SEQ_LEN
    ids, labels = torch.full(shape, pad_id), torch.full(shape, IGNORE_INDEX)
    positions, segments = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int32)
    lengths = []
    for row, sequences in enumerate(rows):
        start = 0
        for number, sequence in enumerate(sequences, 1):
            stop = start + len(sequence)
            ids[row, start:stop], labels[row, start:stop] = sequence, make_labels(sequence)
            positions[row, start:stop], segments[row, start:stop] = torch.arange(len(sequence)), number
            lengths.append(len(sequence))
            start = stop
        if start < SEQ_LEN:
            positions[row, start:] = torch.arange(SEQ_LEN - start)
            lengths.append(SEQ_LEN - start)
    return Batch(
        input_ids=ids,
        labels=labels,
        position_ids=positions,
        segment_ids=segments,
        cu_seqlens=torch.tensor([0, *accumulate(lengths)], dtype=torch.int32),
        max_seqlen=max(lengths),
        row_ids=torch.arange(len(rows)),
        pad_id=pad_id,
        datasets=torch.zeros(len(rows), dtype=torch.int64),
        row_epochs=torch.zeros(len(rows), dtype=torch.int64),
        **fields,
    )
