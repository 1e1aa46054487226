"""Training as a train file says: its datasets and its output opened, the loop run."""

from __future__ import annotations

from typing import Any

from maskmill.pipeline.storage.leases import hold_output
from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.training.checkpoints import CHECKPOINTS, find_checkpoint
from maskmill.pipeline.training.export_model import MODEL_FOLDER
from maskmill.pipeline.training.open_data import open_train_data
from maskmill.pipeline.training.run_training import Report, TrainResult, run_training
from maskmill.pipeline.training.stop_signals import StopRequestedError, StopSignals, TrainingInterruptedError
from maskmill.schemas.layout import WORK
from maskmill.schemas.train_file import TrainFile


def train(config: TrainFile, report: Report) -> TrainResult:
    """Train as a train file says, or go on from the newest checkpoint in its output, and export the model.

    SIGINT and SIGTERM end it after the step at hand, with a checkpoint; a second one ends the process at once.

    Args:
        config: The train file.
        report: Called with one JSON-able event at a time, `event` being its kind: `start` (step, resumed_from,
            device, precision, num_parameters, masking), `train_step` (step, epoch, loss, learning_rate, gradient_norm,
            seconds), `checkpoint` (step), `held_out` (step, loss, unigram_entropy, gap, num_labels, seconds) and
            `export` (step, url). Losses are in nats a token.

    Raises:
        ConfigError: A dataset or device is not there, another process trains into the same output, or the loss is no
            longer a number.
        StaleArtifactError: The checkpoint in the output belongs to another train file or dataset, or another process
            has taken over the output.
        ShardCorruptError: A checkpoint or a dataset is not as it was written.
        TrainingInterruptedError: A signal has stopped it; says where the same train file continues.
    """
    output = open_store(config.run.output)
    stop = StopSignals()
    with stop.caught():
        try:
            with hold_output(output) as lease:
                output.delete_partials({CHECKPOINTS, MODEL_FOLDER, WORK}.__contains__)

                def report_while_held(event: dict[str, Any]) -> None:
                    lease.check()
                    report(event)

                return run_training(config, open_train_data(config), output, report_while_held, stop)
        except StopRequestedError as stopped:  # wherever it came: while data is opened too
            checkpoint = find_checkpoint(output)
            continues_at = None if checkpoint is None else checkpoint.step
            raise TrainingInterruptedError(stopped.number, continues_at, stopped.not_saved) from None
