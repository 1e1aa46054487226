from __future__ import annotations

import numpy as np
import pytest

from maskmill.pipeline.packing.cutting.token_columns import TokenColumns
from maskmill.schemas.errors import InputDataError
from maskmill.schemas.run_file import Cut

FLAGS = np.zeros(10, np.bool_)


def test_a_document_too_long_for_its_offsets_is_refused_before_any_token_is_read() -> None:
    endless = np.broadcast_to(np.uint16(3), 2**32 + 1)
    with pytest.raises(InputDataError, match="document 1"):
        TokenColumns(endless, np.array([0, 1, 2**32 + 1]), FLAGS)


@pytest.mark.parametrize("offsets", [[0, 5], [-1, 3], [0, 3, 2], []])
def test_offsets_outside_the_ids_are_refused(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="offsets"):
        TokenColumns(np.zeros(4, np.uint16), np.array(offsets, np.int64), FLAGS)


@pytest.mark.parametrize("bad", [10, 99, -1, 2**32 + 5])
def test_ids_outside_the_vocabulary_are_refused(bad: int) -> None:
    with pytest.raises(ValueError, match="ids"):
        TokenColumns(np.full(64, bad, np.int64), np.array([0, 64]), FLAGS)


@pytest.mark.parametrize("flags", [np.ones(39, np.bool_), np.ones(40, np.uint8)])
def test_sentence_starts_are_one_flag_a_token(flags: np.ndarray) -> None:
    with pytest.raises(ValueError, match="sentence_starts"):
        TokenColumns(np.zeros(40, np.uint16), np.array([0, 40]), FLAGS, flags)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.int64])
def test_columns_of_any_integer_type_and_layout_become_what_compiled_loops_are_built_for(
    dtype: type[np.integer],
) -> None:
    ids = np.repeat(np.arange(6).astype(dtype), 2)[::2]
    starts = np.repeat(np.array([True, False, True, False, False, False]), 2)[::2]
    columns = TokenColumns(ids, np.array([0, 2, 6], np.int32), FLAGS, starts)
    assert columns.ids.dtype == (np.uint16 if dtype is np.uint16 else np.uint32)
    assert columns.offsets.dtype == np.int64
    assert columns.sentence_starts is not None
    assert all(array.flags.c_contiguous for array in (columns.ids, columns.offsets, columns.sentence_starts))
    assert columns.ids.tolist() == list(range(6))
    assert columns.document_tokens.tolist() == [2, 4]


def test_arrays_that_fit_already_are_not_copied() -> None:
    ids, starts = np.arange(6, dtype=np.uint16), np.ones(6, np.bool_)
    columns = TokenColumns(ids, np.array([0, 6]), FLAGS, starts)
    assert columns.ids is ids
    assert columns.sentence_starts is starts
    assert columns.without_sentences().sentence_starts is None


def test_any_token_may_be_cut_at_where_the_rule_says_so() -> None:
    is_continuation = np.array([False, True])
    columns = TokenColumns(np.zeros(3, np.uint16), np.array([0, 3]), is_continuation)
    assert columns.find_places(Cut.WORD).forbidden.tolist() == [False, True]
    assert columns.find_places(Cut.TOKEN).forbidden.tolist() == [False, False]
    assert columns.find_places(Cut.WORD).sentences.size == 0
