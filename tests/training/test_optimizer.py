from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
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


def test_the_rate_rests_at_its_highest_then_falls_to_the_final_share():
    """The formulas of the papers, written out: half a cosine, and one minus the root of the share that has passed."""
    keys = {"learning_rate": 8e-4, "warmup_steps": 10, "stable_steps": 20, "decay_steps": 130, "final_share": 0.1}
    for decay, shape in {
        "linear": lambda passed: 1 - passed,
        "cosine": lambda passed: (1 + math.cos(math.pi * passed)) / 2,
        "one_minus_sqrt": lambda passed: 1 - passed**0.5,
    }.items():
        section = OptimizerSection(**keys, decay=decay)
        rates = [compute_learning_rate(section, step) for step in range(140)]
        assert rates[:10] == pytest.approx([8e-5 * (step + 1) for step in range(10)])
        assert rates[10:31] == [8e-4] * 21
        expected = [8e-5 + 7.2e-4 * shape((step - 30) / 100) for step in range(30, 130)]
        assert rates[30:130] == pytest.approx(expected)
        assert rates[130:] == pytest.approx([8e-5] * 10)


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.integers(0, 2 * 10**6))
def test_the_rate_of_a_file_without_the_later_keys_is_what_it_was(warmup, steps, step):
    """To the bit: a run that continues must not change course."""
    section = OptimizerSection(learning_rate=5e-4, warmup_steps=warmup, decay_steps=warmup + steps)
    if step >= warmup:
        assert compute_learning_rate(section, step) == 5e-4 * max(0, warmup + steps - step) / steps
