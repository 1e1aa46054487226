"""Train as a train file says: open its datasets and its output, run the loop."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from maskmill.pipeline.engine.ray_job import refuse_lost_output
from maskmill.pipeline.settings import check_callback, find_origins, load_settings
from maskmill.pipeline.storage.leases import hold_output
from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.training.checkpoints import CHECKPOINTS, find_checkpoint
from maskmill.pipeline.training.export_model import MODEL_FOLDER
from maskmill.pipeline.training.open_data import open_train_data, weigh_tokens
from maskmill.pipeline.training.run_training import TrainResult, run_training
from maskmill.pipeline.training.stop_signals import StopRequestedError, StopSignals, TrainingInterruptedError
from maskmill.schemas.events import TrainEvent, TrainListener
from maskmill.schemas.layout import WORK
from maskmill.schemas.train_file import TrainFile


def train(
    train_file: TrainFile | Mapping[str, Any] | str | os.PathLike[str],
    on_event: TrainListener | None = None,
    *,
    recipe: str | None = None,
) -> TrainResult:
    """Train as a train file says, continuing from the newest checkpoint in its output, and export the model.

    SIGINT and SIGTERM end it after the current step, with a checkpoint; a second one ends the process at once. Python
    delivers signals only to the main thread.

    For example::

        result = train({"data": {"dataset": "out/packed"}, "run": {"output": "out/training", "steps": 1000}})
        print(result.model_url)

    Args:
        train_file: The path or URL of a train file, a dictionary of its sections, or a `TrainFile`.
        on_event: Callback that receives every event (`maskmill.schemas.events`), in this process.
        recipe: The name of a recipe, or the path of one: its keys go under those of the train file.

    Raises:
        ConfigError: An argument or a key of the train file is wrong, a dataset or device is not there, another process
            trains into the same output, or the loss is no longer a number.
        StaleArtifactError: The checkpoint in the output belongs to another train file or dataset, or another process
            has taken over the output.
        ShardCorruptError: A checkpoint or a dataset has changed since it was written.
        TransientStorageError: The store failed every attempt.
        TrainingInterruptedError: A signal has stopped it; the error says where the same train file continues.
    """
    config = load_settings(TrainFile, train_file, "train_file", recipe)
    check_callback(on_event, "on_event")
    return train_as(config, on_event, find_origins(config, recipe))


def train_as(config: TrainFile, on_event: TrainListener | None, origins: Mapping[str, str]) -> TrainResult:
    """Do what `train` does, with settings that were checked.

    Args:
        config: The train file.
        on_event: Callback that receives every event.
        origins: For messages, what has set a key, such as `mask.rate`, if it was not the train file.
    """
    refuse_lost_output(config.run.output, "run.output")
    output = open_store(config.run.output)
    stop = StopSignals()
    with stop.caught():
        try:
            with hold_output(output) as lease:
                output.delete_partials({CHECKPOINTS, MODEL_FOLDER, WORK}.__contains__)

                def report_while_held(event: TrainEvent) -> None:
                    lease.check()
                    if on_event is not None:
                        on_event(event)

                settled = weigh_tokens(config)
                return run_training(settled, open_train_data(settled, origins), output, report_while_held, stop)
        except StopRequestedError as stopped:  # whenever it came: also while data is being opened
            checkpoint = find_checkpoint(output)
            continues_at = None if checkpoint is None else checkpoint.step
            raise TrainingInterruptedError(stopped.number, continues_at, stopped.not_saved) from None
