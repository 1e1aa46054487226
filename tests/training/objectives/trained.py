"""Small models of every objective, and what their losses and gradients are compared with."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.pipeline.training.accumulate_gradients import accumulate_gradients
from maskmill.pipeline.training.build_model import build_model
from maskmill.pipeline.training.objectives import OBJECTIVES
from maskmill.schemas.mask_vocabulary import MaskVocabulary
from maskmill.schemas.masking import Masking
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


def collect_gradients(module: Any) -> dict[str, torch.Tensor]:
    return {name: one.grad.clone() for name, one in module.named_parameters() if one.grad is not None}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-10, atol=1e-10)


def split_rows(batch: Batch, stop: int) -> list[Batch]:
    """Two micro-batches: the first rows, and the others."""
    names = ("input_ids", "labels", "position_ids", "segment_ids", "row_ids", "row_epochs", "datasets")
    others = {name: getattr(batch, name) for name in ("cu_seqlens", "max_seqlen", "pad_id")}
    parts = slice(None, stop), slice(stop, None)
    return [Batch(**{name: getattr(batch, name)[part] for name in names}, **others) for part in parts]


def split_sequences(batch: Batch, values: torch.Tensor) -> list[torch.Tensor]:
    """The part of values (B, S) that belongs to each sequence, in order."""
    found = []
    for row in range(len(values)):
        segments = batch.segment_ids[row]
        found += [values[row][segments == number] for number in range(1, int(segments.max()) + 1)]
    return found
