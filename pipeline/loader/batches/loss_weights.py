"""What each predicted token counts in the loss, where every sequence has a rate of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.pipeline.masking.hashing import RATE_STREAM
from maskmill.pipeline.masking.step_masks import StepMasks
from maskmill.pipeline.masking.torch_hashing import derive_row_words_torch, hash_positions_torch, multiples_of_g
from maskmill.schemas.masking import IGNORE_INDEX, LossWeights, Masking
from maskmill.schemas.shares import PPM


class Weigher:
    """Adds `loss_weights` to batches whose masks ask for them.

    Args:
        masks: Dynamic masks; `None` for stored ones.
        stored: Then the settings of each dataset's, and how many copies it has.
        cls_id: Id of [CLS], with which sequences begin.

    Attributes:
        masks: As given.
    """

    def __init__(self, masks: StepMasks | None, stored: Sequence[tuple[Masking, int]], cls_id: int) -> None:
        self.masks = masks
        self._stored = list(stored)
        self._cls_id = cls_id

    def weigh(self, batch: Batch, step: int) -> Batch:
        """The batch with its weights, on its device; as it is where every token counts the same.

        Args:
            batch: Masked.
            step: Of the run.
        """
        masking = self._stored[0][0] if self.masks is None else self.masks.find(step).masking
        if not _weighs(masking):
            return batch
        epochs = batch.row_epochs
        if self.masks is None:
            copies = torch.tensor([copies for _, copies in self._stored], device=epochs.device)
            epochs = epochs % copies[batch.datasets]
        return weigh_labels(batch, masking, self._cls_id, epochs)


def weigh_labels(batch: Batch, masking: Masking, cls_id: int, epochs: torch.Tensor | None = None) -> Batch:
    """The batch with the weights that a masking gives its labels; as it is where every label counts the same.

    Args:
        batch: Masked by these settings.
        masking: Its settings.
        cls_id: Id of [CLS], with which sequences begin.
        epochs: int64 `(B,)`, of each row's mask; by default those of the rows.
    """
    if not _weighs(masking):
        return batch
    predicted = batch.labels != IGNORE_INDEX
    rates = _find_rates(batch, batch.row_epochs if epochs is None else epochs, masking, cls_id)
    weights = (PPM / rates.clamp_min(1).to(torch.float64)).to(torch.float32)
    return replace(batch, loss_weights=weights.masked_fill(~predicted, 0.0))


def _weighs(masking: Masking) -> bool:
    return masking.per_sequence_rate is not None and masking.loss_weights != LossWeights.ONE


def _find_rates(batch: Batch, epochs: torch.Tensor, masking: Masking, cls_id: int) -> torch.Tensor:
    """The rate of the sequence that each position is in, in ppm: int64 `(B, S)`; see `strategies.sequence_rates`."""
    places = torch.arange(batch.input_ids.shape[1], device=batch.input_ids.device).expand(batch.input_ids.shape)
    starts = torch.where(batch.input_ids == cls_id, places, 0).cummax(1).values
    words = derive_row_words_torch((RATE_STREAM,), masking.seed, epochs, batch.row_ids)[:, 0]
    low, high = masking.rate_bounds_ppm
    return low + ((hash_positions_torch(multiples_of_g(starts), words) * (high - low + 1)) >> 32)
