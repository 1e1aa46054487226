from __future__ import annotations

import pytest

from maskmill.pipeline.training.demo_recipe import DEMO_STEPS, make_demo_run_file, make_demo_train_file
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.toml_files import parse_toml
from maskmill.schemas.train_file import TrainFile
from tests.training.small_runs import make_config

TEXT = """
[data]
dataset = "out/packed"
[run]
output = "out/training"
"""


def test_what_is_not_given_has_a_default():
    config = parse_toml(TrainFile, TEXT, "TRAIN.toml")
    assert (config.data.held_out, config.mask, config.model.hidden_size) == (None, None, 768)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("model.hidden_sise=8", "did you mean model.hidden_size"),
        ("mask.copies=1", "mask.copies"),
        ("model.num_heads=7", "hidden_size 768 is not a multiple of num_heads 7"),
        ("data.micro_batch_rows=100", "does not divide"),
        ("optimizer.decay_steps=1000", "is not after warmup_steps 1000"),
        ("optimizer.decay_steps=2000", "goes beyond optimizer.decay_steps 2000"),
        ("run.target_gap_nats=0.3", "needs data.held_out"),
        ("run.steps=0", "run.steps"),
        ('data.more_datasets=["out/packed"]', "name a dataset twice"),
        ("data.alpha=1.5", "data.alpha"),
        ("model.num_layers=1025", "model.num_layers"),
        ("model.intermediate_size=1048577", "model.intermediate_size"),
        ("run.steps=1.5", "run.steps"),
        ("model.dropout=1.0", "model.dropout"),
        ("run.precision='fp8'", "run.precision"),
        ("optimizer.betas=[0.9, 1.0]", "optimizer.betas"),
        ("optimizer.betas=[0.9, nan]", "optimizer.betas"),
        ("optimizer.learning_rate=inf", "optimizer.learning_rate"),
        ("optimizer.learning_rate=nan", "optimizer.learning_rate"),
        ("optimizer.weight_decay=inf", "optimizer.weight_decay"),
        ("optimizer.epsilon=inf", "optimizer.epsilon"),
        ("optimizer.clip_norm=inf", "optimizer.clip_norm"),
        ("model.dropout=nan", "model.dropout"),
        ("model.initializer_range=inf", "model.initializer_range"),
        ("run.target_gap_nats=inf", "run.target_gap_nats"),
        ("run.max_seconds=inf", "run.max_seconds"),
        ("mask.rate=nan", "mask.rate"),
    ],
)
def test_what_cannot_be_is_refused_by_name(override, named):
    with pytest.raises(ConfigError) as caught:
        parse_toml(TrainFile, TEXT, "TRAIN.toml", [override])
    assert named in str(caught.value)


def test_only_what_decides_the_weights_is_fingerprinted(tmp_path):
    base = make_config("a")
    free = {
        "data": {"dataset": "e", "held_out": "i", "micro_batch_rows": 1},
        "run": {
            "output": "b",
            "steps": 13,
            "checkpoint_every": 1,
            "keep_checkpoints": 1,
            "evaluate_every": 1,
            "log_every": 2,
            "target_gap_nats": 1.0,
            "max_seconds": 1.0,
            "device": "cuda",
            "precision": "bf16",
        },
    }
    assert make_config("a", **free).fingerprinted() == base.fingerprinted()
    varied = {f"{section}.{key}" for section, keys in free.items() for key in keys}
    every = {f"{section}.{key}" for section, keys in base.model_dump().items() for key in keys}
    assert base.fingerprinted().keys() == every - varied
    assert {key.partition(".")[0] for key in base.fingerprinted()} == {"data", "mask", "model", "optimizer", "run"}


def test_the_demonstrations_files_hold_together():
    run_file = make_demo_run_file(["docs/*.jsonl"], "out")
    train_file = make_demo_train_file("out/packed", "out/packed-heldout", "out/training", seed=3)
    assert run_file.documents.held_out > 0
    assert train_file.run.steps == DEMO_STEPS
    assert (train_file.data.seed, train_file.mask.seed, train_file.run.seed) == (3, 3, 3)
