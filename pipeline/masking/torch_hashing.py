"""The counter hash of `hashing` in tensor operations, on any device.

torch has no unsigned 32-bit arithmetic on the CPU, so 32-bit words live in int64 and are cut back after every
step; 64-bit words are int64 with the same bits, whose sums and products wrap alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from maskmill.pipeline.keyed_order import GAMMA, MIX_1, MIX_2, absorb
from maskmill.pipeline.masking.hashing import M1, M2, G

_LOW_32 = 0xFFFFFFFF


def multiples_of_g(positions: Tensor) -> Tensor:
    """What positions, int64, add to a hash; see `hash_positions_torch`."""
    return positions * G


def hash_positions_torch(steps: Tensor, row_words: Tensor) -> Tensor:
    """Hash positions of rows to words in [0, 2**32).

    Args:
        steps: int64 (..., n), position * G.
        row_words: int64 (2, ..., B).

    Returns:
        int64 (..., B, n).
    """
    b0, b1 = row_words[..., None].unbind()
    x = (b0 + steps) & _LOW_32
    x = ((x ^ (x >> 16)) * M1) & _LOW_32
    x = ((x ^ (x >> 15) ^ b1) * M2) & _LOW_32
    return x ^ (x >> 16)


def derive_row_words_torch(streams: Sequence[int], seed: int, epoch: int | Tensor, row_ids: Tensor) -> Tensor:
    """`derive_row_words` on the device of the row ids (B,), for any streams: int64 (2, number of streams, B)."""
    keys = []
    for seed_key in (absorb(stream, seed) for stream in streams):
        epoch_key = _absorb(epoch, seed_key) if isinstance(epoch, Tensor) else absorb(seed_key, epoch)
        keys.append(_absorb(row_ids, epoch_key))
    row_keys = torch.stack(keys)
    return torch.stack((row_keys & _LOW_32, _shift_right(row_keys, 32)))


def _absorb(words: Tensor, key: int | Tensor) -> Tensor:
    """Work words into 64-bit keys, or one key; see `keyed_order.absorb`."""
    z = (words ^ (key if isinstance(key, Tensor) else _as_int64(key))) + _as_int64(GAMMA)
    z = (z ^ _shift_right(z, 30)) * _as_int64(MIX_1)
    z = (z ^ _shift_right(z, 27)) * _as_int64(MIX_2)
    return z ^ _shift_right(z, 31)


def _as_int64(word: int) -> int:
    """Give the int64 with the bits of an unsigned 64-bit word."""
    return word - 2**64 if word >= 2**63 else word


def _shift_right(words: Tensor, bits: int) -> Tensor:
    """Shift int64 words right as if unsigned."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)
