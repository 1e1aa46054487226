"""The tensors of a checkpoint: their names, and the check that makes them safe to load.

Anybody may have written a checkpoint and its checksums. So every tensor must be one that this model and its optimizer
have, with its shape and type, none may be missing, and their values must be ones that training can continue from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim import Optimizer

from maskmill.schemas.errors import MaskmillError, ShardCorruptError, StaleArtifactError, is_panic

MODEL, OPTIMIZER, RNG = "model.safetensors", "optimizer.safetensors", "rng.safetensors"
FILES = (MODEL, OPTIMIZER, RNG)
MAX_RNG_BYTES = 1 << 16
_MAX_HEADER_BYTES = 1 << 20
_HEADER_BYTES_A_TENSOR = 1024
_STEP, _MEAN, _SQUARE = "step", "exp_avg", "exp_avg_sq"  # of torch's AdamW
_MAX_SHOWN = 200


@dataclass(frozen=True)
class Expected:
    """A tensor as it must be."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def like(cls, tensor: Tensor) -> Expected:
        """A tensor like another."""
        return cls(tuple(tensor.shape), tensor.dtype)

    def count_bytes(self) -> int:
        """Bytes that its values take."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')} of shape {self.shape}"


@dataclass(frozen=True)
class TrainingState:
    """A model, its optimizer and the number of its steps: the state that a checkpoint's files hold."""

    model: nn.Module
    optimizer: Optimizer
    step: int

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return next(self.model.parameters()).device

    def expect(self) -> dict[str, dict[str, Expected]]:
        """The tensors of each file that holds parameters or moments, by name."""
        weights = {name: Expected.like(parameter) for name, parameter in self.model.named_parameters()}
        moments = {}
        for name, one in weights.items() if self.step else ():
            moments[f"{name}/{_STEP}"] = Expected((), torch.float32)
            moments[f"{name}/{_MEAN}"] = moments[f"{name}/{_SQUARE}"] = one
        return {MODEL: weights, OPTIMIZER: moments}

    def limit_bytes(self, name: str) -> int:
        """The largest size of a file of this state; a larger one is not read."""
        if name == RNG:
            return MAX_RNG_BYTES
        expected = self.expect()[name].values()
        values = sum(one.count_bytes() for one in expected)
        return 2 * values + _MAX_HEADER_BYTES + _HEADER_BYTES_A_TENSOR * len(expected)

    def dump(self) -> dict[str, bytes]:
        """All files by name."""
        # Tied weights have one name here; state_dict() would name them twice, which safetensors refuses.
        weights = {name: _copy(parameter) for name, parameter in self.model.named_parameters()}
        names = self._order_parameters()
        moments = {
            f"{names[number]}/{key}": _copy(tensor)
            for number, tensors in self.optimizer.state_dict()["state"].items()
            for key, tensor in tensors.items()
        }
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        return {MODEL: save(weights), OPTIMIZER: save(moments), RNG: save(random)}

    def load(self, files: Mapping[str, bytes], paths: Mapping[str, str]) -> None:
        """Put model, optimizer and torch's generators in the state that the files hold, after checking all of it.

        Args:
            files: All of them, by name.
            paths: Where each was read, for messages.

        Raises:
            ShardCorruptError: A file cannot be read, lacks a tensor, or has values that training cannot continue from.
            StaleArtifactError: The weights are those of another model.
        """
        tensors = {name: _parse(files[name], paths[name]) for name in FILES}
        for name, expected in self.expect().items():
            _check_tensors(tensors[name], expected, name, paths[name])
        self._check_values(tensors, paths)
        _check_random(tensors[RNG], self.device, paths[RNG])
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(tensors[MODEL][name])
        numbers = {name: number for number, name in enumerate(self._order_parameters())}
        state: dict[int, dict[str, Tensor]] = {}
        for path, tensor in tensors[OPTIMIZER].items():
            name, _, key = path.rpartition("/")
            state.setdefault(numbers[name], {})[key] = tensor
        # Hyperparameters stay the train file's; the learning rate is set before every step.
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        torch.set_rng_state(tensors[RNG]["cpu"])
        if self.device.type == "cuda" and "cuda" in tensors[RNG]:
            torch.cuda.set_rng_state(tensors[RNG]["cuda"], self.device)

    def _order_parameters(self) -> list[str]:
        """Names of the parameters in the order in which `Optimizer.state_dict` numbers them."""
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        return [names[id(parameter)] for group in self.optimizer.param_groups for parameter in group["params"]]

    def _check_values(self, tensors: Mapping[str, Mapping[str, Tensor]], paths: Mapping[str, str]) -> None:
        for file in (MODEL, OPTIMIZER):
            for name, tensor in tensors[file].items():
                key = name.rpartition("/")[2] if file == OPTIMIZER else ""
                if not bool(torch.isfinite(tensor).all()):
                    raise _refuse(paths[file], name, "finite values", "infinite values or NaN")
                if key == _SQUARE and bool((tensor < 0).any()):
                    raise _refuse(paths[file], name, "averages of squares", "values below 0")
                if key == _STEP and tensor.item() != self.step:
                    raise _refuse(paths[file], name, f"step {self.step}", str(tensor.item()))


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()


def _parse(data: bytes, path: str) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load(data)
    except BaseException as error:  # safetensors has an error of its own, torch several, and a panic is no Exception
        if isinstance(error, MemoryError) or not (isinstance(error, Exception) or is_panic(error)):
            raise
        raise _refuse(path, None, "a file of safetensors", str(error)[:_MAX_SHOWN]) from None
    return tensors


def _check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Expected], file: str, path: str) -> None:
    there = {name: Expected.like(tensor) for name, tensor in found.items()}
    differing = sorted(name for name in {*there, *expected} if there.get(name) != expected.get(name))
    if not differing:
        return
    shapes = {name: one.shape for name, one in there.items()}, {name: one.shape for name, one in expected.items()}
    others = sorted(name for name in differing if shapes[0].get(name) != shapes[1].get(name))
    if file == MODEL and others:
        raise StaleArtifactError(
            "the checkpoint holds another model's weights",
            path=path,
            place=others[0][:_MAX_SHOWN],
            expected=f"shape {shapes[1].get(others[0], 'none')}",
            found=f"{shapes[0].get(others[0], 'none')}"[:_MAX_SHOWN],
            action="set run.output to another folder",
        )
    wanted, found_there = (str(one.get(differing[0]) or "none")[:_MAX_SHOWN] for one in (expected, there))
    raise _refuse(path, differing[0][:_MAX_SHOWN], wanted, found_there)


def _check_random(found: Mapping[str, Tensor], device: torch.device, path: str) -> None:
    unknown = found.keys() - {"cpu", "cuda"}
    if "cpu" not in found or unknown:
        raise _refuse(path, None, "the state of the generator `cpu`", ", ".join(sorted(found))[:_MAX_SHOWN] or "none")
    devices = {"cpu": torch.device("cpu")} | ({"cuda": device} if device.type == "cuda" else {})
    for name in found.keys() & devices.keys():
        generator = torch.Generator(devices[name])
        wanted, there = Expected.like(generator.get_state()), Expected.like(found[name])
        if wanted != there:
            raise _refuse(path, name, str(wanted), str(there)[:_MAX_SHOWN])
        try:
            generator.set_state(found[name])
        except (RuntimeError, TypeError) as error:
            raise _refuse(path, name, "a state of torch's generator", str(error).partition("\n")[0]) from None


def _refuse(path: str, place: str | None, expected: str, found: str) -> MaskmillError:
    return ShardCorruptError(
        "training cannot continue from this checkpoint",
        path=path,
        place=place,
        expected=expected,
        found=found,
        action="delete its folder to continue from the previous checkpoint",
    )
