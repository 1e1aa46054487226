from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.packing.cutting.cut_rules import CutRules
from maskmill.pipeline.packing.cutting.split_documents import Segments, split_documents
from maskmill.pipeline.packing.cutting.token_columns import TokenColumns
from maskmill.pipeline.packing.fitting.best_fit import pack_best_fit, sort_longest_first
from maskmill.pipeline.packing.rows.assemble_rows import SpecialIds, assemble_rows
from maskmill.pipeline.packing.rows.order_rows import row_order_key
from maskmill.pipeline.packing.rows.packed_rows import PackedRows, RowLists
from maskmill.pipeline.packing.sequences.row_plan import RowPlan
from maskmill.schemas.rows import list_columns
from tests.packing.documents import CLS, FIRST_ID, PAD, SEP, Documents, documents, row_settings

SHARD = 7


def plan(segments: Segments, rows: list[int] | np.ndarray, num_rows: int, seq_len: int, **changes: object) -> RowPlan:
    """A plan with one segment a sequence; what is only counted is left at 0."""
    counts = {field.name: 0 for field in fields(RowPlan)}
    placed = {
        "seq_len": seq_len,
        "segments": segments,
        "first_segment": np.arange(len(segments) + 1),
        "row_of_sequence": np.array(rows, np.int64),
        "num_rows": num_rows,
        "labels": None,
    }
    return RowPlan(**(counts | placed | changes))


def pack(docs: Documents, seq_len: int, min_segment: int = 1, seed: int = 0) -> PackedRows:
    segments = split_documents(docs.columns(), CutRules(seq_len, min_segment))
    row_of_segment, num_rows = pack_best_fit(segments.lengths, seq_len)
    return assemble(docs, plan(segments, row_of_segment, num_rows, seq_len), seed)


def assemble(docs: Documents, row_plan: RowPlan, seed: int = 0) -> PackedRows:
    special = SpecialIds(CLS, SEP, PAD, np.uint32)
    return assemble_rows(docs.columns(), row_plan, special, document_shard=SHARD, seed=seed)


def row_values(lists: RowLists[np.uint64], row: int) -> list[int]:
    return lists.values[lists.offsets[row] : lists.offsets[row + 1]].tolist()


def sequences(packed: PackedRows) -> list[list[tuple[int, int, list[int]]]]:
    """Every row's (document id, offset, ids with special tokens), read off the lengths in plain Python."""
    rows = []
    for row, ids in enumerate(packed.input_ids.tolist()):
        found, position = [], 0
        lengths = row_values(packed.sequence_lengths, row)
        assert row_values(packed.segment_lengths, row) == lengths
        document = row_values(packed.segment_document, row)
        offset = row_values(packed.segment_offset, row)
        for length, document_id, start in zip(lengths, document, offset, strict=True):
            found.append((document_id, start, ids[position : position + length]))
            position += length
        assert position <= len(ids)
        assert ids[position:] == [PAD] * (len(ids) - position)
        rows.append(found)
    return rows


@given(documents(), row_settings())
def test_every_token_stands_once_where_document_and_offset_say(docs: Documents, settings: tuple[int, int]) -> None:
    rebuilt: list[list[int | None]] = [[None] * length for length in docs.lengths]
    for row in sequences(pack(docs, *settings)):
        assert row
        for document_id, start, ids in row:
            assert (ids[0], ids[-1]) == (CLS, SEP)
            assert document_id >> 32 == SHARD
            for place, token in enumerate(ids[1:-1], start):
                assert rebuilt[document_id % 2**32][place] is None
                rebuilt[document_id % 2**32][place] = token
    assert rebuilt == [docs.tokens(document) for document in range(len(docs.words))]


@given(documents(), row_settings(), st.integers(0, 2**64 - 1))
def test_rows_rise_by_the_key_of_their_first_segment(docs: Documents, settings: tuple[int, int], seed: int) -> None:
    first = [row[0][:2] for row in sequences(pack(docs, *settings, seed=seed))]
    keys = row_order_key(
        np.array([document for document, _ in first], np.uint64),
        np.array([start for _, start in first], np.uint32),
        seed,
    ).tolist()
    total = [(key, *place) for key, place in zip(keys, first, strict=True)]
    assert total == sorted(set(total))


@given(documents(), row_settings())
def test_segments_of_a_row_stand_as_the_packer_placed_them(docs: Documents, settings: tuple[int, int]) -> None:
    segments = split_documents(docs.columns(), CutRules(*settings))
    rows, num_rows = pack_best_fit(segments.lengths, settings[0])
    placed: list[list[tuple[int, int]]] = [[] for _ in range(num_rows)]
    for segment in sort_longest_first(segments.lengths, settings[0]).tolist():
        place = (SHARD << 32 | int(segments.document[segment]), int(segments.start[segment]))
        placed[int(rows[segment])].append(place)
    found = [[place[:2] for place in row] for row in sequences(pack(docs, *settings))]
    assert sorted(found) == sorted(placed)


@given(documents(), row_settings(), st.integers(1, 5))
def test_blocks_of_rows_are_the_rows_and_arrow_takes_their_lists_as_they_are(
    docs: Documents, settings: tuple[int, int], block_rows: int
) -> None:
    packed = pack(docs, *settings)
    blocks = [packed.slice(start, start + block_rows) for start in range(0, len(packed), block_rows)]
    assert [row for block in blocks for row in sequences(block)] == sequences(packed)
    assert list(packed.lists) == [column.name for column in list_columns()]
    for name, whole in packed.lists.items():
        lists = []
        for block in blocks:
            column = block.lists[name]
            assert column.offsets.dtype == np.int32
            assert np.shares_memory(column.values, whole.values)
            lists += pa.ListArray.from_arrays(pa.array(column.offsets), pa.array(column.values)).to_pylist()
        assert lists == [row_values(whole, row) for row in range(len(packed))]


@pytest.mark.parametrize("lengths", [[], [0], [0, 0]])
def test_no_tokens_give_no_rows_but_columns_all_the_same(lengths: list[int]) -> None:
    packed = pack(Documents([[1] * length for length in lengths]), 32)
    assert packed.input_ids.shape == (0, 32)
    assert packed.sequence_lengths.offsets.tolist() == [0]
    columns = (packed.segment_lengths, packed.segment_document, packed.segment_offset)
    assert [column.values.dtype for column in columns] == [np.uint16, np.uint64, np.uint32]
    assert len(packed.slice(0, 5)) == 0


@pytest.mark.parametrize(("seq_len", "length"), [(32, 30), (512, 510), (65535, 65533), (65536, 65533)])
def test_a_full_sequence_keeps_its_length_in_16_bits(seq_len: int, length: int) -> None:
    packed = pack(Documents([[1] * length]), seq_len)
    assert packed.sequence_lengths.values.tolist() == [length + 2]
    expected = [CLS, *range(FIRST_ID, FIRST_ID + length), SEP, *[PAD] * (seq_len - length - 2)]
    assert packed.input_ids.tolist() == [expected]


def test_rows_have_the_type_asked_for_and_refuse_ids_beyond_it() -> None:
    docs = Documents([[1, 2, 3], [2]])
    segments = split_documents(docs.columns(), CutRules(16, 1))
    special = SpecialIds(65_535, SEP, PAD, np.uint16)
    rows = plan(segments, [0, 0], 1, 16)
    narrow = assemble_rows(docs.columns(), rows, special)
    assert narrow.input_ids.tolist() == [[65_535, 3, 4, 5, 6, 7, 8, SEP, 65_535, 9, 10, SEP, 0, 0, 0, 0]]
    assert narrow.input_ids.dtype == np.uint16
    beyond = TokenColumns(docs.ids + np.uint32(65_530), docs.offsets, np.zeros(1 << 17, np.bool_))
    with pytest.raises(ValueError, match="uint16"):
        assemble_rows(beyond, rows, special)
    with pytest.raises(ValueError, match="uint16"):
        assemble_rows(docs.columns(), rows, replace(special, sep_id=65_536))


def test_packing_again_gives_the_same_bytes() -> None:
    random = np.random.Generator(np.random.PCG64(3))
    docs = Documents([random.integers(1, 6, size).tolist() for size in random.integers(0, 90, 300)])
    first, second = pack(docs, 64, 16, seed=5), pack(docs, 64, 16, seed=5)
    assert first.input_ids.tobytes() == second.input_ids.tobytes()
    assert first.segment_document.values.tobytes() == second.segment_document.values.tobytes()
    assert first.input_ids.tobytes() != pack(docs, 64, 16, seed=6).input_ids.tobytes()


@pytest.mark.parametrize(
    ("match", "rows", "num_rows"),
    [
        ("at most 16", [0, 0], 1),
        ("no sequence", [0, 2], 3),
        ("expected 0..1", [0, 2], 2),
        ("expected 0..1", [-1, 1], 2),
        ("found 1", [0], 1),
    ],
)
def test_a_packing_that_cannot_be_is_refused(match: str, rows: list[int], num_rows: int) -> None:
    docs = Documents([[1] * 8, [1] * 5])
    segments = split_documents(docs.columns(), CutRules(16, 1))
    with pytest.raises(ValueError, match=match):
        assemble(docs, plan(segments, rows, num_rows, 16))


@pytest.mark.parametrize(
    ("match", "change"),
    [
        ("documents below", {"document": np.array([0, 2])}),
        ("within the document", {"start": np.array([1, 0], np.uint32)}),
        ("within the document", {"num_tokens": np.array([0, 7], np.int32)}),
    ],
)
def test_segments_past_their_document_are_refused(match: str, change: dict[str, np.ndarray]) -> None:
    docs = Documents([[1] * 8, [1] * 7])
    segments = split_documents(docs.columns(), CutRules(16, 1))
    with pytest.raises(ValueError, match=match):
        assemble(docs, plan(replace(segments, **change), [0, 1], 2, 16))


@pytest.mark.parametrize("document_shard", [-1, 2**32])
def test_a_document_shard_beyond_32_bits_is_refused(document_shard: int) -> None:
    docs = Documents([[1] * 8])
    segments = split_documents(docs.columns(), CutRules(16, 1))
    special = SpecialIds(CLS, SEP, PAD, np.uint16)
    rows = plan(segments, [0], 1, 16)
    with pytest.raises(ValueError, match="document_shard"):
        assemble_rows(docs.columns(), rows, special, document_shard=document_shard)


def test_segments_of_one_sequence_share_its_cls_and_each_has_its_sep() -> None:
    docs = Documents([[1] * 3, [1] * 4, [1] * 2])  # ids 3 4 5, 6 7 8 9 and 10 11
    segments = Segments(
        document=np.array([0, 1, 1, 2]),
        start=np.array([0, 0, 2, 0], np.uint32),
        num_tokens=np.array([3, 2, 2, 2], np.int32),
    )
    packed = assemble(docs, plan(segments, [1, 0], 2, 12, first_segment=np.array([0, 2, 4])))
    rows = {
        (CLS, 3, 4, 5, SEP, 6, 7, SEP, PAD, PAD, PAD, PAD): ([8], [5, 3], [0, 1], [0, 0]),
        (CLS, 8, 9, SEP, 10, 11, SEP, PAD, PAD, PAD, PAD, PAD): ([7], [4, 3], [1, 2], [2, 0]),
    }
    assert {tuple(ids) for ids in packed.input_ids.tolist()} == set(rows)
    for row, ids in enumerate(packed.input_ids.tolist()):
        sequence_lengths, segment_lengths, document, start = rows[tuple(ids)]
        assert row_values(packed.sequence_lengths, row) == sequence_lengths
        assert row_values(packed.segment_lengths, row) == segment_lengths
        assert row_values(packed.segment_document, row) == [SHARD << 32 | index for index in document]
        assert row_values(packed.segment_offset, row) == start


def test_sequences_of_several_segments_stand_longest_first_in_a_shared_row() -> None:
    docs = Documents([[1] * 2, [1] * 1, [1] * 5])  # ids 3 4, 5 and 6 7 8 9 10
    segments = Segments(np.array([0, 1, 2]), np.zeros(3, np.uint32), np.array([2, 1, 5], np.int32))
    packed = assemble(docs, plan(segments, [0, 0], 1, 16, first_segment=np.array([0, 2, 3])))
    assert packed.input_ids.tolist() == [[CLS, 6, 7, 8, 9, 10, SEP, CLS, 3, 4, SEP, 5, SEP, PAD, PAD, PAD]]
    assert row_values(packed.sequence_lengths, 0) == [7, 6]
    assert row_values(packed.segment_lengths, 0) == [7, 4, 2]
    assert packed.sequence_lengths.offsets.tolist() == [0, 2]
    assert packed.segment_lengths.offsets.tolist() == [0, 3]


@pytest.mark.parametrize("first_segment", [[0, 1], [0, 0, 2], [1, 2], [0, 2, 1], []])
def test_sequences_that_do_not_share_out_the_segments_are_refused(first_segment: list[int]) -> None:
    docs = Documents([[1] * 4, [1] * 4])
    segments = split_documents(docs.columns(), CutRules(32, 1))
    rows = plan(segments, [0] * (len(first_segment) - 1), 1, 32, first_segment=np.array(first_segment, np.int64))
    with pytest.raises(ValueError, match="first_segment"):
        assemble(docs, rows)


def test_a_sequence_longer_than_16_bits_is_refused() -> None:
    docs = Documents([[1] * 40_000, [1] * 25_533])
    segments = Segments(np.array([0, 1]), np.zeros(2, np.uint32), np.array([40_000, 25_533], np.int32))
    with pytest.raises(ValueError, match="at most 65535"):
        assemble(docs, plan(segments, [0], 1, 65_536, first_segment=np.array([0, 2])))


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (1, 0), (2, 3)])
def test_a_block_outside_the_rows_is_refused(start: int, stop: int) -> None:
    packed = pack(Documents([[1] * 8]), 16)
    with pytest.raises(ValueError, match="rows"):
        packed.slice(start, stop)
