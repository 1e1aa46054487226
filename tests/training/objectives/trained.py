"""Small models of every objective, and what their losses and gradients are compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.pipeline.training.accumulate_gradients import accumulate_gradients
from maskmill.pipeline.training.build_model import build_model
from maskmill.pipeline.training.objectives import OBJECTIVES
from maskmill.pipeline.training.train import TrainResult, train
from maskmill.schemas.mask_vocabulary import MaskVocabulary
from maskmill.schemas.masking import IGNORE_INDEX, Masking
from maskmill.schemas.model_section import ModelSection
from tests.training.families.packed_rows import FIRST_ORDINARY, SEQ_LEN, VOCAB_SIZE
from tests.training.small_runs import make_data

SMALL = {"hidden_size": 16, "num_layers": 2, "num_heads": 4, "intermediate_size": 24, "dropout": 0.0}
VOCABULARY = MaskVocabulary(
    vocab_size=VOCAB_SIZE,
    pad_id=0,
    unk_id=1,
    cls_id=2,
    sep_id=3,
    mask_id=4,
    excluded_ranges=((0, FIRST_ORDINARY),),
)


def build_section(**keys: Any) -> ModelSection:
    return ModelSection(**{**SMALL, "initializer_range": 0.3, **keys})


def build_trained(**keys: Any) -> Any:
    """The module that an objective trains, in float64, for the rows of `packed_rows`."""
    section = build_section(**keys)
    data = dataclasses.replace(make_data(), vocabulary=VOCABULARY, seq_len=SEQ_LEN, masking=Masking(seed=5))
    with torch.random.fork_rng():
        model = build_model(section, vocab_size=VOCAB_SIZE, seq_len=SEQ_LEN, pad_id=0, mask_id=4, seed=1)
        module = OBJECTIVES[section.objective].extend(model, section, data)
        for part in module.modules():  # the row of the padding is zero at first, which would hide what it adds
            if isinstance(part, torch.nn.Embedding):
                torch.nn.init.normal_(part.weight, std=0.3)
    return module.double()


def compute(module: Any, micro_batches: list[Any], objective: str) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of a global batch, and the gradients by name."""
    module.zero_grad()
    loss = accumulate_gradients(module, micro_batches, objective=OBJECTIVES[objective])
    return loss, collect_gradients(module)


def assert_computes(module: Any, batch: Batch, objective: str, expected: torch.Tensor) -> dict[str, torch.Tensor]:
    """The objective gives this loss, and its gradients, which are returned by name."""
    expected.backward()  # type: ignore[no-untyped-call]
    wanted = collect_gradients(module)
    loss, found = compute(module, [batch], objective)
    assert loss == pytest.approx(expected.item(), abs=1e-10)
    assert_same(found, wanted)
    return wanted


def collect_gradients(module: Any) -> dict[str, torch.Tensor]:
    return {name: one.grad.clone() for name, one in module.named_parameters() if one.grad is not None}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-10, atol=1e-10)


def weigh(batch: Batch) -> Batch:
    """The batch with a weight for each label, another one in each sequence."""
    rates = 0.2 + 0.1 * batch.segment_ids + 0.05 * torch.arange(len(batch.labels))[:, None]
    return dataclasses.replace(batch, loss_weights=torch.where(batch.labels == IGNORE_INDEX, 0.0, 1 / rates).float())


def compute_token_loss(batch: Batch, logits: torch.Tensor) -> torch.Tensor:
    """The loss of masked tokens, from the logits of all tokens of all sequences in their order.

    A mean over labels; if they have weights, the weighted sum over the number of all tokens.
    """
    labels = torch.cat(split_sequences(batch, batch.labels))
    if batch.loss_weights is None:
        return functional.cross_entropy(logits, labels)
    each = functional.cross_entropy(logits, labels, reduction="none")
    return (each * torch.cat(split_sequences(batch, batch.loss_weights))).sum() / len(labels)


def assert_parts_add_up(module: Any, batch: Batch, objective: str) -> None:
    """Two micro-batches give the loss and the gradients of the whole batch."""
    loss, gradients = compute(module, [batch], objective)
    in_parts, found = compute(module, split_rows(batch, 1), objective)
    assert in_parts == pytest.approx(loss, abs=1e-10)
    assert_same(found, gradients)


def describe_run(dataset: Path, output: str, mask: dict[str, Any] | None = None, **model: Any) -> dict[str, Any]:
    """Settings of a run of eight steps on prepared text."""
    return {
        "data": {
            "dataset": f"{dataset}/packed",
            "held_out": f"{dataset}/packed-heldout",
            "global_batch_rows": 8,
            "micro_batch_rows": 4,
        },
        **({} if mask is None else {"mask": mask}),
        "model": {"hidden_size": 32, "num_layers": 2, "num_heads": 4, **model},
        "optimizer": {"learning_rate": 3e-3, "warmup_steps": 2},
        "run": {"output": output, "steps": 8, "checkpoint_every": 4, "log_every": 1, "device": "cpu"},
    }


class Stopped(BaseException):
    """The end of the process."""


def assert_continues(describe: Callable[[str], dict[str, Any]], folder: Path, stop_at: int = 6) -> TrainResult:
    """A run that ends after a step and begins again reports the losses and the weights of one that does not end."""
    whole: list[Any] = []
    parts: list[Any] = []
    result = train(describe(str(folder / "whole")), whole.append)

    def stop(event: Any) -> None:
        parts.append(event)
        if (event.event, event.step) == ("train_step", stop_at):
            raise Stopped

    with pytest.raises(Stopped):
        train(describe(str(folder / "parts")), stop)
    resumed = train(describe(str(folder / "parts")), parts.append)
    assert resumed.resumed_from is not None
    losses, found = (
        [(event.step, event.loss) for event in events if event.event == "train_step"] for events in (whole, parts)
    )
    assert found[stop_at:] == losses[resumed.resumed_from :]
    weights = [(folder / name / "model/model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]
    return result


def split_rows(batch: Batch, stop: int) -> list[Batch]:
    """Two micro-batches: the first rows, and the others."""
    names: tuple[str, ...] = ("input_ids", "labels", "position_ids", "segment_ids", "row_ids", "row_epochs", "datasets")
    others = {name: getattr(batch, name) for name in ("cu_seqlens", "max_seqlen", "pad_id")}
    if batch.loss_weights is not None:
        names = (*names, "loss_weights")
    parts = slice(None, stop), slice(stop, None)
    return [Batch(**{name: getattr(batch, name)[part] for name in names}, **others) for part in parts]


def split_sequences(batch: Batch, values: torch.Tensor) -> list[torch.Tensor]:
    """The part of values (B, S) that belongs to each sequence, in order."""
    found = []
    for row in range(len(values)):
        segments = batch.segment_ids[row]
        found += [values[row][segments == number] for number in range(1, int(segments.max()) + 1)]
    return found
