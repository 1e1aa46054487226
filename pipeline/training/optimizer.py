"""AdamW as BERT's descendants use it, and the learning rate as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import nn
from torch.optim import AdamW

from maskmill.schemas.train_file import Decay, OptimizerSection


def build_optimizer(model: nn.Module, section: OptimizerSection) -> AdamW:
    """Build AdamW (arXiv 1711.05101) with decay on matrices only.

    Biases, LayerNorm weights and the output bias are vectors: decay would pull the log-frequencies that the output
    bias learns towards zero.
    """
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": section.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=section.learning_rate, betas=section.betas, eps=section.epsilon)


def compute_learning_rate(section: OptimizerSection, step: int) -> float:
    """Give the learning rate of a step, counted from 0.

    Warmup starts above zero, so that the first step is not lost, and decay would reach its end at the step after the
    last one.
    """
    if step < section.warmup_steps:
        return section.learning_rate * (step + 1) / section.warmup_steps
    first = section.warmup_steps + section.stable_steps
    if section.decay_steps is None or step < first:
        return section.learning_rate
    lowest = section.learning_rate * section.final_share
    left = max(0, section.decay_steps - step)
    return lowest + _FALLS[section.decay](section.learning_rate - lowest, left, section.decay_steps - first)


def _fall_as_cosine(height: float, left: int, steps: int) -> float:
    return height * (1.0 - math.cos(math.pi * left / steps)) / 2.0


def _fall_as_root(height: float, left: int, steps: int) -> float:
    return height * (1.0 - math.sqrt((steps - left) / steps))


_FALLS: dict[Decay, Callable[[float, int, int], float]] = {
    Decay.LINEAR: lambda height, left, steps: height * left / steps,
    Decay.COSINE: _fall_as_cosine,
    Decay.ONE_MINUS_SQRT: _fall_as_root,
}
"""What is left of a height with so many steps left of so many: all of it at the first, nothing after the last."""


def set_learning_rate(optimizer: AdamW, learning_rate: float) -> None:
    """Set the rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
