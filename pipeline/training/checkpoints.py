"""Checkpoints: everything that decides the next step, in files that need no pickle to read.

```
checkpoints/step-00000100/model.safetensors       parameters by name
                          optimizer.safetensors   `<parameter>/exp_avg` and so on
                          rng.safetensors         states of torch's generators, as bytes
                          checkpoint.json         written last: the commit marker
```
A folder without its marker is not there: it is what a killed writer left, and is written over. The marker
holds the checksum of every other file, and none is used before it has matched.
"""

from __future__ import annotations

from typing import Any

import torch
import xxhash
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim import Optimizer

from pipeline.storage.regular_files import MAX_TEXT_BYTES
from pipeline.storage.store import Store
from schemas.errors import ShardCorruptError, StaleArtifactError
from schemas.masking import Masking
from schemas.version import SCHEMA_VERSION, check_schema_version

CHECKPOINTS = "checkpoints"
MARKER_NAME = "checkpoint.json"


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

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: str = SCHEMA_VERSION
    step: int = Field(ge=0)
    configuration: dict[str, Any]
    dataset_fingerprint: str
    loader_state: dict[str, Any]
    first_loss: float | None = None
    last_loss: float | None = None
    checksums: dict[str, str] = {}

    @property
    def folder(self) -> str:
        """Where it stands, relative to the output."""
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
        keep: Checkpoints that stay, this one among them.

    Returns:
        The marker as written.
    """
    device = next(model.parameters()).device
    files = {
        "model.safetensors": save(_copy_parameters(model)),
        "optimizer.safetensors": save(_copy_optimizer(model, optimizer)),
        "rng.safetensors": save(_copy_rng(device)),
    }
    for name, data in files.items():
        store.write_bytes(f"{checkpoint.folder}/{name}", data)
    checksums = {name: xxhash.xxh3_128_hexdigest(data) for name, data in files.items()}
    written = checkpoint.model_copy(update={"checksums": checksums})
    store.write_bytes(f"{written.folder}/{MARKER_NAME}", written.model_dump_json(indent=1).encode())
    for folder in _list_folders(store)[:-keep]:
        store.delete(f"{folder}/{MARKER_NAME}")  # first: what is half deleted must not look whole
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
    try:
        checkpoint = Checkpoint.model_validate_json(store.read_bytes(path, MAX_TEXT_BYTES))
    except ValidationError as error:
        raise ShardCorruptError(
            "not a checkpoint's marker",
            path=store.locate(path),
            expected="the marker as it was written",
            found=error.errors()[0]["msg"],
            action=f"delete {folders[-1]} to go on from the checkpoint before it",
        ) from None
    check_schema_version(checkpoint.schema_version, store.locate(path))
    return checkpoint


def check_belongs(
    store: Store,
    checkpoint: Checkpoint,
    configuration: dict[str, object],
    dataset_fingerprint: str,
    *,
    masked_by: str = "the train file",
) -> None:
    """Refuse to go on from a checkpoint of another run.

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
    action = "undo the change, or give run.output another folder"
    for key in sorted({*configuration, *checkpoint.configuration}):
        expected, found = checkpoint.configuration.get(key), configuration.get(key)
        if expected != found:
            changed = masked_by if key.startswith("mask.") else "the train file"
            asked = "" if changed == "the train file" else f"{_ask_for_masking(checkpoint)} to train as before, or "
            raise StaleArtifactError(
                f"{changed} has changed in {key}",
                path=path,
                expected=repr(expected),
                found=repr(found),
                action=asked + action,
            )
    if checkpoint.dataset_fingerprint != dataset_fingerprint:
        raise StaleArtifactError(
            "the dataset in data.dataset has changed",
            path=path,
            expected=f"fingerprint {checkpoint.dataset_fingerprint}",
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
    return "give " + " ".join(f"--set mask.{key}={value}" for key, value in given.items())


def load_checkpoint(store: Store, checkpoint: Checkpoint, model: nn.Module, optimizer: Optimizer) -> None:
    """Put the weights, the optimizer and torch's generators in the state that a checkpoint holds.

    Every file is read and checked before the first of them is used.

    Raises:
        ShardCorruptError: A file is missing or not the one that was written.
        StaleArtifactError: The tensors are those of another model.
    """
    files = {name: _read_checked(store, checkpoint, name) for name in sorted(checkpoint.checksums)}
    tensors = {name: load(data) for name, data in files.items()}
    parameters = dict(model.named_parameters())
    saved = tensors["model.safetensors"]
    expected = {name: tuple(tensor.shape) for name, tensor in parameters.items()}
    found = {name: tuple(tensor.shape) for name, tensor in saved.items()}
    if expected != found:
        name = min(name for name, _ in expected.items() ^ found.items())
        raise StaleArtifactError(
            "the checkpoint holds another model's weights",
            path=store.locate(checkpoint.folder),
            place=name,
            expected=f"shape {expected.get(name, 'none')}",
            found=f"{found.get(name, 'none')}",
            action="give run.output another folder",
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(saved[name])
    _restore_optimizer(model, optimizer, tensors["optimizer.safetensors"])
    _restore_rng(tensors["rng.safetensors"], next(model.parameters()).device)


def _list_folders(store: Store) -> list[str]:
    """Folders with a marker, the oldest first; step numbers have equal length, so text order is theirs."""
    suffix = f"/{MARKER_NAME}"
    return [path.removesuffix(suffix) for path in store.list(CHECKPOINTS) if path.endswith(suffix)]


def _read_checked(store: Store, checkpoint: Checkpoint, name: str) -> bytes:
    path = f"{checkpoint.folder}/{name}"
    action = f"delete {checkpoint.folder} to go on from the checkpoint before it"
    try:
        data = store.read_bytes(path)
    except FileNotFoundError:
        raise ShardCorruptError(
            "a file of the checkpoint is gone",
            path=store.locate(path),
            expected=f"checksum {checkpoint.checksums[name]}",
            found="no file",
            action=action,
        ) from None
    found = xxhash.xxh3_128_hexdigest(data)
    if found != checkpoint.checksums[name]:
        raise ShardCorruptError(
            "bytes differ from those written",
            path=store.locate(path),
            expected=f"checksum {checkpoint.checksums[name]}",
            found=found,
            action=action,
        )
    return data


def _copy_parameters(model: nn.Module) -> dict[str, Tensor]:
    # Tied weights have one name here; state_dict() would name them twice, which safetensors refuses.
    return {name: parameter.detach().cpu().contiguous() for name, parameter in model.named_parameters()}


def _order_parameters(model: nn.Module, optimizer: Optimizer) -> list[str]:
    """Names of the parameters in the order in which `Optimizer.state_dict` numbers them."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


def _copy_optimizer(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    names = _order_parameters(model, optimizer)
    state = optimizer.state_dict()["state"]
    return {
        f"{names[number]}/{key}": tensor.detach().cpu().contiguous()
        for number, tensors in state.items()
        for key, tensor in tensors.items()
    }


def _restore_optimizer(model: nn.Module, optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    numbers = {name: number for number, name in enumerate(_order_parameters(model, optimizer))}
    state: dict[int, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        name, _, key = path.rpartition("/")
        state.setdefault(numbers[name], {})[key] = tensor
    # Hyperparameters stay the train file's; the learning rate is set before every step.
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _copy_rng(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _restore_rng(states: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
