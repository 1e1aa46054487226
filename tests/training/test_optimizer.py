from __future__ import annotations

import pytest
from torch import nn

from maskmill.pipeline.training.optimizer import build_optimizer, compute_learning_rate, set_learning_rate
from maskmill.schemas.train_file import OptimizerSection


def test_the_rate_rises_then_falls_to_zero_by_hand():
    section = OptimizerSection(learning_rate=8.0, warmup_steps=4, decay_steps=8)
    rates = [compute_learning_rate(section, step) for step in range(10)]
    assert rates == [2.0, 4.0, 6.0, 8.0, 8.0, 6.0, 4.0, 2.0, 0.0, 0.0]


def test_the_rate_stays_without_decay_and_starts_full_without_warmup():
    section = OptimizerSection(learning_rate=3.0, warmup_steps=0)
    assert {compute_learning_rate(section, step) for step in (0, 1, 10**9)} == {3.0}


def test_only_matrices_decay():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3), nn.LayerNorm(3))
    optimizer = build_optimizer(model, OptimizerSection(weight_decay=0.25, betas=(0.5, 0.75), epsilon=0.125))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    expected = {"0.weight": 0.25, "1.weight": 0.25, "1.bias": 0.0, "2.weight": 0.0, "2.bias": 0.0}
    assert {name: decay[id(parameter)] for name, parameter in model.named_parameters()} == expected
    assert {(group["betas"], group["eps"]) for group in optimizer.param_groups} == {((0.5, 0.75), 0.125)}


def test_every_group_gets_the_rate():
    optimizer = build_optimizer(nn.Linear(2, 2), OptimizerSection())
    set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.5, 0.5])
