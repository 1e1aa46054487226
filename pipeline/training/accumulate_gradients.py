"""The loss of a global batch: each of an objective's losses is a sum over its terms, over their number.

Both are counted over every micro-batch of the step. A mean of micro-batch means would weigh a token by how few
others are labelled beside it: rows differ in length, so the counts do too.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from maskmill.pipeline.training.masked_loss import TrainingBatch
from maskmill.pipeline.training.objectives.masked import MASKED
from maskmill.pipeline.training.objectives.objective import Objective


def accumulate_gradients(
    model: Any,
    micro_batches: Sequence[TrainingBatch],
    *,
    objective: Objective = MASKED,
    device: torch.device | str = "cpu",
    autocast: AbstractContextManager[Any] | None = None,
) -> float:
    """Add the gradient of one global batch's loss to the parameters.

    The terms are counted first; each micro-batch's sums are then divided by the counts of all of them before its
    own backward pass, so one micro-batch's activations are held at a time.

    Args:
        model: A model of `build_model`, as the objective has extended it.
        micro_batches: All micro-batches of the step, in order.
        objective: What the model is trained to do.
        device: Where the model is.
        autocast: Context of the forward passes, entered once for each; none for the parameters' own precision.

    Returns:
        The loss of the global batch: that of masked tokens in nats a token, and the objective's other losses, each
        with its weight, added to it; zero if nothing is labelled.

    Raises:
        ConfigError: The model judges pairs, and the rows hold none.
    """
    counts = [max(1, count) for count in objective.count(model, micro_batches)]
    totals = [0.0 for _ in counts]
    for micro_batch in micro_batches:
        with autocast or nullcontext():
            sums = objective.sum_losses(model, micro_batch, device)
        loss = torch.stack([one / count for one, count in zip(sums, counts, strict=True)]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        totals = [total + one.item() for total, one in zip(totals, sums, strict=True)]
    return sum(total / count for total, count in zip(totals, counts, strict=True))
