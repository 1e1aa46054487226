from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from maskmill.pipeline.masking.hashing import (
    ACTION_STREAM,
    REPLACEMENT_STREAM,
    SELECTION_STREAM,
    derive_stream_key,
    hash_position,
    split_row_key,
)
from maskmill.pipeline.masking.numba_masks import mask_rows
from maskmill.schemas.masking import Masking
from tests.masking.oracle import hash32


@njit
def hash_rows(stream_key, row_ids, num_positions):
    out = np.empty((len(row_ids), num_positions), dtype=np.uint32)
    for b in range(len(row_ids)):
        b0, b1 = split_row_key(stream_key, row_ids[b])
        for i in range(num_positions):
            out[b, i] = hash_position(b0, b1, np.uint32(i))
    return out


def hashes(stream=SELECTION_STREAM, seed=0, epoch=0, row_ids=None, num_positions=64):
    ids = np.arange(4096) if row_ids is None else row_ids
    return hash_rows(np.uint64(derive_stream_key(stream, seed, epoch)), np.asarray(ids, dtype=np.uint64), num_positions)


def test_hashes_equal_the_formula_in_plain_integers():
    for name, stream in [
        ("mask_sel", SELECTION_STREAM),
        ("mask_act", ACTION_STREAM),
        ("mask_rep", REPLACEMENT_STREAM),
    ]:
        got = hashes(stream, seed=2**64 - 3, epoch=7, row_ids=[0, 2**40 + 1, 2**64 - 1], num_positions=300)
        for row_id, row in zip([0, 2**40 + 1, 2**64 - 1], got.tolist(), strict=True):
            assert row == [hash32(name, 2**64 - 3, 7, row_id, p) for p in range(300)]


def test_the_hashes_of_a_row_are_all_different():
    """The fast paths leave the position out of the key because of this."""
    for row in hashes(row_ids=np.arange(50) << 32, num_positions=65_536):
        assert len(np.unique(row)) == 65_536


def test_hashes_are_uniform_in_their_top_and_low_bits():
    words = hashes().ravel()  # 262,144 words in 256 cells: chi-square of 255 degrees below 255 + 6 sqrt(510)
    for cell in (words >> 24, words & 255):
        counts = np.bincount(cell, minlength=256)
        assert ((counts - 1024) ** 2 / 1024).sum() < 391


@pytest.mark.parametrize("changed", ["row_id", "epoch", "seed", "stream"])
def test_changing_one_bit_of_a_counter_changes_half_of_the_hash(changed):
    """Each of the 32 output bits flips in half of 4,096 * 4 words, within 6 standard deviations of 1/256."""
    rows = np.arange(4096, dtype=np.uint64)
    before = hashes(row_ids=rows, num_positions=4)
    for bit in (0, 1, 31, 32, 62):
        if changed == "row_id":
            after = hashes(row_ids=rows ^ np.uint64(1 << bit), num_positions=4)
        elif changed == "stream":
            after = hashes(stream=(ACTION_STREAM, REPLACEMENT_STREAM)[bit % 2], row_ids=rows, num_positions=4)
        else:
            after = hashes(**{changed: 1 << bit}, row_ids=rows, num_positions=4)
        flips = np.unpackbits((before ^ after).view(np.uint8).reshape(-1, 4), axis=1).mean(axis=0)
        assert abs(flips - 0.5).max() < 6 / 256


def test_changing_one_bit_of_a_position_changes_half_of_the_hash():
    words = hashes(row_ids=np.arange(64), num_positions=4096)
    for bit in range(12):
        flipped = words[:, np.arange(4096) ^ (1 << bit)]
        flips = np.unpackbits((words ^ flipped).view(np.uint8).reshape(-1, 4), axis=1).mean(axis=0)
        # 131,072 pairs: 6 standard deviations are 0.0083; the hash itself is allowed one percent.
        assert abs(flips - 0.5).max() < 0.0183


def test_positions_are_selected_equally_often_and_independently_of_each_other(tables):
    num_rows, width, count = 40_000, 128, 19
    rows = np.full((num_rows, width), 50, dtype=np.uint16)
    selected = mask_rows(rows, np.arange(num_rows, dtype=np.uint64), 0, Masking(seed=1), tables)[1] != -100
    share = count / width
    deviation = (num_rows * share * (1 - share)) ** 0.5
    assert abs(selected.sum(axis=0) - num_rows * share).max() < 5 * deviation
    together = count * (count - 1) / (width * (width - 1))  # of two different positions of a row
    for lag in (1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64):
        num_pairs = num_rows * (width - lag)
        pairs = (selected[:, lag:] & selected[:, :-lag]).sum()
        assert abs(pairs - num_pairs * together) < 5 * (num_pairs * together) ** 0.5
