"""The loss of a global batch: the sum of cross-entropy over the labelled positions, over their number.

Both are counted over every micro-batch of the step. A mean of micro-batch means would weigh a token by how few
others are labelled beside it: rows differ in length, so the counts do too.

The output layer runs at the labelled positions alone. At a rate of 0.15 that leaves out 85 % of the largest
product of a small model, and of the (B, S, vocab) logits that fill a GPU first.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from maskmill.pipeline.loader.for_trainers import count_labels
from maskmill.schemas.masking import IGNORE_INDEX


class TrainingBatch(Protocol):
    """The part of the loader's batch that training uses: B rows of S tokens, on the CPU."""

    @property
    def labels(self) -> Tensor:
        """int64 (B, S): the id to predict, `IGNORE_INDEX` elsewhere."""

    def model_inputs(self, layout: Literal["sdpa"], model: Any) -> dict[str, Any]:
        """The model's keyword arguments, a block-diagonal attention mask (B, 1, S, S) among them."""


def sum_masked_loss(model: Any, batch: TrainingBatch, *, device: torch.device | str = "cpu") -> Tensor:
    """Run the encoder on a batch and sum the cross-entropy, in nats, over its labelled positions.

    Args:
        model: A `BertForMaskedLM`; its encoder sees all positions, its head the labelled ones.
        batch: B rows.
        device: Where the model is.

    Returns:
        A scalar in at least float32; zero, with a gradient of zeros, for a batch without labels.
    """
    labels = batch.labels.reshape(-1)
    # Found on the CPU: the same on a GPU would wait for all that is queued there.
    positions = (labels != IGNORE_INDEX).nonzero().squeeze(1)
    inputs = {
        name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for name, value in batch.model_inputs("sdpa", model).items()
    }
    hidden = model.bert(**inputs).last_hidden_state.flatten(0, 1)  # (B*S, hidden_size)
    logits = model.cls(hidden.index_select(0, positions.to(device)))  # (labelled, vocab_size)
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return functional.cross_entropy(precise, labels[positions].to(device), reduction="sum")


def accumulate_gradients(
    model: Any,
    micro_batches: Sequence[TrainingBatch],
    *,
    device: torch.device | str = "cpu",
    autocast: AbstractContextManager[Any] | None = None,
) -> float:
    """Add the gradient of one global batch's loss to the parameters.

    The labels are counted first; each micro-batch's sum is then divided by the count of all of them before its
    own backward pass, so one micro-batch's activations are held at a time.

    Args:
        model: A `BertForMaskedLM`.
        micro_batches: All micro-batches of the step, in order.
        device: Where the model is.
        autocast: Context of the forward passes, entered once for each; none for the parameters' own precision.

    Returns:
        The loss of the global batch in nats a token; zero if nothing is labelled.
    """
    num_labels = max(1, count_labels(micro_batches))
    total = 0.0
    for micro_batch in micro_batches:
        with autocast or nullcontext():
            loss_sum = sum_masked_loss(model, micro_batch, device=device)
        (loss_sum / num_labels).backward()  # type: ignore[no-untyped-call]
        total += loss_sum.item()
    return total / num_labels
