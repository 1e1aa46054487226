"""Masked tokens, and the labels of pairs of segments where the model judges them.

Where pairs have labels too, their loss is added with the same weight (BERT, arXiv 1810.04805, appendix A.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from maskmill.pipeline.loader.batches.loss_terms import count_terms
from maskmill.pipeline.training.families import family_of
from maskmill.pipeline.training.masked_loss import (
    TrainingBatch,
    count_pairs,
    encode,
    sum_pair_loss,
    sum_token_loss,
)
from maskmill.pipeline.training.objectives.objective import Objective


def count_masked(model: Any, micro_batches: Sequence[TrainingBatch]) -> list[int]:
    """Labelled positions, or all tokens where labels have weights; then pairs for a model that judges them.

    Raises:
        ConfigError: The model judges pairs, and the rows hold none.
    """
    counts = [count_terms(micro_batches)]
    if family_of(model).judges_pairs(model):
        counts.append(sum(map(count_pairs, micro_batches)))
    return counts


def sum_from_hidden(model: Any, hidden: Tensor, batch: TrainingBatch) -> list[Tensor]:
    """The sums of the same, from the hidden states of all positions."""
    family = family_of(model)
    sums = [sum_token_loss(model, family, hidden, batch)]
    if family.judges_pairs(model):
        sums.append(sum_pair_loss(model, family, hidden, batch))
    return sums


def _sum(model: Any, batch: TrainingBatch, device: torch.device | str) -> list[Tensor]:
    return sum_from_hidden(model, encode(model, family_of(model), batch, device), batch)


MASKED = Objective(
    extend=lambda model, _section, _data: model,
    count=count_masked,
    sum_losses=_sum,
    take_exported=lambda model: model,
    take_scored=lambda model: model,
)
