"""The counter hash: a 32-bit word for every (seed, epoch, row, stream, position), and nothing else.

Masks use no random generator: every random word is a hash of where it is used, so the order in which rows are
visited, the batch they are in and the process that masks them cannot matter. In full, so that anyone can
reimplement it (all values unsigned, arithmetic modulo the word):

    absorb(h, w)  = mix64((h XOR w) + GAMMA)                                   64 bits
    stream_key    = absorb(absorb(STREAM, seed), epoch)                        once an epoch
    row_key       = absorb(stream_key, row_id)                                 once a row
    b0, b1        = row_key mod 2**32, row_key div 2**32
    x             = b0 + G * position                                          32 bits, once a position
    x             = (x XOR x >> 16) * M1
    x             = (x XOR x >> 15 XOR b1) * M2
    hash32        = x XOR x >> 16

`mix64` and GAMMA are SplitMix64's (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators",
OOPSLA 2014; the mixer is variant 13 of David Stafford's). The shifts, M1 and M2 are those of `lowbias32` by
Chris Wellons (hash-prospector, public domain), found by a search for the least avalanche bias. G is the odd
number next to 2**32 divided by the golden ratio, Knuth's multiplicative step (TAOCP vol. 3, section 6.4). The
second row word enters between the rounds, so rows differ by 64 bits, not by a shift along one sequence.

Every step is a bijection of x, hence **the hashes of a row's positions are all different** in a stream: ties
cannot occur, and ordering by `hash32 * 2**16 + position` is ordering by `hash32`. The fast paths rely on it.

Rates and shares are not hashed: a lower rate selects a subset of a higher one, unless words are skipped that do not
fit (see `strategies.ngram`).
"""

from __future__ import annotations

import numpy as np

from maskmill.pipeline.keyed_order import GAMMA, MIX_1, MIX_2, absorb
from maskmill.pipeline.masking.row_kernel import row_kernel

SELECTION_STREAM = 0x6D61736B5F73656C  # "mask_sel" in ASCII, and so on
LENGTH_STREAM = 0x6D61736B5F6C656E
RATE_STREAM = 0x6D61736B5F726174
SAMPLE_STREAM = 0x6D61736B5F73616D
ACTION_STREAM = 0x6D61736B5F616374
REPLACEMENT_STREAM = 0x6D61736B5F726570

G = 0x9E3779B1
M1 = 0x7FEB352D
M2 = 0x846CA68B

# Typed copies: in numba an unsigned word meeting a Python int becomes a float64 or a wider integer.
_GAMMA, _MIX_1, _MIX_2 = np.uint64(GAMMA), np.uint64(MIX_1), np.uint64(MIX_2)
_SHIFT_27, _SHIFT_30, _SHIFT_31, _SHIFT_32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
_G, _M1, _M2 = np.uint32(G), np.uint32(M1), np.uint32(M2)
_SHIFT_15, _SHIFT_16 = np.uint32(15), np.uint32(16)


def derive_stream_key(stream: int, seed: int, epoch: int) -> int:
    """Derive the 64-bit key of a stream for one epoch, in plain integers.

    Args:
        stream: One of the stream constants above.
        seed: 0 <= seed < 2**64.
        epoch: 0 <= epoch < 2**63, counted from 0.
    """
    if not 0 <= epoch < 2**63:
        raise ValueError(f"epochs count from 0 and stay below 2**63, got {epoch}")
    return absorb(absorb(stream, seed), epoch)


@row_kernel
def split_row_key(stream_key: np.uint64, row_id: np.uint64) -> tuple[np.uint32, np.uint32]:
    """Derive a row's two 32-bit words `(b0, b1)` of a stream; for use inside numba kernels."""
    z = (stream_key ^ row_id) + _GAMMA
    z = (z ^ (z >> _SHIFT_30)) * _MIX_1
    z = (z ^ (z >> _SHIFT_27)) * _MIX_2
    z = z ^ (z >> _SHIFT_31)
    return np.uint32(z), np.uint32(z >> _SHIFT_32)


@row_kernel
def hash_position(b0: np.uint32, b1: np.uint32, position: np.uint32) -> np.uint32:
    """Hash a position of a row to 32 bits; for use inside numba kernels.

    The casts after every step keep the arithmetic at 32 bits, where LLVM fits twice the lanes in a vector.
    """
    x = np.uint32(b0 + np.uint32(_G * position))
    x = np.uint32(x ^ np.uint32(x >> _SHIFT_16))
    x = np.uint32(x * _M1)
    x = np.uint32(x ^ np.uint32(b1 ^ np.uint32(x >> _SHIFT_15)))
    x = np.uint32(x * _M2)
    return np.uint32(x ^ np.uint32(x >> _SHIFT_16))
