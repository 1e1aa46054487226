"""What really reaches the model and the optimizer of a page's script, written down by the processes that run it.

Every call of the model leaves a file with its input ids and how far its logits lie from those of each sequence run
alone; every step of the optimizer one with all weights and gradients. Nothing is asked of the loader or the trainer.
"""

from __future__ import annotations

import functools
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

PROBED_CALLS = 2


@dataclass
class Call:
    """One call of the model: int64 `(B, S)` ids; the largest difference of logits, and without a mask's help."""

    input_ids: torch.Tensor
    from_alone: float | None
    from_alone_unmasked: float | None


@dataclass
class Step:
    """One step of the optimizer: parameters before it, and their gradients, by name."""

    weights: dict[str, torch.Tensor]
    gradients: dict[str, torch.Tensor]


class Recorder:
    """Writes down what a model class is called with in this process, and every step of its optimizer.

    Args:
        model_class: Such as `BertForMaskedLM`; its `__init__` and `forward` are wrapped.
        folder: Where the files go.
    """

    def __init__(self, model_class: Any, folder: str) -> None:
        self._folder = folder
        self._counts = {"call": 0, "step": 0}
        self._model: Any = None
        self._initialise, self._forward = model_class.__init__, model_class.forward

    def record_model(self, model: Any) -> None:
        """The model that is trained is the last one made."""
        self._model = model

    def record_call(self, model: Any, inputs: dict[str, Any]) -> None:
        probed = (None, None)
        if self._counts["call"] < PROBED_CALLS:
            with torch.no_grad(), torch.random.fork_rng():
                probed = compare_with_alone(self._build_probe(model), self._forward, inputs)
        self._write("call", input_ids=inputs["input_ids"].clone(), from_alone=probed[0], from_alone_unmasked=probed[1])

    def record_step(self, _optimizer: Any, *_: Any) -> None:
        """Before a step; a process that has `MASKMILL_DIE_AT` kills itself there, once a rank."""
        if self._counts["step"] == int(os.environ.get("MASKMILL_DIE_AT", -1)) and self._is_first_death():
            time.sleep(float(os.environ["MASKMILL_DIE_AFTER_SECONDS"]))
            os.kill(os.getpid(), signal.SIGKILL)
        named = dict(self._model.named_parameters())
        self._write(
            "step",
            weights={name: value.detach().clone() for name, value in named.items()},
            gradients={name: value.grad.clone() for name, value in named.items() if value.grad is not None},
        )

    def _write(self, kind: str, **values: Any) -> None:
        path = f"{self._folder}/{rank()}-{os.getpid()}-{sum(self._counts.values()):04d}-{kind}"
        torch.save(values, f"{path}.partial")
        Path(f"{path}.partial").rename(f"{path}.pt")
        self._counts[kind] += 1

    def _build_probe(self, model: Any) -> Any:
        """A model of wide weights: with the usual ones all sequences give nearly the same logits.

        In float64, because logits of wide weights are large: what is left then is what sequences see of each other.
        """
        config = type(model.config)(**{**model.config.to_dict(), "initializer_range": 0.2})
        torch.manual_seed(0)
        probe = type(model).__new__(type(model))
        self._initialise(probe, config)
        return probe.eval().double()

    def _is_first_death(self) -> bool:
        try:
            Path(f"{self._folder}/died-{rank()}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def watch_model(model_class: Any, folder: str) -> None:
    """Record all models of a class in this process from now on."""
    recorder = Recorder(model_class, folder)
    initialise, forward = model_class.__init__, model_class.forward

    @functools.wraps(initialise)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        recorder.record_model(self)

    @functools.wraps(forward)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.training:  # an evaluation's calls belong to no step
            recorder.record_call(self, kwargs)
        return forward(self, *args, **kwargs)

    model_class.__init__, model_class.forward = init, call
    register_optimizer_step_pre_hook(recorder.record_step)


def rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def compare_with_alone(probe: Any, forward: Any, inputs: dict[str, Any]) -> tuple[float, float]:
    """How far the logits for a trainer's arguments lie from those of each sequence by itself, with and without mask."""
    taken = {name: inputs[name] for name in ("input_ids", "position_ids", "attention_mask") if name in inputs}
    ids, mask = taken["input_ids"], taken["attention_mask"]
    is_token = ids != probe.config.pad_token_id
    packed = forward(probe, **taken).logits
    unmasked = forward(probe, **{**taken, "attention_mask": is_token.long()}).logits
    farthest, farthest_unmasked = 0.0, 0.0
    for row in range(len(ids)):
        length = int(is_token[row].sum())
        numbers = None if mask.dim() == 2 else taken["position_ids"][row, :length]
        starts = [0] if numbers is None else (numbers == numbers[0]).nonzero().flatten().tolist()
        for start, stop in zip(starts, [*starts[1:], length], strict=True):
            alone = forward(probe, input_ids=ids[row : row + 1, start:stop]).logits[0]
            farthest = max(farthest, float((packed[row, start:stop] - alone).abs().max()))
            farthest_unmasked = max(farthest_unmasked, float((unmasked[row, start:stop] - alone).abs().max()))
    return farthest, farthest_unmasked


def read_records(folder: Path) -> dict[int, list[Call | Step]]:
    """All that the processes of a run left, by rank, in order."""
    return {rank: [record for part in parts for record in part] for rank, parts in read_processes(folder).items()}


def read_processes(folder: Path) -> dict[int, list[list[Call | Step]]]:
    """The same for each process of a rank apart, in the order they began: a trainer may start a rank again."""
    processes: dict[tuple[int, int], list[Path]] = {}
    for path in sorted(folder.glob("*.pt"), key=lambda path: path.stat().st_mtime_ns):
        rank, process = path.name.split("-")[:2]
        processes.setdefault((int(rank), int(process)), []).append(path)
    records: dict[int, list[list[Call | Step]]] = {}
    for (rank, _), paths in processes.items():
        records.setdefault(rank, []).append([_read(path) for path in sorted(paths, key=lambda path: path.name)])
    return records


def _read(path: Path) -> Call | Step:
    values = torch.load(path)
    return Call(**values) if path.stem.endswith("call") else Step(**values)
