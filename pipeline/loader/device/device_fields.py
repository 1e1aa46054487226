"""What a batch carries, made of sent rows in tensor operations that never wait for the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.pipeline.loader.batches.loss_weights import Weigher
from maskmill.pipeline.loader.device.host_masks import draw_into
from maskmill.pipeline.loader.device.transfer_layout import (
    SentPairs,
    SentRows,
    TransferLayout,
    lay_out_transfer,
    read_rows,
    view_masks,
    widen,
    write_rows,
)
from maskmill.pipeline.loader.resume.batch_place import BatchPlace
from maskmill.pipeline.loader.rows.row_batch import RowBatch
from maskmill.pipeline.masking.row_keys import derive_row_words
from maskmill.pipeline.masking.step_masks import EpochPlans, PhaseMasks
from maskmill.pipeline.masking.torch_masks import (
    MaskedRows,
    TorchMaskPlan,
    apply_masks,
    draw_masks,
    place_stored_masks,
    plan_masks_torch,
)
from maskmill.schemas.rows import MASK_INPUT_IDS, MASK_LABELS, MASK_POSITIONS


class BatchMaker:
    """Makes batches on a device, equal to those that are made on the host.

    Exact counts of single tokens are masked there; masks of other strategies are drawn on the host, and sent in the
    form of stored ones.

    Args:
        weigher: Knows dynamic masks, `None` for stored ones, and gives batches their `loss_weights`.
        most_predicted: C, by the length of rows.
        pad_id: Id of [PAD].
        device: Where batches are made.
    """

    def __init__(
        self,
        weigher: Weigher,
        most_predicted: Callable[[int], int],
        pad_id: int,
        device: torch.device,
    ) -> None:
        self._masks = weigher.masks
        self._weigher = weigher
        self._host_plans = None if self._masks is None else EpochPlans(self._masks)
        self._most_predicted = most_predicted
        self._pad_id = pad_id
        self._device = device
        self._plans: dict[tuple[PhaseMasks, int], TorchMaskPlan] = {}
        self._layouts: dict[tuple[object, ...], TransferLayout] = {}

    def lay_out(self, rows: RowBatch) -> TransferLayout:
        """The layout of batches with the shapes of this one; a curriculum has several."""
        on_device = self._masks is not None and self._masks.are_drawn_on_device(rows.run_step)
        shape = (len(rows), rows.staged.seq_len, rows.staged.rows.dtype, rows.staged.has_pairs, on_device)
        if shape not in self._layouts:
            sent = 0 if on_device else self._most_predicted(rows.staged.seq_len)
            self._layouts[shape] = lay_out_transfer(rows, sent)
        return self._layouts[shape]

    def write(self, rows: RowBatch, buffer: torch.Tensor) -> tuple[int, Callable[[torch.Tensor], Batch]]:
        """Write a batch of rows to a host buffer.

        Args:
            rows: Not kept.
            buffer: uint8, of at least the layout's `capacity_bytes`.

        Returns:
            How many bytes of the buffer to copy to the device, and what makes the batch of that copy.
        """
        layout = self.lay_out(rows)
        plan = self._plan_on_device(rows.run_step, layout.seq_len)
        row_words = derive_row_words(0 if plan is None else plan.masking.seed, rows.epochs, rows.row_ids)
        written = write_rows(layout, rows, row_words, buffer.numpy())
        if plan is None and self._host_plans is not None:
            masks = view_masks(layout, buffer.numpy())
            plans = self._host_plans.of(rows.run_step, rows.distinct_epochs)
            draw_into(masks, rows.word_starts, rows.row_ids, rows.epochs, plans)
        place, step = rows.place, rows.run_step  # copied now: the next rows overwrite these

        def make(sent: torch.Tensor) -> Batch:
            batch = self._make(read_rows(layout, written, sent), plan, written.max_seqlen, place)
            return self._weigher.weigh(batch, step)

        return written.num_bytes, make

    def _plan_on_device(self, step: int, seq_len: int) -> TorchMaskPlan | None:
        """The plan of a step's masks, if they are drawn on the device."""
        if self._masks is None or not self._masks.are_drawn_on_device(step):
            return None
        phase = self._masks.find(step)
        if (phase, seq_len) not in self._plans:
            most = self._most_predicted(seq_len)
            self._plans[phase, seq_len] = plan_masks_torch(phase.masking, phase.tables, seq_len, self._device, most)
        return self._plans[phase, seq_len]

    def _make(self, sent: SentRows, plan: TorchMaskPlan | None, max_seqlen: int, place: BatchPlace) -> Batch:
        masked = _mask(sent, plan)
        position_ids, segment_ids = mark_sequences_torch(sent.cu_seqlens, sent.content, sent.rows.shape[1])
        # Copies, so that a batch that is kept does not keep the transferred bytes alive.
        row_ids, row_epochs, datasets = sent.marks.clone().unbind()
        return Batch(
            input_ids=masked.input_ids,
            labels=masked.labels,
            position_ids=position_ids,
            segment_ids=segment_ids,
            cu_seqlens=sent.cu_seqlens.clone(),
            max_seqlen=max_seqlen,
            row_ids=row_ids,
            pad_id=self._pad_id,
            datasets=datasets,
            row_epochs=row_epochs,
            masked_positions=masked.masked_positions,
            masked_labels=masked.masked_labels,
            **({} if sent.pairs is None else mark_pairs_torch(sent.pairs, sent.cu_seqlens, sent.rows.shape)),
            **vars(place),
        )


def _mask(sent: SentRows, plan: TorchMaskPlan | None) -> MaskedRows:
    rows = widen(sent.rows)
    if plan is not None:
        masks = draw_masks(rows, sent.row_words, plan)
    else:
        positions, shown, wanted = (widen(sent.lists[n]) for n in (MASK_POSITIONS, MASK_INPUT_IDS, MASK_LABELS))
        masks = place_stored_masks(rows, positions, sent.counts[MASK_POSITIONS], shown, wanted)
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


def mark_pairs_torch(pairs: SentPairs, cu_seqlens: torch.Tensor, shape: tuple[int, ...]) -> dict[str, Any]:
    """The fields of a `Batch` that only datasets of pairs have; copies, as above.

    Args:
        pairs: As they were sent.
        cu_seqlens: int32, over the flattened B * S positions.
        shape: (B, S).
    """
    places = torch.arange(shape[0] * shape[1], dtype=torch.int32, device=cu_seqlens.device)
    number = torch.searchsorted(cu_seqlens, places, right=True, out_int32=True) - 1
    return {
        "token_type_ids": (places >= pairs.turns[number]).to(torch.int64).view(shape),
        "sequence_labels": pairs.labels.to(torch.int64),
        "cls_positions": pairs.starts.to(torch.int64),
    }
