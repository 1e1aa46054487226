"""What a batch carries, made of sent rows in tensor operations that never wait for the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.pipeline.loader.device.transfer_layout import (
    SentRows,
    TransferLayout,
    lay_out_transfer,
    read_rows,
    widen,
    write_rows,
)
from maskmill.pipeline.loader.rows.row_batch import RowBatch
from maskmill.pipeline.masking.numba_masks import count_selected
from maskmill.pipeline.masking.row_keys import derive_row_words
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.pipeline.masking.torch_masks import (
    MaskedRows,
    TorchMaskPlan,
    apply_masks,
    draw_masks,
    place_stored_masks,
    plan_masks_torch,
)
from maskmill.schemas.masking import Masking


class _Place(NamedTuple):
    """What of a batch stays on the host; see `Batch`."""

    epoch: int
    step: int
    rows_before: int
    state: dict[str, Any]
    waited_seconds: float
    max_seqlen: int


class BatchMaker:
    """Makes batches on a device, equal to those that are made on the host.

    Args:
        masking: Settings of dynamic masks; `None` for stored ones.
        rate_ppm: The highest rate of any mask; fixes C.
        tables: What masks are drawn from.
        device: Where batches are made.
    """

    def __init__(self, masking: Masking | None, rate_ppm: int, tables: MaskTables, device: torch.device) -> None:
        self._masking = masking
        self._rate_ppm = rate_ppm
        self._tables = tables
        self._device = device
        self._plans: dict[int, TorchMaskPlan] = {}
        self._layouts: dict[tuple[object, ...], TransferLayout] = {}

    def lay_out(self, rows: RowBatch) -> TransferLayout:
        """The layout of batches with the shapes of this one; a curriculum has several."""
        shape = (rows.rows.shape, rows.rows.dtype, rows.lengths.shape)
        if shape not in self._layouts:
            stored = count_selected(rows.rows.shape[1], self._rate_ppm) if self._masking is None else 0
            self._layouts[shape] = lay_out_transfer(rows, stored)
        return self._layouts[shape]

    def write(self, rows: RowBatch, buffer: torch.Tensor) -> tuple[int, Callable[[torch.Tensor], Batch]]:
        """Write a batch of rows to a host buffer.

        Args:
            rows: Not kept.
            buffer: uint8, of at least the layout's `capacity_bytes`.

        Returns:
            How many bytes of the buffer to copy to the device, and what makes the batch of that copy.
        """
        seed = self._masking.seed if self._masking is not None else 0
        layout = self.lay_out(rows)
        row_words = derive_row_words(seed, rows.mask_epochs, rows.row_ids)
        written = write_rows(layout, rows, row_words, buffer.numpy())
        if self._masking is not None and layout.seq_len not in self._plans:
            plan = plan_masks_torch(self._masking, self._tables, layout.seq_len, self._device)
            self._plans[layout.seq_len] = plan
        # The next rows are written over these: what is not in the buffer is taken now.
        place = _Place(rows.epoch, rows.step, rows.rows_before, rows.state, rows.waited_seconds, written.max_seqlen)

        def make(sent: torch.Tensor) -> Batch:
            return self._make(read_rows(layout, written, sent), place)

        return written.num_bytes, make

    def _make(self, sent: SentRows, place: _Place) -> Batch:
        masked = self._mask(sent)
        position_ids, segment_ids = mark_sequences_torch(sent.cu_seqlens, sent.content, sent.rows.shape[1])
        # Copies: a batch that someone keeps does not keep the bytes that were sent.
        row_ids, row_epochs, datasets = sent.marks.clone().unbind()
        return Batch(
            input_ids=masked.input_ids,
            labels=masked.labels,
            position_ids=position_ids,
            segment_ids=segment_ids,
            cu_seqlens=sent.cu_seqlens.clone(),
            max_seqlen=place.max_seqlen,
            row_ids=row_ids,
            epoch=place.epoch,
            step=place.step,
            rows_before=place.rows_before,
            state=place.state,
            pad_id=self._tables.vocabulary.pad_id,
            datasets=datasets,
            row_epochs=row_epochs,
            waited_seconds=place.waited_seconds,
            masked_positions=masked.masked_positions,
            masked_labels=masked.masked_labels,
        )

    def _mask(self, sent: SentRows) -> MaskedRows:
        rows = widen(sent.rows)
        if self._masking is not None:
            masks = draw_masks(rows, sent.row_words, self._plans[rows.shape[1]])
        else:
            shown, wanted = widen(sent.mask_ids), widen(sent.mask_labels)
            masks = place_stored_masks(rows, widen(sent.mask_positions), sent.num_masked, shown, wanted)
        return apply_masks(rows, masks)


def mark_sequences_torch(
    cu_seqlens: torch.Tensor, content: torch.Tensor, seq_len: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Number positions within their sequences, and sequences within their rows.

    Args:
        cu_seqlens: int32 `(N + 1,)` over the flattened B * S positions.
        content: int32 `(B,)`, positions of a row before its padding.
        seq_len: S.

    Returns:
        `position_ids` int64 `(B, S)`, from 0 in every sequence and in the padding, and `segment_ids` int32 `(B, S)`,
        from 1 in every row, 0 for padding.
    """
    shape = (len(content), seq_len)
    places = torch.arange(len(content) * seq_len, dtype=torch.int32, device=content.device)
    number = torch.searchsorted(cu_seqlens, places, right=True, out_int32=True) - 1
    position_ids = (places - cu_seqlens[number]).to(torch.int64).view(shape)
    number = number.view(shape)
    is_padding = places[None, :seq_len] >= content[:, None]
    return position_ids, (number - number[:, :1] + 1).masked_fill(is_padding, 0)
