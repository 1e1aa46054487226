"""A batch of masked rows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch

from pipeline.loader.encoders.encoder import Encoder, describe_encoder
from pipeline.loader.encoders.families import Layout
from pipeline.loader.encoders.layouts import lay_out_inputs, lay_out_labels


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

    def model_inputs(self, layout: Layout, model: Any = None) -> dict[str, Any]:
        """Keyword arguments for a `transformers` encoder, so that sequences attend only within themselves.

        A two-dimensional mask would let the sequences of a row see each other, and families differ in how they number
        tokens and in what they take for a mask. `pipeline.loader.encoders` knows them; docs/encoders.md lists them.

        Args:
            layout: `sdpa` for a mask for every pair of positions, `(B, 1, S, S)`: boolean for torch's own attention,
                added to the scores for the `eager` kind, a dictionary of masks for models with sliding windows.
                `varlen` for one row of B * S positions with `cu_seq_lens` (flash attention). `padded` for one sequence
                a row, `(N, longest)`, with the two-dimensional mask that every model takes.
            model: The model, or an `Encoder` that describes it. Without it the inputs are those of a BERT in torch's
                default precision, whatever its attention: wrong for families with other positions or masks.

        Raises:
            ConfigError: No such layout, the model would not keep the sequences apart, or has too few positions.
        """
        return lay_out_inputs(self, layout, Encoder() if model is None else describe_encoder(model))

    def model_labels(self, layout: Layout) -> torch.Tensor:
        """The labels in the shape that `model_inputs` of the same layout gives the logits.

        Raises:
            ConfigError: No such layout.
        """
        return lay_out_labels(self, layout)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The same batch with its tensors on a device."""
        return self._map_tensors(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory; a `DataLoader(..., pin_memory=True)` calls it."""
        return self._map_tensors(torch.Tensor.pin_memory)

    def _map_tensors(self, move: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: move(value) for name, value in values.items() if isinstance(value, torch.Tensor)}
        return type(self)(**{**values, **moved})

    def __deepcopy__(self, memo: dict[int, Any]) -> Batch:
        """A copy that belongs to whoever asked for it: its fields may be set, as Lightning does in a copy of its own.

        Lightning's true-precision modes convert a batch by copying it and setting every field of the copy.
        """
        return _Unfrozen(**{field.name: copy.deepcopy(getattr(self, field.name), memo) for field in fields(self)})


class _Unfrozen(Batch):
    """A batch whose fields may be set."""

    __setattr__ = object.__setattr__
