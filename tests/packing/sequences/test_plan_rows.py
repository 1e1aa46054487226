from __future__ import annotations

import itertools
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.packing.rows.assemble_rows import SpecialIds, assemble_rows
from maskmill.pipeline.packing.rows.packed_rows import PackedRows
from maskmill.pipeline.packing.sequences.plan_rows import plan_rows
from maskmill.pipeline.packing.sequences.row_plan import RowPlan
from maskmill.schemas.layout import DataSplit, packed_folders
from maskmill.schemas.rows import MIN_SEQ_LEN
from maskmill.schemas.run_file import Cut, PackSection, Sequences, Split
from tests.packing.documents import CLS, FIRST_ID, PAD, SEP, Documents
from tests.packing.exact_packing import fewest_rows

SHARD = 5
SENTENCES = (Sequences.DOC_SENTENCES, Sequences.FULL_SENTENCES)


@dataclass(frozen=True)
class Segment:
    """A segment as a reader of the packed shard finds it."""

    row: int
    sequence: int
    document: int
    start: int
    tokens: list[int]

    @property
    def stop(self) -> int:
        return self.start + len(self.tokens)


def plan(docs: Documents, pack: PackSection) -> dict[int, RowPlan]:
    return plan_rows(docs.columns(with_sentences=pack.needs_sentences), pack)


def assemble(docs: Documents, row_plan: RowPlan) -> PackedRows:
    special = SpecialIds(CLS, SEP, PAD, np.uint32)
    return assemble_rows(docs.columns(), row_plan, special, document_shard=SHARD, seed=1)


def read_segments(packed: PackedRows) -> list[Segment]:
    """Takes rows apart by their stored lengths, checking every special token and all padding."""
    found, sequence = [], 0
    columns = [
        [lists.values[a:b].tolist() for a, b in itertools.pairwise(lists.offsets.tolist())]
        for lists in (packed.sequence_lengths, packed.segment_lengths, packed.segment_document, packed.segment_offset)
    ]
    for row, (ids, sequences, *segments) in enumerate(zip(packed.input_ids.tolist(), *columns, strict=True)):
        left = list(zip(*segments, strict=True))
        position = 0
        for sequence_length in sequences:
            end = position + sequence_length
            assert ids[position] == CLS
            position += 1
            is_first = True
            while position < end:
                length, document, start = left.pop(0)
                count = length - 1 - is_first  # [SEP] counts with its segment, [CLS] with the first
                assert document >> 32 == SHARD
                found.append(Segment(row, sequence, document % 2**32, start, ids[position : position + count]))
                position += count
                assert ids[position] == SEP
                position += 1
                is_first = False
            assert position == end
            sequence += 1
        assert not left
        assert ids[position:] == [PAD] * (len(ids) - position)
    return found


@st.composite
def long_documents(draw: st.DrawFn) -> Documents:
    """Documents of up to some rows of `MIN_SEQ_LEN`, many of them just over half of one."""
    word = st.one_of(st.just(1), st.integers(1, 4), st.integers(1, 45))
    half = st.lists(st.integers(1, 2), min_size=11, max_size=14)
    words = draw(st.lists(st.one_of(st.lists(word, max_size=60), half), max_size=12))
    return Documents(words, draw(st.integers(1, 12)))


@st.composite
def pack_sections(draw: st.DrawFn, **fixed: Any) -> PackSection:
    sequences = fixed.get("sequences") or draw(st.sampled_from(list(Sequences)))
    splits = list(Split)
    if sequences in (Sequences.FULL_SENTENCES, Sequences.DOCUMENT):
        splits.remove(Split.FILL)
    if sequences in SENTENCES:
        splits.remove(Split.NEVER)
    lengths: dict[str, Any] = {"seq_len": draw(st.sampled_from([32, 40, 64, [64, 32], [32, 48, 100]]))}
    if sequences is Sequences.DOCUMENT and draw(st.booleans()):
        lengths = draw(
            st.sampled_from([{"seq_len": 64, "length_bins": [32, 48, 64]}, {"seq_len": 40, "length_bins": [40]}])
        )
    settings = {
        "sequences": sequences,
        "split": draw(st.sampled_from(splits)),
        "cut": draw(st.sampled_from(list(Cut))),
        "max_waste": draw(st.sampled_from([0.0, 0.05, 0.1, 0.3])),
        "min_segment": draw(st.integers(1, 16)),
    }
    return PackSection(**(settings | lengths | fixed))


@given(long_documents(), pack_sections())
def test_every_token_of_every_document_stands_once_in_each_dataset(docs: Documents, pack: PackSection) -> None:
    plans = plan(docs, pack)
    assert list(plans) == list(packed_folders(pack, DataSplit.TRAIN))
    datasets = [[(row_plan, read_segments(assemble(docs, row_plan))) for row_plan in plans.values()]]
    if not pack.length_bins:
        datasets = [[pair] for pair in datasets[0]]
    for parts in datasets:  # the bins of one dataset hold its documents together
        rebuilt: list[list[int | None]] = [[None] * length for length in docs.lengths]
        too_long = {int(document) for row_plan, _ in parts for document in row_plan.too_long}
        for segment in (segment for _, segments in parts for segment in segments):
            assert segment.tokens
            for place, token in enumerate(segment.tokens, segment.start):
                assert rebuilt[segment.document][place] is None
                rebuilt[segment.document][place] = token
        longest = max(row_plan.seq_len for row_plan, _ in parts)
        is_never = pack.split is Split.NEVER
        assert too_long == {d for d, length in enumerate(docs.lengths) if is_never and length > longest - 2}
        for document, tokens in enumerate(rebuilt):
            assert tokens == ([None] * len(tokens) if document in too_long else docs.tokens(document))


def count_plainly(
    docs: Documents, pack: PackSection, seq_len: int, segments: list[Segment], rows: int
) -> dict[str, int]:
    """The counts of one dataset, from the content of its rows."""
    cuts = [segment for segment in segments if segment.start > 0]
    tokens = sum(len(segment.tokens) for segment in segments)
    special = len(segments) + len({segment.sequence for segment in segments})
    lengths = list(docs.lengths)
    empty = lengths.count(0) if not pack.length_bins or seq_len == pack.length_bins[0] else 0
    longest = not pack.length_bins or seq_len == pack.length_bins[-1]
    too_long = sum(length > seq_len - 2 for length in lengths) if pack.split is Split.NEVER and longest else 0
    packed = len({segment.document for segment in segments if segment.start == 0})
    return {
        "seq_len": seq_len,
        "num_rows": rows,
        "documents": packed + empty + too_long,
        "packed": packed,
        "without_tokens": empty,
        "tokens_encoded": tokens,
        "tokens_in_rows": tokens,
        "cuts": len(cuts),
        "cuts_inside_sentences": sum(cut.start not in docs.sentences(cut.document) for cut in cuts)
        if pack.needs_sentences
        else 0,
        "cuts_inside_words": sum(cut.start not in docs.word_starts(cut.document) for cut in cuts),
        "special_tokens": special,
        "padding": rows * seq_len - tokens - special,
        "rows_lower_bound_l1": -(-(tokens + special) // seq_len),
    }


@given(long_documents(), pack_sections())
def test_counts_are_those_of_what_stands_in_the_rows(docs: Documents, pack: PackSection) -> None:
    for seq_len, row_plan in plan(docs, pack).items():
        packed = assemble(docs, row_plan)
        expected = count_plainly(docs, pack, seq_len, read_segments(packed), len(packed))
        assert {name: getattr(row_plan, name) for name in expected} == expected
        assert len(row_plan.segments) == row_plan.packed + row_plan.cuts
        assert row_plan.rows_lower_bound_l1 <= row_plan.rows_lower_bound_l2 <= row_plan.num_rows


@given(long_documents(), pack_sections())
def test_planning_again_gives_the_same_plan(docs: Documents, pack: PackSection) -> None:
    first, second = plan(docs, pack), plan(docs, pack)
    for seq_len, row_plan in first.items():
        for field in fields(RowPlan):
            value = getattr(row_plan, field.name)
            again = getattr(second[seq_len], field.name)
            if field.name == "segments":
                assert all(np.array_equal(getattr(value, f.name), getattr(again, f.name)) for f in fields(value))
            else:
                assert np.array_equal(value, again)


@given(long_documents(), pack_sections(seq_len=[48, 32], length_bins=()))
def test_several_lengths_at_once_are_what_each_is_alone(docs: Documents, pack: PackSection) -> None:
    plans = plan(docs, pack)
    assert list(plans) == [48, 32]
    for seq_len, row_plan in plans.items():
        alone = plan(docs, pack.model_copy(update={"seq_len": seq_len}))[seq_len]
        assert assemble(docs, alone).input_ids.tobytes() == assemble(docs, row_plan).input_ids.tobytes()


@given(long_documents(), pack_sections(sequences=Sequences.SEGMENT), st.sampled_from([Split.LONG, Split.NEVER]))
def test_without_fill_only_documents_longer_than_a_row_are_cut(
    docs: Documents, pack: PackSection, split: Split
) -> None:
    pack = pack.model_copy(update={"split": split})
    for seq_len, row_plan in plan(docs, pack).items():
        cut = {segment.document for segment in read_segments(assemble(docs, row_plan)) if segment.start > 0}
        assert cut == {d for d, n in enumerate(docs.lengths) if n > seq_len - 2 and split is Split.LONG}
        assert row_plan.cuts_to_fill == 0


@given(long_documents(), pack_sections(sequences=Sequences.SEGMENT, split=Split.FILL))
def test_fill_adds_cuts_to_those_of_long_and_saves_rows(docs: Documents, pack: PackSection) -> None:
    without = plan(docs, pack.model_copy(update={"split": Split.LONG}))
    for seq_len, row_plan in plan(docs, pack).items():
        assert row_plan.cuts == without[seq_len].cuts + row_plan.cuts_to_fill
        assert row_plan.num_rows <= without[seq_len].num_rows


@given(long_documents(), pack_sections(sequences=Sequences.SEGMENT, split=Split.FILL, cut=Cut.TOKEN))
def test_no_piece_is_shorter_than_it_may_be_where_cuts_stand_anywhere(docs: Documents, pack: PackSection) -> None:
    for seq_len, row_plan in plan(docs, pack).items():
        for segment in read_segments(assemble(docs, row_plan)):
            if len(segment.tokens) < docs.lengths[segment.document]:
                assert len(segment.tokens) >= min(pack.min_segment, (seq_len - 1) // 2)


def test_pieces_that_fill_have_min_segment_tokens() -> None:
    docs = Documents([[1] * 30] * 40)
    pack = PackSection(seq_len=50, split="fill", min_segment=12)
    filled = plan(docs, pack)[50]
    assert filled.cuts_to_fill > 0
    assert int(filled.segments.num_tokens.min()) >= 12


def test_sentences_that_are_not_asked_for_change_nothing() -> None:
    docs = Documents([[1] * 70], sentence_every=10)
    pack = PackSection(seq_len=64)
    given_some = plan_rows(docs.columns(with_sentences=True), pack)[64]
    assert given_some.segments.start.tolist() == plan_rows(docs.columns(), pack)[64].segments.start.tolist() == [0, 54]
    assert given_some.cuts_inside_sentences == 0


@pytest.mark.parametrize(("max_waste", "cuts"), [(0.28, 0), (0.24, 0), (0.239999, 2), (0.0, 2)])
def test_a_row_may_stay_as_empty_as_the_share_says(max_waste: float, cuts: int) -> None:
    docs = Documents([[1] * 36] * 3)  # 38 of 50 places: 12 free, 0.24 of the row
    pack = PackSection(seq_len=50, split=Split.FILL, max_waste=max_waste, min_segment=1)
    assert plan(docs, pack)[50].cuts_to_fill == cuts


@given(long_documents(), pack_sections(sequences=Sequences.DOC_SENTENCES, split=Split.LONG))
def test_doc_sentences_are_segments_that_are_cut_at_sentences(docs: Documents, pack: PackSection) -> None:
    for seq_len, row_plan in plan(docs, pack).items():
        segments = read_segments(assemble(docs, row_plan))
        assert len({segment.sequence for segment in segments}) == len(segments)  # never two documents in one
        for segment in segments:
            starts = docs.sentences(segment.document)
            if segment.start not in starts:  # only where none stands in the row before
                before = max(
                    other.start
                    for other in segments
                    if other.document == segment.document and other.start < segment.start
                )
                assert not any(before < start <= before + seq_len - 2 for start in starts)


@given(long_documents(), pack_sections(sequences=Sequences.DOC_SENTENCES, split=Split.LONG, min_segment=1))
def test_doc_sentences_are_as_long_as_fits(docs: Documents, pack: PackSection) -> None:
    for seq_len, row_plan in plan(docs, pack).items():
        for segment in read_segments(assemble(docs, row_plan)):
            starts = [*docs.sentences(segment.document), docs.lengths[segment.document]]
            longer = [place for place in starts if segment.stop < place <= segment.start + seq_len - 2]
            assert longer == []


@given(long_documents(), pack_sections(sequences=Sequences.FULL_SENTENCES))
def test_full_sentences_is_one_sequence_a_row_in_the_order_of_the_documents(docs: Documents, pack: PackSection) -> None:
    for row_plan in plan(docs, pack).values():
        segments = read_segments(assemble(docs, row_plan))
        assert all(segment.row == segment.sequence for segment in segments)
        in_order = sorted(segments, key=lambda segment: (segment.document, segment.start))
        rows = [row for row, _ in itertools.groupby(in_order, key=lambda segment: segment.row)]
        assert len(rows) == len(set(rows)) == row_plan.num_rows


@given(long_documents(), pack_sections(sequences=Sequences.DOCUMENT))
def test_a_document_stands_alone_in_the_shortest_row_that_holds_it(docs: Documents, pack: PackSection) -> None:
    plans = plan(docs, pack)
    for seq_len, row_plan in plans.items():
        segments = read_segments(assemble(docs, row_plan))
        assert len({segment.row for segment in segments}) == len(segments) == row_plan.num_rows
        for segment in segments:
            holding = [other for other in pack.length_bins or (seq_len,) if len(segment.tokens) + 2 <= other]
            assert min(holding) == seq_len


def test_pieces_in_other_bins_than_the_first_are_counted_where_they_stand() -> None:
    docs = Documents([[1] * 70, [1] * 10, [], [1] * 40])  # 70 = 62 + 8
    pack = PackSection(sequences="document", seq_len=64, length_bins=[32, 64], min_segment=1)
    short, long = plan(docs, pack).values()
    assert (short.documents, short.packed, short.without_tokens, short.cuts) == (2, 1, 1, 1)
    assert (short.tokens_encoded, short.num_rows) == (10 + 8, 2)
    assert (long.documents, long.packed, long.without_tokens, long.cuts) == (2, 2, 0, 0)
    assert (long.tokens_encoded, long.num_rows) == (62 + 40, 2)
    never = PackSection(sequences="document", seq_len=64, length_bins=[32, 64], split="never")
    short, long = plan(docs, never).values()
    assert (short.documents, short.too_long.tolist()) == (2, [])
    assert (long.documents, long.packed, long.too_long.tolist()) == (2, 1, [0])


def test_tokens_encoded_do_not_come_from_the_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose_one(*arguments: Any, **options: Any) -> Any:
        segments = split(*arguments, **options)
        return segments.select(np.arange(1, len(segments)))

    from maskmill.pipeline.packing.sequences import plan_rows as of_bins
    from maskmill.pipeline.packing.sequences import segments as of_segments

    split = of_bins.split_documents
    for module in (of_bins, of_segments):
        monkeypatch.setattr(module, "split_documents", lose_one)
    docs = Documents([[1] * 20, [1] * 33])
    for pack in (PackSection(seq_len=64), PackSection(seq_len=64, length_bins=[32, 64], sequences="document")):
        plans = plan(docs, pack).values()
        assert sum(row_plan.tokens_encoded for row_plan in plans) == 53
        assert sum(row_plan.tokens_in_rows for row_plan in plans) == 33


@given(st.lists(st.integers(1, MIN_SEQ_LEN - 2), max_size=8))
def test_a_few_documents_take_at_most_one_row_more_than_they_need(lengths: list[int]) -> None:
    row_plan = plan(Documents([[1] * length for length in lengths]), PackSection(seq_len=MIN_SEQ_LEN))[MIN_SEQ_LEN]
    fewest = fewest_rows([length + 2 for length in lengths], MIN_SEQ_LEN)
    assert row_plan.rows_lower_bound_l2 <= fewest <= row_plan.num_rows <= fewest + 1


@pytest.mark.parametrize(
    "settings", [{"cut": "sentence"}, {"sequences": "doc_sentences"}, {"sequences": "full_sentences"}]
)
def test_sentences_are_asked_for_where_they_are_needed(settings: dict[str, str]) -> None:
    docs = Documents([[1] * 9])
    with pytest.raises(ValueError, match="sentence_starts"):
        plan_rows(docs.columns(), PackSection(**settings))


@pytest.mark.parametrize("sequences", list(Sequences))
def test_no_documents_make_an_empty_plan(sequences: Sequences) -> None:
    for lengths in ([], [0, 0]):
        docs = Documents([[1] * length for length in lengths])
        pack = PackSection(sequences=sequences)
        (row_plan,) = plan(docs, pack).values()
        assert (row_plan.num_rows, row_plan.documents, row_plan.without_tokens) == (0, len(lengths), len(lengths))
        assert len(assemble(docs, row_plan)) == 0
        assert FIRST_ID not in assemble(docs, row_plan).input_ids
