"""The layouts of a batch as keyword arguments of an encoder, and its labels in the same shape."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, Protocol

import torch

from maskmill.pipeline.loader.check_arguments import check
from maskmill.pipeline.loader.encoders.encoder import BOOLEAN_MASKS, Encoder
from maskmill.pipeline.loader.encoders.families import Layout, Positions
from maskmill.schemas.masking import IGNORE_INDEX

_LOG = logging.getLogger("maskmill.loader")


class PackedTensors(Protocol):
    """The fields of a `Batch` that layouts are made from; described there."""

    @property
    def input_ids(self) -> torch.Tensor: ...  # noqa: D102
    @property
    def labels(self) -> torch.Tensor: ...  # noqa: D102
    @property
    def position_ids(self) -> torch.Tensor: ...  # noqa: D102
    @property
    def segment_ids(self) -> torch.Tensor: ...  # noqa: D102
    @property
    def cu_seqlens(self) -> torch.Tensor: ...  # noqa: D102
    @property
    def max_seqlen(self) -> int: ...  # noqa: D102
    @property
    def pad_id(self) -> int: ...  # noqa: D102
    @property
    def token_type_ids(self) -> torch.Tensor | None: ...  # noqa: D102
    @property
    def loss_weights(self) -> torch.Tensor | None: ...  # noqa: D102


def lay_out_inputs(batch: PackedTensors, layout: Layout, encoder: Encoder) -> dict[str, Any]:
    """See `Batch.model_inputs`."""
    make_inputs = _find(layout).make_inputs
    encoder.check_takes(layout)
    return make_inputs(batch, encoder)


@cache
def warn_of_wide_masks() -> None:
    """Log once per process what a mask that fits every kind of attention costs."""
    _LOG.warning(
        'model_inputs("sdpa") without the model makes a mask of numbers, up to four times the memory of the boolean '
        'one that torch\'s own attention takes; give the model: model_inputs("sdpa", model)'
    )


def lay_out_labels(batch: PackedTensors, layout: Layout) -> torch.Tensor:
    """See `Batch.model_labels`."""
    return _find(layout).lay_out(batch, batch.labels, IGNORE_INDEX)


def lay_out_weights(batch: PackedTensors, layout: Layout) -> torch.Tensor | None:
    """See `Batch.model_weights`."""
    found = _find(layout)
    return None if batch.loss_weights is None else found.lay_out(batch, batch.loss_weights, 0)


class _Maker(NamedTuple):
    """How a layout is made: inputs, and one value for each position."""

    make_inputs: Callable[[PackedTensors, Encoder], dict[str, Any]]
    lay_out: Callable[[PackedTensors, torch.Tensor, int], torch.Tensor]


def _find(layout: str) -> _Maker:
    return _MAKERS[check("layout", layout)]


def _make_masked(batch: PackedTensors, encoder: Encoder) -> dict[str, Any]:
    _check_row(batch, encoder)
    together = batch.segment_ids[:, None, :, None] == batch.segment_ids[:, None, None, :]  # (B, 1, S, S)
    by_position = {**_number(batch, encoder), **_tell_types(batch, encoder)}
    return {"input_ids": batch.input_ids, **by_position, "attention_mask": _make_masks(together, encoder)}


def _make_varlen(batch: PackedTensors, encoder: Encoder) -> dict[str, Any]:
    _check_row(batch, encoder)
    by_position = {**_number(batch, encoder), **_tell_types(batch, encoder)}
    flat = {name: value.view(1, -1) for name, value in by_position.items()}
    return {
        "input_ids": batch.input_ids.view(1, -1),
        **flat,
        "cu_seq_lens_q": batch.cu_seqlens,
        "cu_seq_lens_k": batch.cu_seqlens,
        "max_length_q": batch.max_seqlen,
        "max_length_k": batch.max_seqlen,
    }


def _make_padded(batch: PackedTensors, encoder: Encoder) -> dict[str, Any]:
    rows, columns = _places_in_padded(batch)
    taken = batch.segment_ids > 0
    shape = _padded_shape(batch)
    encoder.check_length(shape[1])
    device = batch.input_ids.device
    input_ids = torch.full(shape, batch.pad_id, dtype=torch.int64, device=device)
    attention_mask = torch.zeros(shape, dtype=torch.int64, device=device)
    input_ids[rows, columns] = batch.input_ids[taken]
    attention_mask[rows, columns] = 1
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
    for name, types in _tell_types(batch, encoder).items():
        inputs[name] = torch.zeros(shape, dtype=torch.int64, device=device)
        inputs[name][rows, columns] = types[taken]
    return inputs


def _keep_rows(_batch: PackedTensors, values: torch.Tensor, _fill: int) -> torch.Tensor:
    return values


def _flatten_rows(_batch: PackedTensors, values: torch.Tensor, _fill: int) -> torch.Tensor:
    return values.view(1, -1)


def _pad_sequences(batch: PackedTensors, values: torch.Tensor, fill: int) -> torch.Tensor:
    rows, columns = _places_in_padded(batch)
    padded = torch.full(_padded_shape(batch), fill, dtype=values.dtype, device=values.device)
    padded[rows, columns] = values[batch.segment_ids > 0]
    return padded


_MAKERS = {
    "sdpa": _Maker(_make_masked, _keep_rows),
    "varlen": _Maker(_make_varlen, _flatten_rows),
    "padded": _Maker(_make_padded, _pad_sequences),
}


def _number(batch: PackedTensors, encoder: Encoder) -> dict[str, torch.Tensor]:
    """The model's `position_ids`, if it accepts any."""
    positions = encoder.family.positions
    if positions in (Positions.BY_DISTANCE, Positions.BY_DISTANCE_IN_TABLE):
        return {}
    if encoder.padding_idx is None:
        return {"position_ids": batch.position_ids}
    if encoder.padding_idx == batch.pad_id:
        return {"position_ids": batch.position_ids + (encoder.padding_idx + 1)}
    return {"position_ids": _renumber(batch, encoder.padding_idx)}


def _tell_types(batch: PackedTensors, encoder: Encoder) -> dict[str, torch.Tensor]:
    """The model's `token_type_ids`, if the sequences are pairs and it tells their segments apart."""
    if batch.token_type_ids is None or encoder.token_types < 2:
        return {}
    return {"token_type_ids": batch.token_type_ids}


def _renumber(batch: PackedTensors, padding_idx: int) -> torch.Tensor:
    """Positions for a model whose padding id is not the dataset's, as the model numbers each sequence alone.

    A token with that id has position `padding_idx`, and the numbering of the following tokens skips it.
    """
    counted = batch.input_ids != padding_idx
    number = counted.cumsum(1)
    columns = torch.arange(number.shape[1], device=number.device)
    first = columns - batch.position_ids  # of the position's sequence
    before = torch.where(first > 0, number.gather(1, (first - 1).clamp(min=0)), 0)
    return (number - before) * counted + padding_idx


def _make_masks(together: torch.Tensor, encoder: Encoder) -> Any:
    """One mask, or a dictionary of masks, in which equal windows share one tensor."""
    if encoder.windows is None:
        return _express(together, encoder)
    distinct = {window for _, window in encoder.windows}
    made = {window: _express(_narrow(together, window), encoder) for window in distinct}
    return {key: made[window] for key, window in encoder.windows}


def _narrow(together: torch.Tensor, window: int | None) -> torch.Tensor:
    """Pairs no further apart than a window; within a sequence, distances in the row equal those of positions."""
    if window is None:
        return together
    places = torch.arange(together.shape[-1], device=together.device)
    return together & ((places[:, None] - places[None, :]).abs() <= window)


def _express(together: torch.Tensor, encoder: Encoder) -> torch.Tensor:
    if encoder.attention is not None and BOOLEAN_MASKS[encoder.attention]:
        return together
    dtype = encoder.dtype or torch.get_default_dtype()
    # The lowest finite number: every position sees at least itself, so each row of scores has a higher one.
    mask = torch.zeros(together.shape, dtype=dtype, device=together.device)
    return mask.masked_fill_(~together, torch.finfo(dtype).min)


def _check_row(batch: PackedTensors, encoder: Encoder) -> None:
    by_row = encoder.family.positions is Positions.BY_DISTANCE_IN_TABLE
    encoder.check_length(batch.input_ids.shape[1] if by_row else batch.max_seqlen)


def _places_in_padded(batch: PackedTensors) -> tuple[torch.Tensor, torch.Tensor]:
    taken = batch.segment_ids > 0
    first = (batch.position_ids == 0) & taken
    number = first.flatten().cumsum(0).view_as(first) - 1
    return number[taken], batch.position_ids[taken]


def _padded_shape(batch: PackedTensors) -> tuple[int, int]:
    taken = batch.segment_ids > 0
    sequences = int(((batch.position_ids == 0) & taken).sum())
    return sequences, int(batch.position_ids[taken].max()) + 1 if sequences else 0
