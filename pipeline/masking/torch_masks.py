"""Token masks on a trainer's device: the same bits as the CPU's, in tensor operations that never synchronise.

The `count` smallest keys of a row come from one `topk` whose size depends on S and the rate alone, hence no value has
to travel to the host.

A batch is small for a GPU, so what it costs is the number of operations: 56 for `draw_masks` and `apply_masks`
together, whatever B and S. What only depends on the settings is made once, by `plan_masks_torch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from maskmill.pipeline.masking.hashing import G
from maskmill.pipeline.masking.row_keys import STREAMS
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.pipeline.masking.torch_hashing import derive_row_words_torch, hash_positions_torch
from maskmill.schemas.masking import IGNORE_INDEX, Masking, count_selected
from maskmill.schemas.rows import MAX_SEQ_LEN

_NEVER = 1 << 48
"""Above every key of a maskable position."""


@dataclass(frozen=True, eq=False)
class TorchMaskPlan:
    """Everything but the rows and their keys that masks depend on, as tensors on one device.

    Attributes:
        masking: The settings in force.
        mask_id: Id of [MASK].
        most: C, the most positions that a row can have selected.
        never_selected: int64 `(4, 1, 1)`, the ids of [PAD], [CLS], [SEP] and [MASK].
        counts: int64 `(S + 1,)`, how many positions are selected where n cannot be, at n.
        positions: int64 `(S,)`, from 0.
        steps: int64 `(S,)`, what the hash adds at each position.
        ranks: int64 `(C,)`, from 0.
        replacements: int64 `(n,)`, every id that may replace a token.
    """

    masking: Masking
    mask_id: int
    most: int
    never_selected: Tensor
    counts: Tensor
    positions: Tensor
    steps: Tensor
    ranks: Tensor
    replacements: Tensor


class SparseMasks(NamedTuple):
    """The masks of B rows in C entries a row.

    Attributes:
        places: int64 `(B, C)`, positions in the B * S flattened ones, ascending; B * S in spare entries, which come
            last.
        is_spare: bool `(B, C)`.
        shown: int64 `(B, C)`, what the model reads there; anything in spare entries.
        wanted: int64 `(B, C)`, the true ids; anything in spare entries.
    """

    places: Tensor
    is_spare: Tensor
    shown: Tensor
    wanted: Tensor


class MaskedRows(NamedTuple):
    """Masked rows for training.

    Attributes:
        input_ids: int64 `(B, S)`, what the model reads.
        labels: int64 `(B, S)`, the true ids at predicted positions, IGNORE_INDEX elsewhere.
        masked_positions: int64 `(B * C,)`, predicted positions in the B * S flattened ones; 0 in spare entries.
        masked_labels: int64 `(B * C,)`, the labels there; IGNORE_INDEX in spare entries.
    """

    input_ids: Tensor
    labels: Tensor
    masked_positions: Tensor
    masked_labels: Tensor


def plan_masks_torch(
    masking: Masking, tables: MaskTables, seq_len: int, device: torch.device, most: int | None = None
) -> TorchMaskPlan:
    """Place on a device what all masks of rows of one length share: once, then `draw_masks` for each batch.

    Every tensor is made on the host and copied over by a call that waits: kernels of any stream may read it then.

    Args:
        masking: The settings in force.
        tables: Built from the dataset's vocabulary.
        seq_len: S.
        device: Where to.
        most: C; by default the most that these settings select.
    """
    vocabulary = tables.vocabulary
    counts = [count_selected(num_maskable, masking.rate_ppm) for num_maskable in range(seq_len, -1, -1)]
    never_selected = [vocabulary.pad_id, vocabulary.cls_id, vocabulary.sep_id, vocabulary.mask_id]
    most = masking.most_predicted(seq_len) if most is None else most

    def place(values: object) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.int64)).to(device)

    return TorchMaskPlan(
        masking=masking,
        mask_id=vocabulary.mask_id,
        most=most,
        never_selected=place(never_selected)[:, None, None],
        counts=place(counts),
        positions=place(np.arange(seq_len)),
        steps=place(np.arange(seq_len) * G),
        ranks=place(np.arange(most)),
        replacements=place(tables.replacements),
    )


def draw_masks(rows: Tensor, row_words: Tensor, plan: TorchMaskPlan) -> SparseMasks:
    """Draw the masks of rows; equal to `mask_rows` to the bit.

    Args:
        rows: int64 `(B, S)`, ids as packed.
        row_words: int64 `(2, 3, B)`, from `derive_row_words`.
        plan: For rows of this length, on the same device.
    """
    starts = _row_starts(rows)
    is_special = (rows == plan.never_selected).any(dim=0)
    counts = plan.counts[is_special.sum(dim=1)]
    keys = (hash_positions_torch(plan.steps, row_words[:, 0]) << 16) + plan.positions
    selected = keys.masked_fill(is_special, _NEVER).topk(plan.most, dim=1, largest=False, sorted=True).indices
    is_spare = plan.ranks >= counts[:, None]  # the smallest keys come first, whatever is beyond the count last
    places = (selected + starts).masked_fill(is_spare, rows.numel()).sort(dim=1, stable=True).values

    tokens = rows.reshape(-1)[places.masked_fill(is_spare, 0)]
    action, word = hash_positions_torch((places - starts) * G, row_words[:, 1:]).unbind()
    randoms = plan.replacements[word % len(plan.replacements)]
    shown = torch.where(action < plan.masking.random_threshold, randoms, tokens)
    shown = shown.masked_fill(action < plan.masking.mask_threshold, plan.mask_id)
    return SparseMasks(places, is_spare, shown, tokens)


def place_stored_masks(
    rows: Tensor, positions: Tensor, num_masked: Tensor, shown: Tensor, wanted: Tensor
) -> SparseMasks:
    """Bring stored masks into the form of drawn ones.

    Args:
        rows: int64 `(B, S)`.
        positions: int64 `(B, C)`, ascending within a row.
        num_masked: int32 `(B,)`, how many entries of a row count; the others may hold anything.
        shown: int64 `(B, C)`, what the model reads there.
        wanted: int64 `(B, C)`, the true ids.
    """
    is_spare = torch.arange(positions.shape[1], device=rows.device) >= num_masked[:, None]
    return SparseMasks((positions + _row_starts(rows)).masked_fill(is_spare, rows.numel()), is_spare, shown, wanted)


def apply_masks(rows: Tensor, masks: SparseMasks) -> MaskedRows:
    """Write masks into copies of rows `(B, S)` int64.

    The flat copies have one position more, which takes what spare entries write, so that none needs to be left out:
    that would make shapes depend on values.
    """
    size = rows.numel()
    places = masks.places.reshape(-1)
    input_ids = torch.cat((rows.reshape(-1), rows.new_zeros(1)))
    input_ids.scatter_(0, places, masks.shown.reshape(-1))
    labels = rows.new_full((size + 1,), IGNORE_INDEX)
    labels.scatter_(0, places, masks.wanted.reshape(-1))
    return MaskedRows(
        input_ids=input_ids[:size].view(rows.shape),
        labels=labels[:size].view(rows.shape),
        masked_positions=masks.places.masked_fill(masks.is_spare, 0).view(-1),
        masked_labels=masks.wanted.masked_fill(masks.is_spare, IGNORE_INDEX).view(-1),
    )


def mask_rows_torch(
    rows: Tensor, row_ids: Tensor, epoch: int | Tensor, masking: Masking, tables: MaskTables
) -> tuple[Tensor, Tensor]:
    """Mask rows on whatever device they are; equal to `mask_rows` to the bit.

    Args:
        rows: int64 (B, S), ids as packed; S at most 65,536.
        row_ids: int64 (B,), on the same device.
        epoch: Counted from 0; or int64 (B,), an epoch for each row, on the same device. What a tensor holds is not
            checked, for the host would have to wait for it.
        masking: The settings in force.
        tables: Built from the dataset's vocabulary; copied to a device once.

    Returns:
        `input_ids` int64 (B, S), what the model reads, and `labels` int64 (B, S), the true ids of the
        selected positions and IGNORE_INDEX elsewhere.

    Raises:
        ValueError: A shape, dtype or epoch is not as described above.
    """
    if rows.ndim != 2 or rows.shape[1] > MAX_SEQ_LEN or rows.dtype != torch.int64:
        raise ValueError(
            f"rows must be int64 (B, S) with S at most {MAX_SEQ_LEN}, got {rows.dtype} {tuple(rows.shape)}"
        )
    if row_ids.shape != rows.shape[:1] or row_ids.dtype != torch.int64:
        raise ValueError(
            f"row_ids must be int64 ({rows.shape[0]},), one for each row, got {row_ids.dtype} {tuple(row_ids.shape)}"
        )
    if isinstance(epoch, Tensor):
        if epoch.shape != row_ids.shape or epoch.dtype != torch.int64:
            raise ValueError(f"epochs must be int64 ({rows.shape[0]},), got {epoch.dtype} {tuple(epoch.shape)}")
    elif not 0 <= epoch < 2**63:
        raise ValueError(f"epochs count from 0 and stay below 2**63, got {epoch}")
    plan = _plan_cached(masking, tables, rows.shape[1], rows.device)
    masked = apply_masks(rows, draw_masks(rows, derive_row_words_torch(STREAMS, masking.seed, epoch, row_ids), plan))
    return masked.input_ids, masked.labels


_plan_cached = lru_cache(maxsize=8)(plan_masks_torch)


def _row_starts(rows: Tensor) -> Tensor:
    """The start of each row in the flattened rows, int64 `(B, 1)`."""
    num_rows, seq_len = rows.shape
    return torch.arange(0, num_rows * max(1, seq_len), max(1, seq_len), device=rows.device)[:, None]
