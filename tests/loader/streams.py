"""Streams of batches as comparable values: hashes of ordered tensors, not sets of ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from maskmill.pipeline.loader import MaskedBatches, Masking
from maskmill.pipeline.loader.batches.batch import Batch

ROW_FIELDS = ("input_ids", "labels", "position_ids", "segment_ids", "row_ids")
MASKING = Masking(rate=0.15, seed=3)


def open_loader(url: str, **settings: Any) -> MaskedBatches:
    return MaskedBatches(url, **({"global_batch_rows": 8, "seed": 1, "masking": MASKING} | settings))


def hash_batches(batches: Sequence[Batch]) -> str:
    """One hash of the rows of batches laid end to end, every field in order."""
    digest = hashlib.sha256()
    for name in ROW_FIELDS:
        digest.update(torch.cat([getattr(batch, name) for batch in batches]).numpy().tobytes())
    return digest.hexdigest()


def hash_steps(batches: Iterable[Batch]) -> list[tuple[int, int, str]]:
    """(epoch, step, hash) of every global batch of one rank's stream, its micro-batches joined."""
    steps: dict[tuple[int, int], list[Batch]] = {}
    for batch in batches:
        steps.setdefault((batch.epoch, batch.step), []).append(batch)
    return [(epoch, step, hash_batches(parts)) for (epoch, step), parts in steps.items()]


def join_ranks(streams: Sequence[Iterable[Batch]]) -> list[tuple[int, int, str]]:
    """As `hash_steps`, of the ranks' shares laid side by side in rank order."""
    steps: dict[tuple[int, int], list[Batch]] = {}
    for stream in streams:
        for batch in stream:
            steps.setdefault((batch.epoch, batch.step), []).append(batch)
    return [(epoch, step, hash_batches(parts)) for (epoch, step), parts in steps.items()]


def equal_batches(one: Batch, other: Batch) -> bool:
    tensors = (*ROW_FIELDS, "cu_seqlens")
    scalars = ("max_seqlen", "epoch", "step", "rows_before", "state", "pad_id")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in tensors) and all(
        getattr(one, name) == getattr(other, name) for name in scalars
    )
