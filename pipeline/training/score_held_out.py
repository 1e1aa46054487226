"""The held-out score: how far below the unigram entropy the model predicts text that it never saw.

Every labelled position shows [MASK]. BERT's own mixture leaves a tenth of them as they are, and a model without
any attention reads those off: that alone is worth about 0.6 nats. With [MASK] alone, a model that uses no context
can do no better than the tokens' frequencies, so the gap to their entropy is what context gives.

No label has a weight here, also where training weighs them by `mask.per_sequence_rate`: the entropy that the loss is
compared with is that of tokens that count the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from maskmill.pipeline.training.masked_loss import TrainingBatch, sum_masked_loss
from maskmill.schemas.masking import IGNORE_INDEX, Masking

HELD_OUT_MASKING = Masking(rate=0.15, mask_share=1.0, random_share=0.0, seed=0)
"""Masking of every evaluation, whatever the training masks, so that scores of different runs are comparable."""


@dataclass(frozen=True)
class HeldOutScore:
    """The loss on held-out rows beside what frequencies alone could reach.

    Attributes:
        loss: Mean cross-entropy of the labelled tokens, in nats.
        unigram_entropy: Entropy of the same tokens' own empirical distribution, in nats: a lower bound for any
            prediction that looks at no context, even one that knew these very frequencies.
        num_labels: Tokens that both are taken over.
    """

    loss: float
    unigram_entropy: float
    num_labels: int

    @property
    def gap(self) -> float:
        """Nats a token that the loss lies below the unigram entropy; negative where it lies above."""
        return self.unigram_entropy - self.loss


def measure_unigram_entropy(counts: Tensor) -> float:
    """Entropy in nats of the distribution that counts (vocab_size,) describe; zero where nothing was counted."""
    present = counts[counts > 0].double()
    shares = present / present.sum()
    return float(-(shares * shares.log()).sum())


def score_held_out(
    model: Any,
    batches: Iterable[TrainingBatch],
    *,
    vocab_size: int,
    device: torch.device | str,
    open_autocast: Callable[[], AbstractContextManager[Any]],
) -> HeldOutScore | None:
    """Score a model on batches, without dropout and without touching any generator; None where nothing is labelled.

    Args:
        model: A `BertForMaskedLM`; in training mode again afterwards.
        batches: Every held-out row once.
        vocab_size: Ids are below it.
        device: Where the model is.
        open_autocast: Gives the context of a forward pass.
    """
    counts = torch.zeros(vocab_size, dtype=torch.int64)
    loss_sum = 0.0
    model.eval()
    try:
        with torch.no_grad():
            for batch in batches:
                labels = batch.labels[batch.labels != IGNORE_INDEX]
                if len(labels) == 0:
                    continue
                counts += torch.bincount(labels, minlength=vocab_size)
                with open_autocast():
                    loss_sum += sum_masked_loss(model, batch, device=device).item()
    finally:
        model.train()
    num_labels = int(counts.sum())
    return HeldOutScore(loss_sum / num_labels, measure_unigram_entropy(counts), num_labels) if num_labels else None
