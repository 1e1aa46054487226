"""Pairs are those of the plain builders in `pair_oracle`, and every token and document is accounted for."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.packing.cutting.token_columns import TokenColumns
from maskmill.pipeline.packing.rows.assemble_rows import SpecialIds, assemble_rows
from maskmill.pipeline.packing.sequences.pair_sentences import list_sentences
from maskmill.pipeline.packing.sequences.plan_rows import plan_rows
from maskmill.pipeline.packing.sequences.row_plan import RowPlan
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.run_file import Cut, PackSection
from tests.packing.documents import CLS, FIRST_ID, PAD, SEP
from tests.packing.sequences.pair_oracle import Document, Draws, Made, make_pairs

SEQ_LEN, SHARD, SEED = 32, 3, 11
LONGEST = SEQ_LEN - 3

Lengths = list[list[int]]
"""Of the sentences of documents."""

lengths = st.lists(st.lists(st.one_of(st.integers(1, 4), st.integers(1, LONGEST)), max_size=12), max_size=6)
ways = st.sampled_from([("nsp", False), ("sop", False), ("sop", True)])


def make_columns(documents: Lengths) -> TokenColumns:
    """Every token has its own id, and is a word."""
    sizes = [sum(document) for document in documents]
    starts = np.zeros(sum(sizes), np.bool_)
    for document, first in zip(documents, np.cumsum([0, *sizes]).tolist(), strict=False):
        starts[[first + before for before in np.cumsum([0, *document])[:-1].tolist()]] = True
    ids = np.arange(FIRST_ID, FIRST_ID + sum(sizes), dtype=np.uint32)
    return TokenColumns(ids, np.cumsum([0, *sizes]), np.zeros(FIRST_ID + sum(sizes), np.bool_), starts)


def make_documents(documents: Lengths) -> list[Document]:
    made = []
    for number, sentences in enumerate(documents):
        ends = np.cumsum([0, *sentences]).tolist()
        made.append([[(number, place) for place in range(a, b)] for a, b in itertools.pairwise(ends)])
    return made


def make_pack(which: str, single: bool = False, duplicates: int = 1, **pack: Any) -> PackSection:
    return PackSection(
        **({"seq_len": SEQ_LEN, "pairs": which, "sop_random_single": single, "duplicates": duplicates} | pack)
    )


def plan_pairs(documents: Lengths, pack: PackSection, seed: int = SEED, shard: int = SHARD) -> RowPlan:
    (plan,) = plan_rows(make_columns(documents), pack, shard, seed).values()
    return plan


def read_pairs(plan: RowPlan) -> list[Any]:
    segments = [
        [(document, start + place) for place in range(count)]
        for document, start, count in zip(
            *(column.tolist() for column in (plan.segments.document, plan.segments.start, plan.segments.num_tokens)),
            strict=True,
        )
    ]
    assert plan.labels is not None
    assert plan.first_segment.tolist() == list(range(0, len(segments) + 1, 2))
    return list(zip(segments[::2], segments[1::2], plan.labels.tolist(), strict=True))


def check_counts(plan: RowPlan, documents: Lengths, made: Made, duplicates: int) -> None:
    tokens = sum(map(sum, documents))
    with_tokens = [number for number, document in enumerate(documents) if document]
    paired = {a[0][0] for a, _, _ in made.pairs}
    of_others = sum(len(b) for a, b, _ in made.pairs if a[0][0] != b[0][0])
    counts = plan.pair_counts
    assert counts["pairs"] == len(made.pairs)
    assert counts["pairs_of_label_1"] == sum(label for *_, label in made.pairs)
    assert counts["pairs_truncated"] == made.num_truncated
    assert counts["tokens_truncated"] == made.truncated
    assert counts["tokens_unpaired"] == len(made.unpaired)
    assert counts["tokens_of_others"] == of_others
    assert counts["tokens_repeated"] == (duplicates - 1) * tokens
    assert counts["unpaired"] == len(with_tokens) - len(paired)
    assert (plan.documents, plan.packed) == (len(documents), len(paired))
    assert plan.tokens_encoded == tokens
    assert duplicates * tokens + of_others == plan.tokens_in_rows + made.truncated + len(made.unpaired)
    assert (plan.cuts, len(plan.segments)) == (0, 2 * len(made.pairs))


@given(lengths, ways, st.integers(1, 3), st.integers(0, 2**63 - 1), st.integers(0, 2**32 - 1))
def test_pairs_are_those_of_the_plain_builders(documents, way, duplicates, seed, shard):
    which, single = way
    plan = plan_pairs(documents, make_pack(which, single, duplicates), seed, shard)
    made = make_pairs(make_documents(documents), which, LONGEST, seed, shard, duplicates, single)
    assert read_pairs(plan) == made.pairs
    check_counts(plan, documents, made, duplicates)


@settings(max_examples=20)
@given(st.lists(st.lists(st.integers(1, 300), min_size=1, max_size=20), min_size=2, max_size=5), ways)
def test_pairs_of_long_rows_are_those_of_the_plain_builders(documents, way):
    which, single = way
    plan = plan_pairs(documents, make_pack(which, single, 2, seq_len=512))
    made = make_pairs(make_documents(documents), which, 509, SEED, SHARD, 2, single)
    assert read_pairs(plan) == made.pairs
    check_counts(plan, documents, made, 2)


@given(lengths, ways, st.integers(1, 3))
def test_a_row_holds_whole_pairs_and_their_labels(documents, way, duplicates):
    plan = plan_pairs(documents, make_pack(*way, duplicates))
    rows = assemble_rows(make_columns(documents), plan, SpecialIds(CLS, SEP, PAD, np.uint32), SHARD, SEED)
    origin = {FIRST_ID + i: token for i, token in enumerate(t for d in make_documents(documents) for s in d for t in s)}
    found = []
    for row, ids in enumerate(rows.input_ids.tolist()):
        text = "".join({CLS: "C", SEP: "S", PAD: "P"}.get(one, "t") for one in ids).rstrip("P")
        assert "P" not in text
        sequences = [ids[m : m + n] for m, n in _spans(rows, row)]
        labels = rows.lists["sequence_labels"].slice(row, row + 1).values.tolist()
        for sequence, label in zip(sequences, labels, strict=True):
            assert sequence[0] == CLS
            assert sequence[-1] == SEP
            first, second = (list(part) for is_sep, part in itertools.groupby(sequence[1:-1], SEP.__eq__) if not is_sep)
            found.append(([origin[one] for one in first], [origin[one] for one in second], label))
    assert sorted(found) == sorted(read_pairs(plan))


def _spans(rows: Any, row: int) -> list[tuple[int, int]]:
    counts = rows.sequence_lengths.slice(row, row + 1).values.astype(int).tolist()
    return list(zip(np.cumsum([0, *counts]).tolist(), counts, strict=False))


def test_a_sentence_that_is_longer_than_a_pair_becomes_pieces_and_loses_nothing():
    documents = [[100], [5, 5]]
    sentences = list_sentences(make_columns(documents), Cut.WORD, LONGEST)
    pieces = np.diff(sentences.starts).tolist()
    assert pieces == [8] * 12 + [4, 5, 5]
    plan = plan_pairs(documents, make_pack("sop"))
    assert plan.tokens_in_rows + plan.pair_counts["tokens_truncated"] + plan.pair_counts["tokens_unpaired"] == 110
    assert plan.pair_counts["tokens_truncated"] < 20


def test_pieces_of_a_long_sentence_begin_with_words():
    ids = np.arange(60, dtype=np.uint16)
    continues = np.arange(60) % 4 != 0
    columns = TokenColumns(ids, np.array([0, 60]), continues, ids == 0)
    assert list_sentences(columns, Cut.WORD, LONGEST).starts.tolist() == [0, 8, 16, 24, 32, 40, 48, 56, 60]
    assert list_sentences(columns, Cut.TOKEN, 80 - 3).starts.tolist() == [0, 60]
    assert list_sentences(columns, Cut.WORD, 59).starts.tolist() == [0, 8, 16, 24, 32, 40, 48, 56, 60]
    odd = TokenColumns(ids, np.array([0, 60]), np.arange(60) % 5 != 0, ids == 0)
    assert list_sentences(odd, Cut.WORD, LONGEST).starts.tolist() == [*range(0, 60, 5), 60]
    assert list_sentences(odd, Cut.TOKEN, LONGEST).starts.tolist() == [0, 8, 16, 24, 32, 40, 48, 56, 60]
    one_word = TokenColumns(ids, np.array([0, 60]), np.ones(60, np.bool_), ids == 0)
    assert list_sentences(one_word, Cut.WORD, LONGEST).starts.tolist() == [0, 8, 16, 24, 32, 40, 48, 56, 60]


def test_without_another_document_b_always_follows_a():
    plan = plan_pairs([[], [9] * 200, []], make_pack("nsp", duplicates=2))
    assert plan.pair_counts["pairs"] > 50
    assert plan.pair_counts["pairs_of_label_1"] == plan.pair_counts["tokens_of_others"] == 0


def test_a_document_of_one_sentence_has_no_order():
    plan = plan_pairs([[9], [4, 4], []], make_pack("sop", duplicates=3))
    assert (plan.packed, plan.without_tokens, plan.pair_counts["unpaired"]) == (1, 1, 1)
    assert plan.pair_counts["tokens_unpaired"] == 27
    with_quirk = plan_pairs([[9], [4, 4], []], make_pack("sop", True, duplicates=3))
    assert (with_quirk.packed, with_quirk.pair_counts["unpaired"]) == (2, 0)
    assert sorted(len(b) for a, b, label in read_pairs(with_quirk) if a[0][0] == 0 and label == 1) != []


@pytest.mark.parametrize("which", ["nsp", "sop"])
def test_labels_are_balanced_and_one_document_in_ten_is_short(which):
    random = np.random.default_rng(5)
    documents = [random.integers(3, 9, 40).tolist() for _ in range(1500)]
    plan = plan_pairs(documents, make_pack(which, seq_len=128))
    assert plan.labels is not None
    made = make_pairs(make_documents(documents), which, 125, SEED, SHARD, 1)
    assert read_pairs(plan) == made.pairs
    # BERT never lets B follow a single sentence, of which short targets make many.
    pairs, ones = len(plan.labels) - made.singles, int(plan.labels.sum()) - made.singles
    assert abs(ones - pairs / 2) < 5 * (pairs / 4) ** 0.5
    short = sum(Draws.of(SEED, SHARD, number, 0, 0).chance("short", 1, 10) for number in range(len(documents)))
    assert abs(short - 150) < 5 * (1500 * 0.1 * 0.9) ** 0.5


def test_duplicates_draw_anew():
    documents = [[4, 5, 6, 7, 3, 4] for _ in range(40)]
    plan = plan_pairs(documents, make_pack("nsp", duplicates=4))
    pairs = [(tuple(a), tuple(b)) for a, b, _ in read_pairs(plan)]
    assert len(set(pairs)) > 0.7 * len(pairs)
    single = read_pairs(plan_pairs(documents, make_pack("nsp")))
    assert read_pairs(plan)[: len(single)] == single


def test_a_row_must_hold_two_segments():
    pack = make_pack("nsp").model_copy(update={"seq_len": 4, "min_segment": 1})
    with pytest.raises(ConfigError, match=r"pack.seq_len.*too short to hold a pair"):
        plan_rows(make_columns([[4]]), pack)


def test_sentences_are_needed():
    columns = make_columns([[4, 4]]).without_sentences()
    with pytest.raises(ValueError, match="sentence_starts"):
        plan_rows(columns, make_pack("nsp"))
    with pytest.raises(ValueError, match="sentence_starts"):
        list_sentences(columns, Cut.WORD, LONGEST)
