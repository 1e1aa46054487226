"""A batch of masked rows, and what each way of running a model over packed rows takes from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch

from schemas.masking import IGNORE_INDEX

Layout = Literal["sdpa", "varlen", "padded"]


@dataclass(frozen=True)
class Batch:
    """B rows of S positions of one rank.

    Attributes:
        input_ids: int64 `(B, S)`, what the model reads.
        labels: int64 `(B, S)`, the true ids at predicted positions, IGNORE_INDEX elsewhere.
        position_ids: int64 `(B, S)`, from 0 in every sequence.
        segment_ids: int32 `(B, S)`, number of the sequence within its row from 1; 0 is padding.
        cu_seqlens: int32 `(N + 1,)`, ends of sequences in the flattened B * S positions; a row's padding is closed
            as a sequence of its own.
        max_seqlen: The longest of them.
        row_ids: int64 `(B,)`, shard * 2^32 + row in shard.
        epoch: From 0.
        step: Of the global batch in its epoch, from 0; micro-batches of one global batch share it.
        rows_before: Rows of this rank's share of the global batch that came in micro-batches before.
        state: Where the loader stands after this batch; valid for any number of workers.
        pad_id: Id of [PAD].
        datasets: int64 `(B,)`, the number of the dataset each row comes from; 0 where there is one.
        row_epochs: int64 `(B,)`, the epoch of its dataset each row is in.
        waited_seconds: How long storage was waited for, for this batch: where it is not 0, the trainer waited too.
        masked_positions: int64 `(B * C,)`, the predicted positions in the flattened B * S ones; from `to_device`. Row
            b has the entries from b * C on, ascending, spare ones last, with C the most that any row can have
            predicted: every batch has the same shape. Spare entries are 0.
        masked_labels: int64 `(B * C,)`, the labels there; IGNORE_INDEX in spare entries.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    position_ids: torch.Tensor
    segment_ids: torch.Tensor
    cu_seqlens: torch.Tensor
    max_seqlen: int
    row_ids: torch.Tensor
    epoch: int
    step: int
    rows_before: int
    state: dict[str, Any]
    pad_id: int
    datasets: torch.Tensor
    row_epochs: torch.Tensor
    waited_seconds: float
    masked_positions: torch.Tensor | None = None
    masked_labels: torch.Tensor | None = None

    def model_inputs(self, layout: Layout) -> dict[str, Any]:
        """Keyword arguments for a `transformers` encoder, so that sequences attend only within themselves.

        BERT ignores `cu_seqlens` unless its attention is of the flash kind, and a two-dimensional mask lets the
        sequences of a row see each other; hence one layout for each way that does keep them apart.

        Args:
            layout: `sdpa` for a `(B, 1, S, S)` boolean mask, which torch's own attention takes in any precision (the
                `eager` kind would add it to the scores as 0 and 1, and hide nothing); `varlen` for one row of B * S
                positions with `cu_seq_lens` (flash attention); `padded` for one sequence a row, `(N, longest)`.

        Raises:
            ValueError: No such layout.
        """
        if layout == "sdpa":
            mask = self.segment_ids[:, None, :, None] == self.segment_ids[:, None, None, :]
            return {"input_ids": self.input_ids, "position_ids": self.position_ids, "attention_mask": mask}
        if layout == "varlen":
            return {
                "input_ids": self.input_ids.view(1, -1),
                "position_ids": self.position_ids.view(1, -1),
                "cu_seq_lens_q": self.cu_seqlens,
                "cu_seq_lens_k": self.cu_seqlens,
                "max_length_q": self.max_seqlen,
                "max_length_k": self.max_seqlen,
            }
        _check_padded(layout)
        rows, columns = self._places_in_padded()
        taken = self.segment_ids > 0
        shape = self._padded_shape()
        input_ids = torch.full(shape, self.pad_id, dtype=torch.int64, device=self.input_ids.device)
        attention_mask = torch.zeros(shape, dtype=torch.int64, device=self.input_ids.device)
        input_ids[rows, columns] = self.input_ids[taken]
        attention_mask[rows, columns] = 1
        return {"input_ids": input_ids, "attention_mask": attention_mask}

    def model_labels(self, layout: Layout) -> torch.Tensor:
        """The labels in the shape that `model_inputs` of the same layout gives the logits."""
        if layout == "sdpa":
            return self.labels
        if layout == "varlen":
            return self.labels.view(1, -1)
        _check_padded(layout)
        rows, columns = self._places_in_padded()
        labels = torch.full(self._padded_shape(), IGNORE_INDEX, dtype=torch.int64, device=self.labels.device)
        labels[rows, columns] = self.labels[self.segment_ids > 0]
        return labels

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The same batch with its tensors on a device."""
        return self._map_tensors(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory; a `DataLoader(..., pin_memory=True)` calls it."""
        return self._map_tensors(torch.Tensor.pin_memory)

    def _map_tensors(self, move: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: move(value) for name, value in values.items() if isinstance(value, torch.Tensor)}
        return Batch(**{**values, **moved})

    def _places_in_padded(self) -> tuple[torch.Tensor, torch.Tensor]:
        taken = self.segment_ids > 0
        first = (self.position_ids == 0) & taken
        number = first.flatten().cumsum(0).view_as(first) - 1
        return number[taken], self.position_ids[taken]

    def _padded_shape(self) -> tuple[int, int]:
        taken = self.segment_ids > 0
        sequences = int(((self.position_ids == 0) & taken).sum())
        return sequences, int(self.position_ids[taken].max()) + 1 if sequences else 0


def _check_padded(layout: str) -> None:
    if layout != "padded":
        raise ValueError(f"layout must be sdpa, varlen or padded, got {layout!r}")
