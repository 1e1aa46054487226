"""Token masks on a trainer's device: the same bits as the CPU's, in tensor operations that never synchronise.

torch has no unsigned 32-bit arithmetic on the CPU, so 32-bit words live in int64 and are cut back after every
step; 64-bit words are int64 with the same bits, whose sums and products wrap alike. The `count` smallest keys
come from one `topk` whose size depends on S and the rate alone, hence no value has to travel to the host.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from pipeline.keyed_order import GAMMA, MIX_1, MIX_2
from pipeline.masking.hashing import (
    ACTION_STREAM,
    M1,
    M2,
    REPLACEMENT_STREAM,
    SELECTION_STREAM,
    G,
    derive_stream_key,
)
from pipeline.masking.numba_masks import count_selected
from pipeline.masking.tables import MaskTables
from schemas.masking import IGNORE_INDEX, PPM, Masking
from schemas.rows import MAX_SEQ_LEN

_LOW_32 = 0xFFFFFFFF
_NEVER = 1 << 48
"""Above every key of a maskable position."""


def _as_int64(word: int) -> int:
    """Give the int64 with the bits of an unsigned 64-bit word."""
    return word - 2**64 if word >= 2**63 else word


def _shift_right(words: Tensor, bits: int) -> Tensor:
    """Shift int64 words right as if unsigned."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def _split_row_keys(stream_key: int, row_ids: Tensor) -> tuple[Tensor, Tensor]:
    z = (row_ids ^ _as_int64(stream_key)) + _as_int64(GAMMA)
    z = (z ^ _shift_right(z, 30)) * _as_int64(MIX_1)
    z = (z ^ _shift_right(z, 27)) * _as_int64(MIX_2)
    z = z ^ _shift_right(z, 31)
    return (z & _LOW_32)[:, None], _shift_right(z, 32)[:, None]


def _hash_positions(stream: int, positions: Tensor, row_ids: Tensor, epoch: int, masking: Masking) -> Tensor:
    """Hash positions (1 or B, n) of rows (B,) to words in [0, 2**32), int64 (B, n)."""
    b0, b1 = _split_row_keys(derive_stream_key(stream, masking.seed, epoch), row_ids)
    x = (b0 + positions * G) & _LOW_32
    x = ((x ^ (x >> 16)) * M1) & _LOW_32
    x = ((x ^ (x >> 15) ^ b1) * M2) & _LOW_32
    return x ^ (x >> 16)


@lru_cache(maxsize=8)
def _place_replacements(tables: MaskTables, device: torch.device) -> Tensor:
    return torch.from_numpy(tables.replacements.astype("int64")).to(device)


def mask_rows_torch(
    rows: Tensor, row_ids: Tensor, epoch: int, masking: Masking, tables: MaskTables
) -> tuple[Tensor, Tensor]:
    """Mask rows for one epoch on whatever device they are; equal to `mask_rows` to the bit.

    Args:
        rows: int64 (B, S), ids as packed; S at most 65,536.
        row_ids: int64 (B,), on the same device.
        epoch: Counted from 0.
        masking: The settings in force.
        tables: Built from the dataset's vocabulary; its replacements are copied to a device once.

    Returns:
        `input_ids` int64 (B, S), what the model reads, and `labels` int64 (B, S), the true ids of the
        selected positions and IGNORE_INDEX elsewhere.

    Raises:
        ValueError: A shape, dtype or epoch is none of the above.
    """
    if rows.ndim != 2 or rows.shape[1] > MAX_SEQ_LEN or rows.dtype != torch.int64:
        raise ValueError(
            f"rows must be int64 (B, S) with S at most {MAX_SEQ_LEN}, got {rows.dtype} {tuple(rows.shape)}"
        )
    if row_ids.shape != rows.shape[:1] or row_ids.dtype != torch.int64:
        raise ValueError(
            f"row_ids must be int64 ({rows.shape[0]},), one for each row, got {row_ids.dtype} {tuple(row_ids.shape)}"
        )
    seq_len = rows.shape[1]
    vocabulary = tables.vocabulary
    maskable = (
        (rows != vocabulary.pad_id)
        & (rows != vocabulary.cls_id)
        & (rows != vocabulary.sep_id)
        & (rows != vocabulary.mask_id)
    )
    num_maskable = maskable.sum(dim=1, keepdim=True)
    counts = (2 * num_maskable * masking.rate_ppm + PPM) // (2 * PPM)
    counts = torch.minimum(counts.clamp(min=1), num_maskable)

    positions = torch.arange(seq_len, device=rows.device)[None, :]
    keys = (_hash_positions(SELECTION_STREAM, positions, row_ids, epoch, masking) << 16) + positions
    keys = torch.where(maskable, keys, _NEVER)
    most = count_selected(seq_len, masking.rate_ppm)
    selected = keys.topk(most, dim=1, largest=False, sorted=True).indices
    is_selected = torch.arange(most, device=rows.device)[None, :] < counts

    tokens = rows.gather(1, selected)
    action = _hash_positions(ACTION_STREAM, selected, row_ids, epoch, masking)
    word = _hash_positions(REPLACEMENT_STREAM, selected, row_ids, epoch, masking)
    replacements = _place_replacements(tables, rows.device)
    shown = torch.where(action < masking.random_threshold, replacements[word % len(replacements)], tokens)
    shown = torch.where(action < masking.mask_threshold, vocabulary.mask_id, shown)

    input_ids = rows.scatter(1, selected, torch.where(is_selected, shown, tokens))
    labels = torch.full_like(rows, IGNORE_INDEX)
    labels.scatter_(1, selected, torch.where(is_selected, tokens, IGNORE_INDEX))
    return input_ids, labels
