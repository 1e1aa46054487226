"""Thrift's compact protocol: what another writer writes is read, and nothing written in two ways or too large."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.wordpiece.counting.thrift import TruncatedError, parse_structure
from tests.hostile.parquet_files import BINARY, I32, I64, LIST, STRUCT, TRUE, Field, Fields, pack_fields

SIMPLE: st.SearchStrategy[Field] = st.one_of(
    st.tuples(st.just(TRUE), st.booleans()),
    st.tuples(st.just(I32), st.integers(-(2**31), 2**31 - 1)),
    st.tuples(st.just(I64), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just(BINARY), st.binary(max_size=20)),
    st.tuples(st.just(LIST), st.tuples(st.just(I64), st.lists(st.integers(-9, 9), max_size=20))),
)
NUMBERS = st.integers(1, 300)
INNER = st.dictionaries(NUMBERS, SIMPLE, max_size=5)
STRUCTURES: st.SearchStrategy[Fields] = st.dictionaries(
    NUMBERS,
    st.one_of(
        SIMPLE,
        st.tuples(st.just(STRUCT), INNER),
        st.tuples(st.just(LIST), st.tuples(st.just(STRUCT), st.lists(INNER, max_size=17))),
    ),
    max_size=6,
)


def strip(fields: Fields) -> dict[int, Any]:
    """The values without their kinds."""
    return {number: strip_value(kind, value) for number, (kind, value) in fields.items()}


def strip_value(kind: int, value: Any) -> Any:
    if kind == STRUCT:
        return strip(value)
    return [strip_value(value[0], item) for item in value[1]] if kind == LIST else value


@settings(max_examples=150, deadline=None)
@given(STRUCTURES, st.binary(max_size=3), st.data())
def test_what_is_written_is_read_and_what_is_cut_is_not(fields: Fields, behind: bytes, data: st.DataObject) -> None:
    packed = pack_fields(fields)
    assert parse_structure(packed + behind, 1000) == (strip(fields), len(packed))
    with pytest.raises(TruncatedError):
        parse_structure(packed[: data.draw(st.integers(0, len(packed) - 1))], 1000)


@pytest.mark.parametrize(
    ("packed", "found"),
    [
        (b"\x15\x80\x00\x00", "not written as one of 32 bits"),  # 0 in two bytes
        (b"\x15\xff\xff\xff\xff\x7f\x00", "not written as one of 32 bits"),
        (b"\x15\xff\xff\xff\xff\xff\x7f\x00", "more than 32 bits"),
        (b"\x05\x02\x02\x00", "written in another way"),  # field 1 with its number, where a step would do
        (b"\x25\x02\x05\x02\x02\x00", "written in another way"),  # field 1 behind field 2
        (b"\x1b\x00\x00", "a value of kind 11"),
        (b"\x19\x19\x19\x15\x02\x00", "a list of lists"),
        (b"\x1c" * 20 + b"\x00" * 21, "nested too deeply"),
        (b"\x19\xfc\xff\xff\xff\xff\x07" + b"\x00" * 20, "more parts"),
    ],
)
def test_what_is_written_in_another_way_or_too_large_is_refused(packed: bytes, found: str) -> None:
    with pytest.raises(ValueError, match=found):
        parse_structure(packed, 1000)
