"""What the loss of a global batch is made of: a sum of cross-entropy, and the number that it is divided by.

Both are added up over all micro-batches and ranks before the one is divided by the other. Without weights the number is
that of labels. A label with the weight 1 / rate is as much as all tokens that its sequence might have predicted in its
place, so with weights it is that of all tokens but padding.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from maskmill.schemas.masking import IGNORE_INDEX


class Labelled(Protocol):
    """The part of a batch that decides what its loss is divided by: B rows of S positions."""

    @property
    def labels(self) -> Tensor:
        """int64 (B, S): the id to predict, `IGNORE_INDEX` elsewhere."""

    @property
    def segment_ids(self) -> Tensor:
        """int32 (B, S): number of the sequence, 0 in padding."""

    @property
    def loss_weights(self) -> Tensor | None:
        """float32 (B, S): what each label counts; None where all count the same."""


def find_terms(batch: Labelled) -> Tensor:
    """The positions that the loss is a mean over: bool `(B, S)`, on the batch's device."""
    return batch.labels != IGNORE_INDEX if batch.loss_weights is None else batch.segment_ids > 0


def count_terms(micro_batches: Iterable[Labelled]) -> int:
    """What the summed loss of some micro-batches of this rank is divided by, once it is added up over the ranks.

    Their labels; with `loss_weights`, all of their tokens but padding.
    """
    return sum(int(find_terms(batch).sum()) for batch in micro_batches)


def count_tokens(micro_batches: Iterable[Labelled]) -> int:
    """All tokens of some micro-batches but padding."""
    return sum(int((batch.segment_ids > 0).sum()) for batch in micro_batches)


def sum_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sum the cross-entropy of logits `(N, classes)`, in nats and in at least float32, each times its weight `(N,)`."""
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if weights is None:
        return functional.cross_entropy(precise, labels.to(logits.device), reduction="sum")
    each = functional.cross_entropy(precise, labels.to(logits.device), reduction="none")
    return each @ weights.to(each)
