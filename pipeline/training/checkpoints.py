"""Checkpoints: everything that decides the next step, in files that need no pickle to read.

```
checkpoints/step-00000100/model.safetensors       parameters by name
                          optimizer.safetensors   `<parameter>/exp_avg` and so on
                          rng.safetensors         states of torch's generators, as bytes
                          checkpoint.json         written last: the commit marker
```
A folder without its marker was left by a killed writer; it is ignored and overwritten. The marker holds the checksum
of every other file, and no file is used before its checksum has matched.
"""

from __future__ import annotations

from typing import Any

import xxhash
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from torch import nn
from torch.optim import Optimizer

from maskmill.pipeline.loader.check_arguments import MAX_STEPS
from maskmill.pipeline.loader.resume.loader_state import shorten_state
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.training.checkpoint_tensors import FILES, TrainingState
from maskmill.pipeline.training.train_data import TrainData
from maskmill.schemas.errors import ConfigError, ShardCorruptError, StaleArtifactError
from maskmill.schemas.masking import Masking
from maskmill.schemas.token_weights import digest_weights
from maskmill.schemas.version import SCHEMA_VERSION, check_schema_version

CHECKPOINTS = "checkpoints"
MARKER_NAME = "checkpoint.json"
MAX_MARKER_BYTES = 1 << 20
_MAX_SHOWN = 200


class Checkpoint(BaseModel):
    """The marker of a checkpoint.

    Attributes:
        schema_version: `major.minor` of this format.
        step: Optimizer steps taken; the learning rate is a function of it, so a schedule has no state of its own.
        configuration: `TrainFile.fingerprinted()`.
        dataset_fingerprint: Of the packed dataset.
        loader_state: What the loader resumes from.
        first_loss: Training loss of the first step, in nats a token.
        last_loss: Training loss of this step.
        checksums: xxh3-128 of every other file of the folder, in hex.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    schema_version: str = SCHEMA_VERSION
    step: int = Field(ge=0, le=MAX_STEPS)
    configuration: dict[str, Any]
    dataset_fingerprint: str
    loader_state: dict[str, Any]
    first_loss: float | None = None
    last_loss: float | None = None
    checksums: dict[str, str] = {}

    @field_validator("checksums")
    @classmethod
    def _names_every_file(cls, checksums: dict[str, str]) -> dict[str, str]:
        if checksums and sorted(checksums) != sorted(FILES):
            raise ValueError(f"a checksum for each of {', '.join(FILES)}, and no other")
        return checksums

    @property
    def folder(self) -> str:
        """Its path, relative to the output."""
        return f"{CHECKPOINTS}/step-{self.step:08d}"


def write_checkpoint(
    store: Store, checkpoint: Checkpoint, model: nn.Module, optimizer: Optimizer, *, keep: int
) -> Checkpoint:
    """Write a checkpoint, its marker last, then delete the oldest ones.

    Args:
        store: The output.
        checkpoint: The marker; its checksums are filled in here.
        model: Whose parameters are kept.
        optimizer: Of these parameters.
        keep: Number of checkpoints to keep, including this one.

    Returns:
        The marker as written.
    """
    files = TrainingState(model, optimizer, checkpoint.step).dump()
    for name, data in files.items():
        store.write_bytes(f"{checkpoint.folder}/{name}", data)
    checksums = {name: xxhash.xxh3_128_hexdigest(data) for name, data in files.items()}
    written = checkpoint.model_copy(update={"checksums": checksums})
    store.write_bytes(f"{written.folder}/{MARKER_NAME}", written.model_dump_json(indent=1).encode())
    for folder in _list_folders(store)[:-keep]:
        store.delete(f"{folder}/{MARKER_NAME}")  # first: a half-deleted checkpoint must not look complete
        store.delete_tree(folder)
    return written


def find_checkpoint(store: Store) -> Checkpoint | None:
    """Give the marker of the newest checkpoint, or None if there is none.

    Raises:
        ConfigError: A newer major version wrote it.
        ShardCorruptError: The marker cannot be read.
    """
    folders = _list_folders(store)
    if not folders:
        return None
    path = f"{folders[-1]}/{MARKER_NAME}"
    size = store.size(path)
    if size > MAX_MARKER_BYTES:
        raise _refuse_marker(store, folders[-1], f"{size} bytes")
    try:
        checkpoint = Checkpoint.model_validate_json(store.read_bytes(path, MAX_MARKER_BYTES))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise _refuse_marker(store, folders[-1], f"{place}: {first['msg']}"[:_MAX_SHOWN]) from None
    check_schema_version(checkpoint.schema_version, store.locate(path))
    if checkpoint.folder != folders[-1]:
        raise _refuse_marker(store, folders[-1], f"the marker of step {checkpoint.step}")
    return checkpoint


def _refuse_marker(store: Store, folder: str, found: str) -> ShardCorruptError:
    return ShardCorruptError(
        "not a checkpoint's marker",
        path=store.locate(f"{folder}/{MARKER_NAME}"),
        expected="the marker as it was written",
        found=found,
        action=f"delete {folder} to continue from the previous checkpoint",
    )


def check_belongs(
    store: Store,
    checkpoint: Checkpoint,
    configuration: dict[str, object],
    dataset_fingerprint: str,
    *,
    masked_by: str = "the train file",
) -> None:
    """Refuse to continue from a checkpoint of another run.

    Args:
        store: The output.
        checkpoint: Its newest one.
        configuration: `TrainFile.fingerprinted()`, with the masking in force.
        dataset_fingerprint: Of the packed dataset.
        masked_by: What the masking comes from: the train file, or the dataset where the file has no `[mask]`.

    Raises:
        StaleArtifactError: A key that decides the weights differs, or the dataset does; each is named.
    """
    path = store.locate(checkpoint.folder)
    action = "undo the change, or set run.output to another folder"
    for key in sorted({*configuration, *checkpoint.configuration}):
        expected, found = checkpoint.configuration.get(key), configuration.get(key)
        if key == "mask.token_weights" and isinstance(expected, str):
            expected = digest_weights(expected)  # earlier checkpoints have all of them
        if expected != found:
            changed = masked_by if key.startswith("mask.") else "the train file"
            asked = "" if changed == "the train file" else f"{_ask_for_masking(checkpoint)} to train as before, or "
            raise StaleArtifactError(
                f"{changed} has changed in {key[:_MAX_SHOWN]}",
                path=path,
                expected=repr(expected)[:_MAX_SHOWN],
                found=repr(found)[:_MAX_SHOWN],
                action=asked + action,
            )
    if checkpoint.dataset_fingerprint != dataset_fingerprint:
        raise StaleArtifactError(
            "the dataset in data.dataset has changed",
            path=path,
            expected=f"fingerprint {checkpoint.dataset_fingerprint[:_MAX_SHOWN]}",
            found=dataset_fingerprint,
            action=action,
        )


def _ask_for_masking(checkpoint: Checkpoint) -> str:
    """The options that mask as the checkpoint's run does: what is not given has its default, not the dataset's value.

    The rate is always among them, because one option must make the table.
    """
    default = Masking().model_dump(mode="json")
    masking = {key: checkpoint.configuration.get(f"mask.{key}", value) for key, value in default.items()}
    given = {key: value for key, value in masking.items() if key == "rate" or value != default[key]}
    return "give " + " ".join(f"--set mask.{key}={str(value)[:_MAX_SHOWN]}" for key, value in given.items())


def load_loader_state(store: Store, checkpoint: Checkpoint, data: TrainData) -> None:
    """Let the batches continue where a checkpoint's run stopped.

    Raises:
        ShardCorruptError: It holds no state of a loader, or that of another step than its own.
        StaleArtifactError: It holds the state of a loader that reads in another order.
    """
    try:
        data.batches.load_state_dict(checkpoint.loader_state)
    except ConfigError as error:
        raise _refuse_marker(store, checkpoint.folder, f"loader_state: {error.found}") from None
    if shorten_state(checkpoint.loader_state) != data.state_after(checkpoint.step):
        place = {name: checkpoint.loader_state.get(name) for name in ("epoch", "step", "rows_served")}
        found = f"step {checkpoint.step} with a loader_state at {place}"
        raise _refuse_marker(store, checkpoint.folder, found[:_MAX_SHOWN])


def load_checkpoint(store: Store, checkpoint: Checkpoint, model: nn.Module, optimizer: Optimizer) -> None:
    """Put the weights, the optimizer and torch's generators in the state that a checkpoint holds.

    Every file is read and checked before the first of them is used.

    Raises:
        ShardCorruptError: A file is missing, has changed, or has values that training cannot continue from.
        StaleArtifactError: The tensors are those of another model.
    """
    state = TrainingState(model, optimizer, checkpoint.step)
    files = {name: _read_checked(store, checkpoint, name, state.limit_bytes(name)) for name in FILES}
    state.load(files, {name: store.locate(f"{checkpoint.folder}/{name}") for name in FILES})


def _list_folders(store: Store) -> list[str]:
    """Folders with a marker, the oldest first; step numbers have equal length, so text order is theirs."""
    suffix = f"/{MARKER_NAME}"
    return [path.removesuffix(suffix) for path in store.list(CHECKPOINTS) if path.endswith(suffix)]


def _read_checked(store: Store, checkpoint: Checkpoint, name: str, limit_bytes: int) -> bytes:
    path = f"{checkpoint.folder}/{name}"
    action = f"delete {checkpoint.folder} to continue from the previous checkpoint"
    expected = checkpoint.checksums.get(name, "none")[:_MAX_SHOWN]
    try:
        size = store.size(path)
        if size > limit_bytes:
            raise ShardCorruptError(
                "a file of the checkpoint is larger than this model's can be",
                path=store.locate(path),
                expected=f"at most {limit_bytes} bytes",
                found=str(size),
                action=action,
            )
        data = store.read_bytes(path)
    except FileNotFoundError:
        raise ShardCorruptError(
            "a file of the checkpoint is gone",
            path=store.locate(path),
            expected=f"checksum {expected}",
            found="no file",
            action=action,
        ) from None
    found = xxhash.xxh3_128_hexdigest(data)
    if found != expected:
        raise ShardCorruptError(
            "bytes differ from those written",
            path=store.locate(path),
            expected=f"checksum {expected}",
            found=found,
            action=action,
        )
    return data
