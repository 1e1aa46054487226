from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.masking.row_keys import derive_row_words
from tests.masking.cases import epochs, uint64s
from tests.masking.oracle import mix64


@settings(deadline=None)  # the first example compiles
@given(seed=uint64s, rows=st.lists(st.tuples(epochs, uint64s), max_size=5))
def test_row_words_are_those_of_the_law_in_plain_integers(seed, rows):
    got = derive_row_words(
        seed, np.array([epoch for epoch, _ in rows], np.int64), np.array([row_id for _, row_id in rows], np.uint64)
    )
    assert (got.dtype, got.shape) == (np.int64, (2, 3, len(rows)))
    for stream, name in enumerate(("mask_sel", "mask_act", "mask_rep")):
        for b, (epoch, row_id) in enumerate(rows):
            key = int.from_bytes(name.encode(), "big")
            for word in (seed, epoch, row_id):
                key = mix64(((key ^ word) + 0x9E3779B97F4A7C15) % 2**64)
            assert divmod(key, 2**32) == (got[1, stream, b], got[0, stream, b])


def test_an_epoch_below_zero_is_refused():
    with pytest.raises(ValueError, match="epochs count from 0, got -1"):
        derive_row_words(0, np.array([3, -1]), np.zeros(2, np.uint64))
