"""The sums of cross-entropy over the labelled positions of a batch, and over its pairs of segments.

Heads run at the labelled positions alone (`families/family.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from maskmill.pipeline.loader.batches.loss_terms import Labelled, sum_cross_entropy
from maskmill.pipeline.training.families import Family, family_of
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.masking import IGNORE_INDEX

Layout = Literal["sdpa", "padded"]


class TrainingBatch(Labelled, Protocol):
    """The part of the loader's batch that training uses: B rows of S tokens, on the CPU."""

    @property
    def sequence_labels(self) -> Tensor | None:
        """int64 (N,): the label of each pair of segments; None for rows without pairs."""

    @property
    def cls_positions(self) -> Tensor | None:
        """int64 (N,): where these pairs begin in the flattened B * S positions."""

    def model_inputs(self, layout: Layout, model: Any) -> dict[str, Any]:
        """The model's keyword arguments, with a mask that keeps sequences apart among them."""

    def model_labels(self, layout: Layout) -> Tensor:
        """The labels in the shape of the layout's input ids."""

    def model_weights(self, layout: Layout) -> Tensor | None:
        """What each label counts, in the same shape; None where all count the same."""


def sum_masked_loss(model: Any, batch: TrainingBatch, *, device: torch.device | str = "cpu") -> Tensor:
    """Run the encoder on a batch and sum the cross-entropy, in nats, over its labelled positions.

    Args:
        model: A model of `build_model`; its encoder sees all positions, its head the labelled ones.
        batch: B rows.
        device: Where the model is.

    Returns:
        A scalar in at least float32; zero, with a gradient of zeros, for a batch without labels.
    """
    family = family_of(model)
    return sum_token_loss(model, family, encode(model, family, batch, device), batch)


def encode(model: Any, family: Family, batch: TrainingBatch, device: torch.device | str) -> Tensor:
    """The hidden states `(positions, hidden_size)` of all positions of a batch, in the order of the family's layout."""
    return family.encode(model, make_inputs(model, family, batch, device))


def make_inputs(model: Any, family: Family, batch: TrainingBatch, device: torch.device | str) -> dict[str, Any]:
    """The keyword arguments of an encoder, on a device."""
    return {
        name: _move(value, device) if isinstance(value, Tensor | dict) else value
        for name, value in batch.model_inputs(family.layout, model).items()
    }


def _move(value: Any, device: torch.device | str) -> Any:
    """A tensor, or the masks of several kinds of layers, on a device."""
    if isinstance(value, dict):
        return {key: _move(one, device) for key, one in value.items()}
    return value.to(device, non_blocking=True)


def sum_token_loss(model: Any, family: Family, hidden: Tensor, batch: TrainingBatch) -> Tensor:
    """Sum the cross-entropy over the labelled positions, from the hidden states of all."""
    labels = batch.model_labels(family.layout).reshape(-1)
    # Found on the CPU: the same on a GPU would wait for all that is queued there.
    positions = (labels != IGNORE_INDEX).nonzero().squeeze(1)
    logits = family.predict(model, hidden.index_select(0, positions.to(hidden.device)))  # (labelled, vocab_size)
    weights = batch.model_weights(family.layout)
    return sum_cross_entropy(logits, labels[positions], None if weights is None else weights.reshape(-1)[positions])


def have_weights(micro_batches: Sequence[TrainingBatch]) -> bool:
    """Whether the labels of a global batch have weights."""
    return any(batch.loss_weights is not None for batch in micro_batches)


def sum_pair_loss(model: Any, family: Family, hidden: Tensor, batch: TrainingBatch) -> Tensor:
    """Sum the cross-entropy over the pairs of segments, from the hidden states of all positions."""
    labels, positions = _find_pairs(batch)
    assert family.pairs is not None  # noqa: S101  # the model has its head
    return sum_cross_entropy(family.pairs.judge(model, hidden.index_select(0, positions.to(hidden.device))), labels)


def count_pairs(batch: TrainingBatch) -> int:
    """The pairs of a batch that have a label.

    Raises:
        ConfigError: The rows hold none.
    """
    return len(_find_pairs(batch)[0])


def _find_pairs(batch: TrainingBatch) -> tuple[Tensor, Tensor]:
    """The labels of a batch's pairs, and the places of their [CLS] in the flattened rows."""
    labels, positions = batch.sequence_labels, batch.cls_positions
    if labels is None or positions is None:
        raise ConfigError(
            "the rows hold no pairs of segments whose label could be predicted",
            path="model.sentence_task",
            expected="a dataset that was packed with pack.pairs",
            found="rows without labels of sequences",
            action="prepare with pack.pairs, or set model.sentence_task to false",
        )
    return labels, positions
