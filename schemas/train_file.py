"""The train file: one TOML document that describes the training of one encoder on one packed dataset.

```toml
[data]
dataset = "out/packed"
held_out = "out/packed-heldout"
global_batch_rows = 256
[mask]
rate = 0.15
[model]
hidden_size = 768
[optimizer]
learning_rate = 5e-4
warmup_steps = 1000
decay_steps = 100000
[run]
output = "out/training"
steps = 100000
```

The keys of `[run]` except `seed`, the URLs of `[data]` and `micro_batch_rows` say where and how long to train. They may
change when a run continues from a checkpoint; every other key decides the weights and may not.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from maskmill.schemas.masking import Masking
from maskmill.schemas.model_section import ModelSection
from maskmill.schemas.redaction import redact
from maskmill.schemas.section import (
    AtLeastOne,
    AtLeastZero,
    Probability,
    Section,
    Share,
    UInt63,
    Url,
    leave_out_defaults,
)
from maskmill.schemas.token_weights import digest_weights

__all__ = ["DataSection", "ModelSection", "OptimizerSection", "RunSection", "TrainFile"]


MAX_MORE = 999
"""A mixture holds at most a thousand datasets."""


class DataSection(Section):
    """`[data]`: the rows to train on, and the batches."""

    dataset: Url
    """fsspec URL of a packed dataset."""
    more_datasets: Annotated[tuple[Url, ...], Field(strict=False, max_length=MAX_MORE)] = ()
    """URLs of further packed datasets, such as one for each other language: of the same tokenizer and row length. Rows
    of all of them are mixed, as `alpha` says."""
    alpha: Share = 1.0
    """With `more_datasets`: a dataset of n rows is read as often as if it had n^alpha. 1 reads every row equally often,
    0.7 is the value of multilingual BERT, 0.3 that of XLM-R, 0 reads every dataset equally often."""
    held_out: Url | None = None
    """fsspec URL of the packed held-out documents; without it there is no evaluation. The score is the mean
    cross-entropy of 15 % of their tokens, each shown as [MASK], whatever `[mask]` says, and without weights of
    `mask.per_sequence_rate`."""
    global_batch_rows: AtLeastOne = 256
    """Rows in one optimizer step."""
    micro_batch_rows: AtLeastOne | None = None
    """Rows that pass through the model at once, a divisor of `global_batch_rows`; if unset, all of them. Fewer rows
    need less memory. Without dropout they give the same gradient up to rounding; with dropout each micro-batch draws
    its own, so the gradient is a different one from the same distribution."""
    seed: UInt63 = 0
    """Decides the order of the rows."""
    stored_masks: Annotated[bool, Field(exclude_if=lambda stored: not stored)] = False
    """Read the static copies that are stored with the rows, one an epoch, instead of drawing masks. If there is a
    `[mask]`, it must be the settings of the copies."""

    @model_validator(mode="after")
    def _micro_batches_divide(self) -> DataSection:
        if self.micro_batch_rows is not None and self.global_batch_rows % self.micro_batch_rows:
            raise ValueError(
                f"micro_batch_rows {self.micro_batch_rows} does not divide global_batch_rows {self.global_batch_rows}"
            )
        urls = [self.dataset, *self.more_datasets]
        if len(set(urls)) < len(urls):
            raise ValueError("dataset and more_datasets name a dataset twice")
        if self.alpha != type(self).model_fields["alpha"].default and not self.more_datasets:
            raise ValueError(
                "alpha says how often each of several datasets is read: give more_datasets, or leave it out"
            )
        return self

    @model_serializer(mode="wrap")
    def _write_what_is_used(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return leave_out_defaults(self, serialise(self), ("more_datasets", "alpha", "stored_masks"))


class Decay(StrEnum):
    """How the learning rate falls."""

    LINEAR = "linear"
    COSINE = "cosine"
    ONE_MINUS_SQRT = "one_minus_sqrt"


class OptimizerSection(Section):
    """`[optimizer]`: AdamW, and the learning rate of each step.

    The rate rises linearly over `warmup_steps`, stays at its highest for `stable_steps`, then falls as `decay` says and
    reaches `final_share` of it at `decay_steps`. `decay_steps` is a separate key from `run.steps`, so that the rate of
    a step does not depend on where a run stops.
    """

    learning_rate: Annotated[float, Field(gt=0.0)] = 5e-4
    """The highest learning rate."""
    warmup_steps: Annotated[int, Field(ge=0)] = 1000
    """Steps until the highest rate is reached."""
    stable_steps: AtLeastZero = 0
    """Steps after the warmup in which the rate stays the highest."""
    decay_steps: AtLeastOne | None = None
    """The step at which the rate has fallen to `final_share`, counted from the start of training; if unset, the rate
    stays constant after warmup."""
    decay: Annotated[Decay, Field(strict=False)] = Decay.LINEAR
    """How the rate falls: `linear`, as half a `cosine`, or as `one_minus_sqrt` of the share of the decay that has
    passed."""
    final_share: Share = 0.0
    """Share of the highest rate that is left at `decay_steps`, and that stays after it."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    """Decoupled weight decay of matrices; biases, LayerNorm weights and other vectors are exempt."""
    betas: Annotated[tuple[Probability, Probability], Field(strict=False)] = (0.9, 0.98)
    """Decay rates of the running means of gradients and of their squares."""
    epsilon: Annotated[float, Field(gt=0.0)] = 1e-6
    """Added to the denominator of the update."""
    clip_norm: Annotated[float, Field(gt=0.0)] = 1.0
    """Maximum norm of the whole gradient; a larger gradient is scaled down."""

    @model_validator(mode="after")
    def _decay_follows_warmup(self) -> OptimizerSection:
        if self.decay_steps is None:
            if unused := [name for name in _OF_DECAY if getattr(self, name) != type(self).model_fields[name].default]:
                raise ValueError(f"{unused[0]} needs decay_steps: without it the rate stays constant after warmup")
        elif self.decay_steps <= self.warmup_steps + self.stable_steps:
            stable = f" and stable_steps {self.stable_steps}" if self.stable_steps else ""
            raise ValueError(f"decay_steps {self.decay_steps} is not after warmup_steps {self.warmup_steps}{stable}")
        return self

    @model_serializer(mode="wrap")
    def _write_what_is_used(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return leave_out_defaults(self, serialise(self), _OF_DECAY)


_OF_DECAY = ("stable_steps", "decay", "final_share")


class RunSection(Section):
    """`[run]`: where the run writes, when it stops, and what it reports."""

    output: Url
    """fsspec URL of a folder; it holds `checkpoints/`, and `model/` once the run has ended."""
    steps: AtLeastOne = 10_000
    """Stop after this many optimizer steps, counted from the start of training, not of this process. A run that is
    already past this number takes no step."""
    checkpoint_every: AtLeastOne = 1000
    """Steps between checkpoints; one more is written at the end."""
    keep_checkpoints: AtLeastOne = 3
    """Number of newest checkpoints to keep."""
    evaluate_every: AtLeastOne = 1000
    """Steps between evaluations on the held-out rows; there is one more at the end."""
    log_every: AtLeastOne = 10
    """Steps between reports of the loss."""
    target_gap_nats: Annotated[float, Field(gt=0.0)] | None = None
    """Stop early once the held-out loss is this far below the unigram entropy of the same tokens, in nats a token."""
    max_seconds: Annotated[float, Field(gt=0.0)] | None = None
    """Stop early once this process has trained for this long, including evaluations."""
    seed: UInt63 = 0
    """Seed of the initial weights and of dropout."""
    device: Annotated[str, Field(min_length=1)] = "auto"
    """`auto` (the first CUDA device, else the CPU), `cpu`, `cuda`, or `cuda:1` and so on."""
    precision: Literal["auto", "bf16", "float32"] = "auto"
    """`bf16`, `float32` or `auto`: bf16 autocast on a CUDA device that supports bf16 in hardware, else float32."""


class TrainFile(Section):
    """A whole train file."""

    data: DataSection
    mask: Masking | None = None
    """`[mask]`: how rows are masked; if unset, as the dataset was prepared."""
    model: ModelSection = ModelSection()
    optimizer: OptimizerSection = OptimizerSection()
    run: RunSection

    @model_validator(mode="after")
    def _keys_agree(self) -> TrainFile:
        decay_steps = self.optimizer.decay_steps
        if decay_steps is not None and self.run.steps > decay_steps and not self.optimizer.final_share:
            raise ValueError(
                f"run.steps {self.run.steps} goes beyond optimizer.decay_steps {decay_steps}, where the learning "
                "rate is zero"
            )
        if self.run.target_gap_nats is not None and self.data.held_out is None:
            raise ValueError("run.target_gap_nats needs data.held_out")
        return self

    def fingerprinted(self) -> dict[str, object]:
        """The keys that decide the weights, as `{"section.key": value}`; a resumed run must not change them."""
        free = {"data.dataset", "data.more_datasets", "data.held_out", "data.micro_batch_rows"}
        free |= {f"run.{name}" for name in RunSection.model_fields if name != "seed"}
        sections: dict[str, dict[str, object] | None] = self.model_dump(mode="json")
        given = {section: keys for section, keys in sections.items() if keys is not None}
        flat = {f"{section}.{key}": value for section, keys in given.items() for key, value in keys.items()}
        if self.model.init is not None:
            flat["model.init"] = redact(self.model.init)
        if self.mask is not None and self.mask.token_weights is not None:
            flat["mask.token_weights"] = digest_weights(self.mask.token_weights)  # as long as the vocabulary
        if self.model.sentence_task:
            flat["model.sentence_task"] = True  # which pairs the rows have, their own fingerprint says
        return {key: value for key, value in flat.items() if key not in free}
