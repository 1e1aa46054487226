"""A batch of masked rows."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch.utils.data._utils.collate import default_collate_fn_map

from maskmill.pipeline.loader.batches.one_storage import Place, find_packed, pack, unpack
from maskmill.pipeline.loader.encoders.encoder import Encoder, describe_encoder
from maskmill.pipeline.loader.encoders.families import Layout
from maskmill.pipeline.loader.encoders.layouts import (
    lay_out_inputs,
    lay_out_labels,
    lay_out_weights,
    warn_of_wide_masks,
)
from maskmill.pipeline.loader.resume.batch_place import BatchPlace
from maskmill.schemas.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Batch(BatchPlace):
    """B rows of S positions of one rank, and their place in the run.

    Attributes:
        input_ids: int64 `(B, S)`, what the model reads.
        labels: int64 `(B, S)`, the true ids at predicted positions, IGNORE_INDEX elsewhere.
        position_ids: int64 `(B, S)`, from 0 in every sequence.
        segment_ids: int32 `(B, S)`, number of the sequence within its row from 1; 0 is padding.
        cu_seqlens: int32 `(N + 1,)`, ends of sequences in the flattened B * S positions; a row's padding is closed
            as a sequence of its own.
        max_seqlen: The longest of them.
        row_ids: int64 `(B,)`, shard * 2^32 + row in shard.
        pad_id: Id of [PAD].
        datasets: int64 `(B,)`, the number of the dataset each row comes from; 0 where there is one.
        row_epochs: int64 `(B,)`, the epoch of its dataset each row is in.
        masked_positions: int64 `(B * C,)`, the predicted positions in the flattened B * S ones; from `to_device`. Row
            b has the entries from b * C on, ascending, spare ones last, with C the most that any row can have
            predicted: every batch has the same shape. Spare entries are 0.
        masked_labels: int64 `(B * C,)`, the labels there; IGNORE_INDEX in spare entries.
        loss_weights: float32 `(B, S)`, what each predicted token counts in the loss, 0 elsewhere; None where all count
            the same. With `Masking.per_sequence_rate` it is 1 / rate of the sequence: divide the weighted sum by the
            tokens of the batch, not by its labels.
        token_type_ids: int64 `(B, S)`, 1 in the second segment of every sequence, its [SEP] included, 0 elsewhere. This
            field and the next two are `None` for datasets without pairs.
        sequence_labels: int64 `(N,)`, the label of each of the N sequences of the batch, in the order of rows, paddings
            not counted: with `pack.pairs = "nsp"` 0 if B follows A and 1 if it is from another document, with `"sop"` 0
            if they are in order and 1 if they are swapped. N changes from batch to batch, as that of `cu_seqlens` does;
            it is known on the host, so no device is waited for.
        cls_positions: int64 `(N,)`, where these sequences begin with [CLS] in the flattened B * S positions.
        word_starts: bool `(B, S)`, whether a word starts at a position, of datasets that store what a segmenter found
            (`pack.word_boundaries`); only in batches that are made in host memory.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    position_ids: torch.Tensor
    segment_ids: torch.Tensor
    cu_seqlens: torch.Tensor
    max_seqlen: int
    row_ids: torch.Tensor
    pad_id: int
    datasets: torch.Tensor
    row_epochs: torch.Tensor
    masked_positions: torch.Tensor | None = None
    masked_labels: torch.Tensor | None = None
    loss_weights: torch.Tensor | None = None
    token_type_ids: torch.Tensor | None = None
    sequence_labels: torch.Tensor | None = None
    cls_positions: torch.Tensor | None = None
    word_starts: torch.Tensor | None = None

    @classmethod
    def assemble(cls, place: BatchPlace, **fields: Any) -> Batch:
        """`Batch(**fields, **vars(place))` in a third of the time: 3 us of the 140 that a batch of 32 rows takes.

        A frozen class sets its fields one by one, each by a call.
        """
        batch = object.__new__(cls)
        vars(batch).update(_UNSET, **vars(place), **fields)
        return batch

    def model_inputs(self, layout: Layout, model: Any = None) -> dict[str, Any]:
        """Keyword arguments for a `transformers` encoder, so that sequences attend only within themselves.

        A two-dimensional mask would let the sequences of a row see each other, and families differ in how they number
        tokens and in what they take for a mask. `maskmill.pipeline.loader.encoders` knows them; docs/encoders.md lists
        them.

        Args:
            layout: `sdpa` for a mask for every pair of positions, `(B, 1, S, S)`: boolean for torch's own attention,
                added to the scores for the `eager` kind, a dictionary of masks for models with sliding windows.
                `varlen` for one row of B * S positions with `cu_seq_lens` (flash attention). `padded` for one sequence
                a row, `(N, longest)`, with the two-dimensional mask that every model takes.
            model: The model, or an `Encoder` that describes it. Without it the inputs are those of a BERT in torch's
                default precision, for any kind of attention. That is wrong for families with other positions or masks,
                and masks take four times the memory, which is logged once.

        Raises:
            ConfigError: No such layout, the model would not keep the sequences apart, or has too few positions.
        """
        if model is None and isinstance(layout, str) and layout == "sdpa":
            warn_of_wide_masks()
        return lay_out_inputs(self, layout, Encoder() if model is None else describe_encoder(model))

    def model_labels(self, layout: Layout) -> torch.Tensor:
        """The labels in the shape that `model_inputs` of the same layout gives the logits.

        Raises:
            ConfigError: No such layout.
        """
        return lay_out_labels(self, layout)

    def model_weights(self, layout: Layout) -> torch.Tensor | None:
        """`loss_weights` in the shape of `model_labels`; None where every label counts the same.

        Raises:
            ConfigError: No such layout.
        """
        return lay_out_weights(self, layout)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The same batch with its tensors on a device; in one copy where they are in one storage."""
        tensors = self._tensors()
        found = find_packed(tensors)
        if found is None:
            return self._with({name: one.to(device, non_blocking=non_blocking) for name, one in tensors.items()})
        packed, places = found
        return self._with(unpack(packed.to(device, non_blocking=non_blocking), places))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, in one storage; a `DataLoader(..., pin_memory=True)` calls it."""
        return self._with(unpack(*pack(self._tensors(), pin_memory=True)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Send it to another process as one tensor: a batch kept there then needs one file descriptor."""
        tensors = self._tensors()
        others = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in tensors}
        if all(tensor.device.type == "cpu" for tensor in tensors.values()):
            return _rebuild_packed, (type(self), *pack(tensors), others)
        return _rebuild, (type(self), tensors, others)

    def _tensors(self) -> dict[str, torch.Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}

    def _with(self, tensors: dict[str, Any]) -> Batch:
        return replace(self, **tensors)

    def __deepcopy__(self, memo: dict[int, Any]) -> Batch:
        """A copy whose fields may be set.

        Lightning's true-precision modes convert a batch by copying it and setting every field of the copy.
        """
        return _Unfrozen(**{field.name: copy.deepcopy(getattr(self, field.name), memo) for field in fields(self)})


_UNSET = {field.name: field.default for field in fields(Batch) if field.default is None}


class _Unfrozen(Batch):
    """A batch whose fields may be set. Only weights of labels stay as precise as they are, whatever they are set to.

    They are up to 10**6, which float16 does not reach.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        halved = isinstance(value, torch.Tensor) and value.dtype in (torch.float16, torch.bfloat16)
        if name == "loss_weights" and halved and self.loss_weights is not None:
            value = self.loss_weights.to(value.device)
        object.__setattr__(self, name, value)


def _rebuild_packed(kind: type[Batch], packed: torch.Tensor, places: dict[str, Place], others: dict[str, Any]) -> Batch:
    return _rebuild(kind, unpack(packed, places), others)


def _rebuild(kind: type[Batch], tensors: dict[str, Any], others: dict[str, Any]) -> Batch:
    return kind(**tensors, **others)


def _refuse_to_collate(*_: Any, **__: Any) -> Batch:
    raise ConfigError(
        "a DataLoader would make batches of batches",
        path="DataLoader",
        expected="batch_size=None: the loader already makes batches",
        found="a batch_size",
        action="give DataLoader(batches, batch_size=None), and the rows of a batch to MaskedBatches",
    )


default_collate_fn_map[Batch] = _refuse_to_collate
