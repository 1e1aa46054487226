"""The loss weights of masked diffusion reach every objective that trains masked tokens."""

from __future__ import annotations

import pytest

from maskmill.pipeline.training.train import train
from maskmill.schemas.model_section import ObjectiveName
from tests.training.objectives.trained import describe_run


@pytest.mark.parametrize("objective", list(ObjectiveName))
def test_the_weights_of_the_masks_change_the_loss_of_every_objective(prepared, tmp_path, objective):
    """The model and the masks of the first step are the same with and without weights."""
    model = {"objective": objective.value, "dropout": 0.0}
    if objective is ObjectiveName.REPLACED_TOKEN:
        model |= {"family": "electra", "embedding_size": 12}
    losses = []
    for weights in ("inverse_rate", "one"):
        mask = {"per_sequence_rate": [0.1, 0.9], "loss_weights": weights, "mask_share": 1.0, "random_share": 0.0}
        settings = describe_run(prepared, str(tmp_path / weights), mask, **model)
        settings["run"] |= {"steps": 1}
        settings["optimizer"] |= {"warmup_steps": 0}
        train(settings, lambda event: losses.append(event.loss) if event.event == "train_step" else None)
    assert len(losses) == 2
    assert abs(losses[0] - losses[1]) > 1e-4
