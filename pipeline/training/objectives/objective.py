"""What training needs to know about an objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from maskmill.pipeline.training.masked_loss import TrainingBatch
from maskmill.pipeline.training.train_data import TrainData
from maskmill.schemas.model_section import ModelSection


@dataclass(frozen=True)
class Objective:
    """An objective: one or several losses of a model, each a sum over a batch and a count over the global batch.

    Attributes:
        extend: The module that is trained, from a model of the family: with all that the objective adds, so that the
            optimizer and checkpoints have it too. Fresh weights are drawn from torch's generator.
        count: For each loss, how many terms it has in all micro-batches of a global batch.
        sum_losses: For each loss, the sum of its terms in one micro-batch, times its weight.
        take_exported: The part of the module that is exported.
        take_scored: The part that predicts masked tokens, which the held-out score is of.
        aside: The part that is trained beside the exported one, in words; empty if there is none. No folder that a run
            begins with holds it.
    """

    extend: Callable[[Any, ModelSection, TrainData], Any]
    count: Callable[[Any, Sequence[TrainingBatch]], list[int]]
    sum_losses: Callable[[Any, TrainingBatch, torch.device | str], list[Tensor]]
    take_exported: Callable[[Any], Any]
    take_scored: Callable[[Any], Any]
    aside: str = ""
