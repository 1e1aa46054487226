"""The events of a job: what a callback receives, and with `--json` one line of JSON each.

A line has `time`, seconds since 1970, and the fields of its event: `{"time": 1767225600.0, "event": "finished", ...}`.
`event` is its name. A later version may add fields and events; a reader ignores what it does not know.

    prepare   stage_started (unit_progress | unit_done)* stage_done, for each stage; warning, note; finished
    tokenizer the same, and with --compare tokenizer_measured
    inspect   filters_inspected
    mask      stage_started (unit_progress | unit_done)* stage_done, if there is something to write; finished
    verify    shard_verified, verified
    train     start, train_step, checkpoint, held_out, export
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from maskmill.schemas.bounded_json import parse_json
from maskmill.schemas.counting import Count, Written
from maskmill.schemas.counts import SourceReport
from maskmill.schemas.masking import Masking

MAX_LINE_BYTES = 64 << 20
"""Of one event: `tokenizer_measured` has a line for each of a thousand sources."""


class Event(BaseModel):
    """The base class of all events."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def fields(self) -> dict[str, Any]:
        """Its fields as JSON types, `event` first."""
        return self.model_dump(mode="json")


class StageStarted(Event):
    """A stage begins."""

    event: Literal["stage_started"] = "stage_started"
    stage: str
    """Name of the stage, such as `map`."""
    units: Count
    """Number of units in the stage."""
    reused: Count
    """How many of them an earlier driver has finished."""


class UnitProgress(Event):
    """A long unit reports its progress, about once a second; on Ray units do not report it."""

    event: Literal["unit_progress"] = "unit_progress"
    stage: str
    """Name of the stage."""
    unit: Count
    """The unit's number in the stage, from 0."""
    share: Annotated[float, Field(ge=0.0, le=1.0)]
    """The share of its work that is done."""


class UnitDone(Event):
    """A unit is finished."""

    event: Literal["unit_done"] = "unit_done"
    stage: str
    """Name of the stage."""
    unit: Count
    """The unit's number in the stage, from 0."""
    seconds: float
    """Its wall time; 0 if it had finished earlier and only the report was missing."""
    host: str
    """The machine that ran it."""
    counts: dict[str, int]
    """What the unit counted, such as `text_bytes`."""


class StageDone(Event):
    """All units of a stage are finished."""

    event: Literal["stage_done"] = "stage_done"
    stage: str
    """Name of the stage."""
    units: Count
    """Number of units in the stage."""
    ran: Count
    """How many of them ran now."""
    seconds: float
    """The wall time of the stage."""
    retries: Count
    """Attempts beyond the first, over all units."""


class Warned(Event):
    """Something that the user should know, and most likely change."""

    event: Literal["warning"] = "warning"
    message: str
    """The message."""


class Noted(Event):
    """Something that the user should know."""

    event: Literal["note"] = "note"
    message: str
    """The message."""


class RunFinished(Event):
    """A run is finished, up to the requested part."""

    event: Literal["finished"] = "finished"
    seconds: float
    """The wall time of this driver."""


class TokenizerMeasured(Event):
    """A tokenizer was measured on a sample of the documents."""

    event: Literal["tokenizer_measured"] = "tokenizer_measured"
    tokenizer: str
    """Name of the tokenizer; `this run` for the run's own."""
    sources: tuple[SourceReport, ...]
    """The measurements for the text of each source."""


class DroppedExample(Written):
    """A document that a filter drops."""

    doc_id: str
    """Its id."""
    source: str
    """Its source."""
    excerpt: str
    """How its text begins, or what it shares with evaluation text, with control characters escaped."""


class DroppedReason(Written):
    """What a filter drops for one reason."""

    reason: str
    """The reason, as manifests have it behind the filter's name."""
    documents: Count
    """How many."""
    by_source: dict[str, Count]
    """How many of each source."""
    examples: tuple[DroppedExample, ...]
    """The first of them."""


class InspectedFilter(Written):
    """What a filter does with a sample."""

    name: str
    """The filter."""
    seen: Count
    """Documents that no filter before it drops."""
    changed: Count
    """Documents whose text it changes."""
    dropped: Count
    """Documents that it drops."""
    reasons: tuple[DroppedReason, ...]
    """By reason, the most frequent first."""


class FiltersInspected(Event):
    """Filters were tried on a sample of the documents; nothing is written."""

    event: Literal["filters_inspected"] = "filters_inspected"
    files: Count
    """Files of the run."""
    sampled_files: Count
    """Files from whose beginnings the sample is."""
    documents: Count
    """Documents in the sample."""
    kept: Count
    """Documents that no filter drops."""
    kept_by_source: dict[str, Count]
    """How many of each source."""
    quarantined: Count
    """Inputs that are rejected before filters see them, beside the documents."""
    text_bytes: Count
    """UTF-8 bytes of the sample's text."""
    filters: tuple[InspectedFilter, ...]
    """The filters in the order in which they look at a document."""
    read_seconds: float
    """CPU time of reading the sample."""
    filter_seconds: float
    """CPU time of filtering it."""
    corpus_bytes: Count
    """Text of all files, as far as their sizes and compression tell."""
    estimated_seconds: float
    """CPU time of reading and filtering all files on one core, by the same measure."""


class ShardVerified(Event):
    """A shard was read again, with or without findings."""

    event: Literal["shard_verified"] = "shard_verified"
    path: str
    """The dataset of the shard."""
    done: Count
    """Number of its shards read so far."""
    shards: Count
    """Number of its shards."""


class PartVerified(Event):
    """A dataset or tokenizer was verified; the last event of a run is for what must hold between them."""

    event: Literal["verified"] = "verified"
    path: str
    """The folder that was verified."""
    findings: tuple[str, ...]
    """Everything that is wrong, each with its path."""
    warnings: Annotated[tuple[str, ...], Field(exclude_if=lambda said: not said)] = ()
    """What is as it was written, and most likely not what was meant, such as pairs that all have one label."""


class TrainStarted(Event):
    """Training starts or continues."""

    event: Literal["start"] = "start"
    step: Count
    """Optimizer steps taken so far."""
    resumed_from: Count | None
    """Step of the checkpoint that training continues from; null for a fresh start."""
    device: str
    """Device of the model, such as `cuda:0`."""
    precision: str
    """Precision of the computation, such as `bf16`."""
    num_parameters: Count
    """Number of parameters of the model."""
    masking: Masking
    """The mask settings in force."""


class TrainStep(Event):
    """An optimizer step, every `run.log_every` of them."""

    event: Literal["train_step"] = "train_step"
    step: Count
    """Steps taken, including this one."""
    epoch: Count
    """Epoch of the step's rows."""
    loss: float
    """Loss of the step's global batch, in nats per predicted token."""
    learning_rate: float
    """Learning rate of the step."""
    gradient_norm: float
    """Norm of the gradient before clipping."""
    waited_seconds: float
    """Time spent waiting for storage since the last event of this kind."""
    seconds: float
    """Wall time of the loop so far."""


class CheckpointWritten(Event):
    """A checkpoint was written completely."""

    event: Literal["checkpoint"] = "checkpoint"
    step: Count
    """The step from which it continues."""


class HeldOutScored(Event):
    """The model was scored on the held-out rows."""

    event: Literal["held_out"] = "held_out"
    step: Count
    """Steps taken."""
    loss: float
    """Loss in nats per predicted token."""
    unigram_entropy: float
    """The loss of a model that knows how frequent each token is and nothing else."""
    gap: float
    """How far the loss is below the unigram entropy."""
    num_labels: Count
    """Number of predicted tokens."""
    seconds: float
    """Wall time of the loop so far."""


class ModelExported(Event):
    """The model was written in the form that `transformers` loads."""

    event: Literal["export"] = "export"
    step: Count
    """Steps taken."""
    url: str
    """Folder of the model."""


RunEvent: TypeAlias = (
    StageStarted | UnitProgress | UnitDone | StageDone | Warned | Noted | RunFinished | TokenizerMeasured
)
VerifyEvent: TypeAlias = ShardVerified | PartVerified
TrainEvent: TypeAlias = TrainStarted | Noted | TrainStep | CheckpointWritten | HeldOutScored | ModelExported
AnyEvent: TypeAlias = RunEvent | VerifyEvent | TrainEvent | FiltersInspected

RunListener: TypeAlias = Callable[[RunEvent], None]
VerifyListener: TypeAlias = Callable[[VerifyEvent], None]
TrainListener: TypeAlias = Callable[[TrainEvent], None]

_EVENT: TypeAdapter[AnyEvent] = TypeAdapter(Annotated[AnyEvent, Field(discriminator="event")])


def parse_line(line: str | bytes) -> tuple[float, AnyEvent]:
    """Parse a line that a command wrote with `--json`: its time and its event.

    Raises:
        ValueError: It is not such a line, or has fields that this version does not know.
    """
    fields = parse_json(line.encode() if isinstance(line, str) else line, MAX_LINE_BYTES)
    time = fields.pop("time", None) if isinstance(fields, dict) else None
    if not isinstance(time, int | float):
        raise ValueError("a line of --json has an object with the time")  # noqa: TRY004 - of what was read
    return float(time), _EVENT.validate_python(fields)
