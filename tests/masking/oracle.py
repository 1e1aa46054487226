"""The masking law once more, in plain Python integers and full sorts; shares nothing with the code under test."""

from __future__ import annotations

from fractions import Fraction

PAD, UNK, CLS, SEP, MASK = 0, 6, 7, 8, 9
VOCAB_SIZE = 208
UNUSED = range(1, 6)
SIZE_PADDING = range(200, 208)
ORDINARY = list(range(10, 200))
NEVER_SELECTED = {PAD, CLS, SEP, MASK}


def mix64(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


def hash32(stream, seed, epoch, row_id, position):
    key = int.from_bytes(stream.encode(), "big")
    for word in (seed, epoch, row_id):
        key = mix64(((key ^ word) + 0x9E3779B97F4A7C15) % 2**64)
    b1, b0 = divmod(key, 2**32)
    x = (b0 + 0x9E3779B1 * position) % 2**32
    x = ((x ^ (x >> 16)) * 0x7FEB352D) % 2**32
    x = ((x ^ (x >> 15) ^ b1) * 0x846CA68B) % 2**32
    return x ^ (x >> 16)


def mask_by_the_law(ids, row_id, epoch, seed, rate, mask_share, random_share, table=ORDINARY):
    """Mask one row, given as ints; returns (input_ids, labels) as lists."""
    maskable = [p for p, token in enumerate(ids) if token not in NEVER_SELECTED]
    ppm = int(Fraction(rate).limit_denominator(10**6) * 10**6)
    m = len(maskable)
    count = 0 if m == 0 or ppm == 0 else max(1, (2 * m * ppm + 10**6) // (2 * 10**6))
    keys = sorted(hash32("mask_sel", seed, epoch, row_id, p) * 2**16 + p for p in maskable)
    input_ids, labels = list(ids), [-100] * len(ids)
    for position in (key % 2**16 for key in keys[:count]):
        labels[position] = ids[position]
        share = Fraction(hash32("mask_act", seed, epoch, row_id, position), 2**32)
        if share < Fraction(str(mask_share)):
            input_ids[position] = MASK
        elif share < Fraction(str(mask_share)) + Fraction(str(random_share)):
            input_ids[position] = table[hash32("mask_rep", seed, epoch, row_id, position) % len(table)]
    return input_ids, labels
