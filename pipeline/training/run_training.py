"""Train one encoder on one packed dataset, on one device, continuing from the last checkpoint.

A step takes the micro-batches of one global batch, adds up their gradients, clips, and updates. What the next
step depends on is in the checkpoint, and evaluation draws no random number, so a run that was stopped and resumed
reports the losses of one that never stopped: to the bit on the CPU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.nn.utils import clip_grad_norm_

from maskmill.pipeline.loader.batches.gather_steps import gather_steps
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.training.accumulate_gradients import accumulate_gradients
from maskmill.pipeline.training.checkpoints import (
    Checkpoint,
    check_belongs,
    find_checkpoint,
    load_checkpoint,
    load_loader_state,
    write_checkpoint,
)
from maskmill.pipeline.training.device import open_autocast, resolve_device, resolve_precision
from maskmill.pipeline.training.export_model import export_model
from maskmill.pipeline.training.load_model import make_initial_model
from maskmill.pipeline.training.objectives import OBJECTIVES
from maskmill.pipeline.training.optimizer import build_optimizer, compute_learning_rate, set_learning_rate
from maskmill.pipeline.training.score_held_out import HeldOutScore, score_held_out
from maskmill.pipeline.training.stop_signals import StopRequestedError, StopSignals
from maskmill.pipeline.training.train_data import LoadedBatch, ResumableBatches, TrainData
from maskmill.schemas.errors import ConfigError, MaskmillError, ShardCorruptError
from maskmill.schemas.events import (
    CheckpointWritten,
    HeldOutScored,
    ModelExported,
    Noted,
    TrainListener,
    TrainStarted,
    TrainStep,
)
from maskmill.schemas.train_file import TrainFile

StoppedBy = Literal["steps", "target", "seconds"]


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        step: Optimizer steps taken since the start of training.
        resumed_from: The step of the checkpoint that this process went on from; None for a fresh start.
        stopped_by: What ended it: all steps, the target gap or the time limit.
        held_out: The last score; None without held-out rows.
        first_loss: Training loss of the very first step, in nats a token; None before it.
        last_loss: Training loss of the last step.
        train_seconds: Wall time of this process's loop, evaluations and checkpoints included.
        model_url: Where the exported model is.
    """

    step: int
    resumed_from: int | None
    stopped_by: StoppedBy
    held_out: HeldOutScore | None
    first_loss: float | None
    last_loss: float | None
    train_seconds: float
    model_url: str


def run_training(
    config: TrainFile, data: TrainData, store: Store, report: TrainListener, stop: StopSignals | None = None
) -> TrainResult:
    """Train as `train.train` documents, on data and an output that are already open.

    Raises:
        StopRequestedError: A signal has stopped the run; its last finished step is saved, or the error says why not.
    """
    device = resolve_device(config.run.device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        return _Run(config, data, store, report, device, stop or StopSignals()).train()


class _Run:
    """One process's part of a run: the model, its optimizer and the current step."""

    def __init__(
        self,
        config: TrainFile,
        data: TrainData,
        store: Store,
        report: TrainListener,
        device: torch.device,
        stop: StopSignals,
    ) -> None:
        self.config, self.data, self.store, self.report, self.device = config, data, store, report, device
        self.stop = stop
        # Checkpoints name the masking in force, also where the train file has none.
        self.settled = config.model_copy(update={"mask": config.mask or data.masking}).fingerprinted()
        self.precision = resolve_precision(config.run.precision, device)
        self.objective = OBJECTIVES[config.model.objective]
        initial = make_initial_model(config.model, data, config.run.seed)
        self.model = self.objective.extend(initial, config.model, data).to(device)
        self.optimizer = build_optimizer(self.model, config.optimizer)
        self.step = 0
        self.saved_step: int | None = None
        self.loader_state: dict[str, Any] = {}
        self.score: HeldOutScore | None = None
        self.scored_step: int | None = None
        self.first_loss: float | None = None
        self.last_loss: float | None = None
        self.start_seconds = 0.0
        self.waited_seconds = 0.0  # for storage, since the last report

    def train(self) -> TrainResult:
        resumed_from = self._resume()
        try:
            return self._train(resumed_from)
        except StopRequestedError as stopped:
            self._save_before_leaving(stopped)
            raise

    def _train(self, resumed_from: int | None) -> TrainResult:
        run = self.config.run
        self.report(
            TrainStarted(
                step=self.step,
                resumed_from=resumed_from,
                device=str(self.device),
                precision=self.precision,
                num_parameters=sum(parameter.numel() for parameter in self.model.parameters()),
                masking=self.data.masking,
            )
        )
        if resumed_from is None and self.config.model.init is not None and self.objective.aside:
            message = f"{self.objective.aside} begins with fresh weights: model.init holds the exported model alone"
            self.report(Noted(message=message))
        self.start_seconds = time.monotonic()
        if resumed_from is not None and run.target_gap_nats is not None and self.step % run.evaluate_every == 0:
            # A run that has reached its target takes no further step; one that was killed between two evaluations
            # is not judged at a step where an undisturbed one is not.
            self._evaluate()
        stopped_by = "target" if self._has_reached_target() else self._take_steps()
        self._save()
        self._evaluate()
        seconds = self._measure_seconds()
        exported = self.objective.take_exported(self.model)
        model_url = export_model(
            self.store, exported, tokenizer_json=self.data.tokenizer_json, seq_len=self.data.seq_len
        )
        self.report(ModelExported(step=self.step, url=model_url))
        return TrainResult(
            step=self.step,
            resumed_from=resumed_from,
            stopped_by=stopped_by,
            held_out=self.score,
            first_loss=self.first_loss,
            last_loss=self.last_loss,
            train_seconds=seconds,
            model_url=model_url,
        )

    def _take_steps(self) -> StoppedBy:
        run = self.config.run
        if self.step >= run.steps:
            return "steps"
        for micro_batches in iter_global_batches(self.data.batches, self.config.data.global_batch_rows):
            with self.stop.deferred():
                self._take_step(micro_batches)
            if self.step % run.checkpoint_every == 0:
                self._save()
            if self.step % run.evaluate_every == 0:
                self._evaluate()
            if self._has_reached_target():
                return "target"
            if self.step >= run.steps:
                break
            if run.max_seconds is not None and self._measure_seconds() >= run.max_seconds:
                return "seconds"
        return "steps"

    def _resume(self) -> int | None:
        checkpoint = find_checkpoint(self.store)
        if checkpoint is None:
            return None
        masked_by = "data.dataset" if self.config.mask is None else "the train file"
        check_belongs(self.store, checkpoint, self.settled, self.data.fingerprint, masked_by=masked_by)
        load_loader_state(self.store, checkpoint, self.data)
        load_checkpoint(self.store, checkpoint, self.model, self.optimizer)
        self.loader_state = checkpoint.loader_state
        self.first_loss, self.last_loss = checkpoint.first_loss, checkpoint.last_loss
        self.step = self.saved_step = checkpoint.step
        return checkpoint.step

    def _take_step(self, micro_batches: list[LoadedBatch]) -> None:
        section = self.config.optimizer
        learning_rate = compute_learning_rate(section, self.step)
        set_learning_rate(self.optimizer, learning_rate)
        self.optimizer.zero_grad(set_to_none=True)
        autocast = open_autocast(self.precision, self.device)
        loss = accumulate_gradients(
            self.model, micro_batches, objective=self.objective, device=self.device, autocast=autocast
        )
        norm = clip_grad_norm_(self.model.parameters(), section.clip_norm).item()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            # Before the update: the weights of the last checkpoint stay the last good ones.
            raise ConfigError(
                f"the loss is no longer a number at step {self.step}",
                path="optimizer.learning_rate",
                expected="a finite loss and gradient",
                found=f"loss {loss}, gradient norm {norm}",
                action="lower the learning rate or lengthen the warmup, in another run.output",
            )
        self.optimizer.step()
        self.step += 1
        self.first_loss = loss if self.first_loss is None else self.first_loss
        self.last_loss = loss
        self.loader_state = micro_batches[-1].state
        self.waited_seconds += sum(batch.waited_seconds for batch in micro_batches)
        if self.step % self.config.run.log_every == 0 or self.step == self.config.run.steps:
            self.report(
                TrainStep(
                    step=self.step,
                    epoch=int(micro_batches[-1].epoch),
                    loss=loss,
                    learning_rate=learning_rate,
                    gradient_norm=norm,
                    waited_seconds=self.waited_seconds,
                    seconds=self._measure_seconds(),
                )
            )
            self.waited_seconds = 0.0

    def _save_before_leaving(self, stopped: StopRequestedError) -> None:
        try:
            if self.step not in (0, self.saved_step):
                self._write_checkpoint()
        except (MaskmillError, OSError) as error:
            stopped.not_saved = error

    def _save(self) -> None:
        if self.step != self.saved_step:
            with self.stop.deferred():
                self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        checkpoint = Checkpoint(
            step=self.step,
            configuration=self.settled,
            dataset_fingerprint=self.data.fingerprint,
            loader_state=self.loader_state,
            first_loss=self.first_loss,
            last_loss=self.last_loss,
        )
        keep = self.config.run.keep_checkpoints
        write_checkpoint(self.store, checkpoint, self.model, self.optimizer, keep=keep)
        self.saved_step = self.step
        self.report(CheckpointWritten(step=self.step))

    def _evaluate(self) -> None:
        if self.data.open_held_out is None or self.scored_step == self.step:
            return
        score = score_held_out(
            self.objective.take_scored(self.model),
            self.data.open_held_out(),
            vocab_size=self.data.vocab_size,
            device=self.device,
            open_autocast=lambda: open_autocast(self.precision, self.device),
        )
        if score is None:
            return
        self.score, self.scored_step = score, self.step
        self.report(
            HeldOutScored(
                step=self.step,
                loss=score.loss,
                unigram_entropy=score.unigram_entropy,
                gap=score.gap,
                num_labels=score.num_labels,
                seconds=self._measure_seconds(),
            )
        )

    def _has_reached_target(self) -> bool:
        target = self.config.run.target_gap_nats
        return target is not None and self.scored_step == self.step and self._gap() >= target

    def _gap(self) -> float:
        return self.score.gap if self.score is not None else -math.inf

    def _measure_seconds(self) -> float:
        return time.monotonic() - self.start_seconds


def iter_global_batches(batches: ResumableBatches, global_batch_rows: int) -> Iterator[list[LoadedBatch]]:
    """The micro-batches of one step after the other.

    Raises:
        ShardCorruptError: The micro-batches of a step do not add up to a global batch.
    """
    for micro_batches in gather_steps(batches):
        num_rows = sum(len(batch.row_ids) for batch in micro_batches)
        if num_rows != global_batch_rows:
            raise ShardCorruptError(
                "micro-batches do not add up to a global batch",
                path="data.dataset",
                place=f"epoch {micro_batches[0].epoch}, step {micro_batches[0].step}",
                expected=f"{global_batch_rows} rows",
                found=f"{num_rows}",
                action="run `maskmill verify` on data.dataset; if it finds nothing, this is a defect of maskmill",
            )
        yield micro_batches
