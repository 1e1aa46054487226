"""AdamW as BERT's descendants use it, and the learning rate as a pure function of the step."""

from __future__ import annotations

from torch import nn
from torch.optim import AdamW

from maskmill.schemas.train_file import OptimizerSection


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

    Warmup starts above zero, so that the first step is not lost, and decay would reach zero at the step after the
    last one.
    """
    if step < section.warmup_steps:
        return section.learning_rate * (step + 1) / section.warmup_steps
    if section.decay_steps is None:
        return section.learning_rate
    left = max(0, section.decay_steps - step)
    return section.learning_rate * left / (section.decay_steps - section.warmup_steps)


def set_learning_rate(optimizer: AdamW, learning_rate: float) -> None:
    """Set the rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
