"""A plain attention that honours cumulative lengths, as flash attention's varlen form does."""

from __future__ import annotations

from itertools import pairwise

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

VARLEN = "reference_varlen"


def attend_within(
    module, query, key, value, attention_mask, scaling=None, dropout=0.0, sliding_window=None, *,
    cu_seq_lens_q=None, **kwargs,
):  # fmt: skip
    """Attention over (1, heads, N, width), or over (B, heads, S, width) where no lengths are given.

    `sliding_window` counts as flash attention's callers do: a token sees those less than that far away.
    """
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    length = query.shape[2]
    ends = [0, length] if cu_seq_lens_q is None else cu_seq_lens_q.tolist()
    parts = []
    for start, stop in pairwise(ends):
        q, k, v = (each[:, :, start:stop] for each in (query, key, value))
        scores = q @ k.transpose(2, 3) * scaling
        if sliding_window is not None:
            places = torch.arange(stop - start)
            scores = scores.masked_fill((places[:, None] - places[None]).abs() >= sliding_window, -torch.inf)
        parts.append(torch.softmax(scores, -1) @ v)
    return torch.cat(parts, 2).transpose(1, 2).contiguous(), None


def register_varlen() -> None:
    ALL_ATTENTION_FUNCTIONS.register(VARLEN, attend_within)
