from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.packing.cutting.cut_rules import CutRules
from maskmill.pipeline.packing.sequences.full_sentences import fill_with_sentences
from maskmill.schemas.run_file import Cut
from tests.packing.documents import Documents, documents

Rows = list[list[tuple[int, int, int]]]


def fill(docs: Documents, seq_len: int, cut: Cut = Cut.SENTENCE) -> Rows:
    """The (document, start, stop) of every segment of every row."""
    segments, first_segment = fill_with_sentences(docs.columns(with_sentences=True), CutRules(seq_len, 1, cut))
    stops = (segments.start + segments.num_tokens).tolist()
    found = list(zip(segments.document.tolist(), segments.start.tolist(), stops, strict=True))
    bounds = first_segment.tolist()
    assert (bounds[0], bounds[-1]) == (0, len(found))
    return [found[first:last] for first, last in itertools.pairwise(bounds)]


def fill_plainly(docs: Documents, seq_len: int, cut: Cut) -> Rows:
    """One sentence after the other: into the open row, else into a new one, else cut, a row for each piece."""
    rows: Rows = []

    def free() -> int:
        return seq_len - 1 - sum(stop - start + 1 for _, start, stop in rows[-1]) if rows else 0

    def add(document: int, start: int, stop: int) -> bool:
        if rows and rows[-1] and rows[-1][-1][0] == document:
            last = rows[-1][-1]
            if stop - start <= free():
                rows[-1][-1] = (document, last[1], stop)
                return True
        elif stop - start + 1 <= free():
            rows[-1].append((document, start, stop))
            return True
        return False

    for document, length in enumerate(docs.lengths):
        sentences = docs.sentences(document)
        for start, stop in itertools.pairwise([*sentences, length]):
            if add(document, start, stop):
                continue
            begin = start
            while stop - begin > seq_len - 2:
                places = set(range(length)) if cut is Cut.TOKEN else docs.word_starts(document)
                fitting = {place for place in places if begin < place <= begin + seq_len - 2}
                end = max(fitting, default=begin + seq_len - 2)
                rows.append([(document, begin, end)])
                begin = end
            rows.append([(document, begin, stop)])
    return rows


@given(documents(), st.integers(3, 60), st.sampled_from([Cut.SENTENCE, Cut.TOKEN]))
def test_rows_are_those_of_adding_one_sentence_after_the_other(docs: Documents, seq_len: int, cut: Cut) -> None:
    assert fill(docs, seq_len, cut) == fill_plainly(docs, seq_len, cut)


def test_a_new_document_goes_on_in_the_row_after_a_separator() -> None:
    # [CLS] 4 tokens [SEP] 3 tokens [SEP] are 10 places; with 9 the second document begins a row.
    docs = Documents([[1] * 4, [], [1] * 3], sentence_every=9)
    assert fill(docs, 10) == [[(0, 0, 4), (2, 0, 3)]]
    assert fill(docs, 9) == [[(0, 0, 4)], [(2, 0, 3)]]


def test_a_sentence_that_does_not_fit_begins_a_row_and_so_does_one_longer_than_a_row() -> None:
    docs = Documents([[1] * 6, [2] * 10], sentence_every=6)  # sentences of 6, 12 and 8 tokens
    assert fill(docs, 16) == [[(0, 0, 6)], [(1, 0, 12)], [(1, 12, 20)]]
    assert fill(docs, 11) == [[(0, 0, 6)], [(1, 0, 8)], [(1, 8, 12)], [(1, 12, 20)]]


def test_what_is_left_of_a_sentence_longer_than_a_row_is_followed_by_the_next() -> None:
    docs = Documents([[1] * 12 + [1] * 4 + [1] * 8], sentence_every=12)
    assert fill(docs, 10) == [[(0, 0, 8)], [(0, 8, 12)], [(0, 12, 20)], [(0, 20, 24)]]
    assert fill(docs, 10, Cut.TOKEN) == fill(docs, 10)
    docs = Documents([[1] * 12 + [1] * 4], sentence_every=12)
    assert fill(docs, 10) == [[(0, 0, 8)], [(0, 8, 16)]]


@pytest.mark.parametrize("seq_len", [65_535, 65_536])
def test_a_row_holds_no_sequence_longer_than_16_bits(seq_len: int) -> None:
    docs = Documents([[1] * 65_532, [1]], sentence_every=70_000)
    assert fill(docs, seq_len) == [[(0, 0, 65_532)], [(1, 0, 1)]]
    docs = Documents([[1] * 65_531, [1]], sentence_every=70_000)
    assert fill(docs, seq_len) == [[(0, 0, 65_531), (1, 0, 1)]]
    docs = Documents([[1] * 65_534], sentence_every=70_000)
    assert fill(docs, seq_len) == [[(0, 0, 65_533)], [(0, 65_533, 65_534)]]


@pytest.mark.parametrize("lengths", [[], [0], [0, 0]])
def test_no_tokens_give_no_row(lengths: list[int]) -> None:
    assert fill(Documents([[1] * length for length in lengths]), 32) == []


def test_sentences_are_asked_for() -> None:
    with pytest.raises(ValueError, match="sentence_starts"):
        fill_with_sentences(Documents([[1] * 9]).columns(), CutRules(32, 1))
