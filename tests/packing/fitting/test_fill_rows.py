from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.packing.cutting.cut_rules import CutRules
from maskmill.pipeline.packing.cutting.split_documents import Segments, split_documents
from maskmill.pipeline.packing.fitting import fill_rows as fill_rows_module
from maskmill.pipeline.packing.fitting.best_fit import pack_best_fit
from maskmill.pipeline.packing.fitting.fill_rows import fill_rows
from maskmill.schemas.run_file import Cut, Split
from tests.packing.documents import Documents, documents

Piece = tuple[int, int, int]  # document, start, stop


@dataclass(frozen=True)
class Filled:
    before: list[list[Piece]]
    after: list[list[Piece]]
    cuts: int


@dataclass(frozen=True)
class Settings:
    seq_len: int
    max_free: int
    min_segment: int
    cut: Cut = Cut.WORD

    @property
    def rules(self) -> CutRules:
        return CutRules(self.seq_len, self.min_segment, self.cut, Split.FILL, self.max_free)


def list_rows(segments: Segments, row_of_segment: np.ndarray, num_rows: int) -> list[list[Piece]]:
    rows: list[list[Piece]] = [[] for _ in range(num_rows)]
    stops = (segments.start + segments.num_tokens).tolist()
    columns = (segments.document.tolist(), segments.start.tolist(), stops, row_of_segment.tolist())
    for document, start, stop, row in zip(*columns, strict=True):
        rows[row].append((document, start, stop))
    return rows


def fill(docs: Documents, settings: Settings) -> Filled:
    columns = docs.columns(with_sentences=settings.cut is Cut.SENTENCE)
    segments = split_documents(columns, settings.rules)
    rows, num_rows = pack_best_fit(segments.lengths, settings.seq_len)
    filled, new_rows, num_new_rows, cuts = fill_rows(columns, segments, rows, num_rows, settings.rules)
    places = list(zip(filled.document.tolist(), filled.start.tolist(), strict=True))
    assert places == sorted(set(places))
    return Filled(list_rows(segments, rows, num_rows), list_rows(filled, new_rows, num_new_rows), cuts)


def count_free(row: list[Piece], seq_len: int) -> int:
    return seq_len - sum(stop - start + 2 for _, start, stop in row)


def may_cut(docs: Documents, document: int, place: int, cut: Cut) -> bool:
    if cut is Cut.SENTENCE:
        return place in docs.sentences(document)
    return cut is Cut.TOKEN or place in docs.word_starts(document)


def closes(docs: Documents, piece: Piece, free: int, settings: Settings) -> bool:
    """Whether a segment fits into a row as it is, or a piece of it closes the row, by trying every place to cut."""
    document, start, stop = piece
    if stop - start + 2 <= free:
        return True
    for place in range(start + settings.min_segment, stop - settings.min_segment + 1):
        if may_cut(docs, document, place, settings.cut):
            for count in (place - start, stop - place):
                if 0 <= free - (count + 2) <= settings.max_free:
                    return True
    return False


@st.composite
def fill_settings(draw: st.DrawFn, least_free: int = 0) -> Settings:
    seq_len = draw(st.integers(8, 48))
    return Settings(
        seq_len,
        max_free=draw(st.integers(least_free, seq_len // 2)),
        min_segment=draw(st.integers(1, seq_len // 4)),
        cut=draw(st.sampled_from(list(Cut))),
    )


@st.composite
def bad_lengths(draw: st.DrawFn) -> tuple[Documents, Settings]:
    """Documents a little longer than half a row, of which no two share one."""
    settings = draw(fill_settings())
    half = settings.seq_len // 2
    lengths = draw(st.lists(st.integers(half - 1, half + 8), min_size=2, max_size=20))
    words = [[draw(st.integers(1, 3)) for _ in range(length // 2)] for length in lengths]
    return Documents(words, draw(st.integers(1, 9))), settings


ANY = st.one_of(bad_lengths(), st.tuples(documents(), fill_settings()))


def check_open_rows(docs: Documents, settings: Settings, filled: Filled) -> None:
    """No open row could be closed from an emptier one."""
    still_open = [row for row in filled.after if count_free(row, settings.seq_len) > settings.max_free]
    still_open.sort(key=lambda row: count_free(row, settings.seq_len))
    for number, row in enumerate(still_open):
        free = count_free(row, settings.seq_len)
        for emptier in still_open[number + 1 :]:
            if count_free(emptier, settings.seq_len) > free:
                assert not any(closes(docs, piece, free, settings) for piece in emptier)


def check_tokens(docs: Documents, settings: Settings, filled: Filled) -> None:
    """Every token stays once, and no row is over-full or empty."""
    rows = filled.after
    assert all(row and count_free(row, settings.seq_len) >= 0 for row in rows)
    for document, length in enumerate(docs.lengths):
        held = sorted((start, stop) for row in rows for owner, start, stop in row if owner == document)
        assert [start for start, _ in held] == ([0, *(stop for _, stop in held)][:-1] if held else [])
        assert (held[-1][1] if held else 0) == length


def check_cuts(docs: Documents, settings: Settings, filled: Filled) -> None:
    """Every cut closes a row, is at an allowed place, and leaves no piece too short."""
    before = {piece[:2] for row in filled.before for piece in row}
    new = [piece for row in filled.after for piece in row if piece[:2] not in before]
    assert len(new) == filled.cuts
    whole = {piece for row in filled.before for piece in row}
    for row in filled.after:
        for document, start, stop in row:
            if (document, start, stop) not in whole:
                assert stop - start >= settings.min_segment
                assert (document, start) in before or may_cut(docs, document, start, settings.cut)
    closed = sum(count_free(row, settings.seq_len) <= settings.max_free for row in filled.after)
    closed_before = sum(count_free(row, settings.seq_len) <= settings.max_free for row in filled.before)
    assert filled.cuts <= closed - closed_before
    assert len(filled.after) <= len(filled.before)


def check_closed_rows(docs: Documents, settings: Settings, filled: Filled) -> None:
    """A row that was full enough is left as it was."""
    after = {tuple(sorted(row)) for row in filled.after}
    for row in filled.before:
        if count_free(row, settings.seq_len) <= settings.max_free:
            assert tuple(sorted(row)) in after


LAWS = [check_open_rows, check_tokens, check_cuts, check_closed_rows]


@pytest.mark.parametrize("check", LAWS)
@given(ANY)
def test_a_law_of_filling_holds(check: Callable[..., None], case: tuple[Documents, Settings]) -> None:
    check(*case, fill(*case))


@pytest.mark.parametrize("cut", list(Cut))
@pytest.mark.parametrize(("max_free", "min_segment"), [(0, 1), (3, 1), (3, 8), (6, 3), (12, 5)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_laws_hold_for_many_rows(cut: Cut, max_free: int, min_segment: int, seed: int) -> None:
    random = np.random.Generator(np.random.PCG64(seed))
    lengths = random.choice([9, 14, 27, 29, 31, 33, 35, 38, 41, 47, 60], 120)
    docs = Documents([random.integers(1, 4, length // 2).tolist() for length in lengths], sentence_every=7)
    settings = Settings(64, max_free, min_segment, cut)
    filled = fill(docs, settings)
    assert filled.cuts > 0
    for check in LAWS:
        check(docs, settings, filled)


@given(bad_lengths(), st.sampled_from([Cut.TOKEN, Cut.WORD]))
def test_at_most_one_row_stays_open_where_a_word_has_room_besides(case: tuple[Documents, Settings], cut: Cut) -> None:
    docs, settings = case
    word = 3 if cut is Cut.WORD else 0
    seq_len = settings.seq_len
    min_segment = max(1, min(settings.min_segment, (seq_len // 2 - word) // 2))
    settings = Settings(seq_len, 2 * min_segment + word, min_segment, cut)
    rows = fill(docs, settings).after
    assert sum(count_free(row, seq_len) > settings.max_free for row in rows) <= 1


def test_documents_of_just_over_half_a_row_fill_rows() -> None:
    docs = Documents([[1] * 30 for _ in range(50)])  # 32 of 60 places each
    filled = fill(docs, Settings(60, max_free=6, min_segment=3))
    assert len(filled.before) == 50
    assert len(filled.after) == -(-sum(stop - start + 2 for row in filled.after for _, start, stop in row) // 60)
    assert sum(count_free(row, 60) > 6 for row in filled.after) <= 1


def test_nothing_is_cut_where_the_waste_is_allowed() -> None:
    docs = Documents([[1] * 30 for _ in range(5)])
    assert fill(docs, Settings(60, max_free=28, min_segment=3)).cuts == 0
    assert fill(docs, Settings(60, max_free=27, min_segment=3)).cuts > 0


def test_words_are_cut_inside_only_where_any_token_will_do() -> None:
    docs = Documents([[30]] * 5)
    assert fill(docs, Settings(60, max_free=6, min_segment=3, cut=Cut.WORD)).cuts == 0
    assert fill(docs, Settings(60, max_free=6, min_segment=3, cut=Cut.TOKEN)).cuts > 0


def test_nothing_is_cut_that_does_not_close_a_row() -> None:
    docs = Documents([[1] * 30] * 2, sentence_every=10)  # 18 of 50 places free each; sentences of 10 tokens
    assert fill(docs, Settings(50, max_free=2, min_segment=3, cut=Cut.SENTENCE)).cuts == 0
    assert fill(docs, Settings(50, max_free=6, min_segment=3, cut=Cut.SENTENCE)).cuts == 1


def fill_by_hand(words: list[list[int]], rows: list[int], settings: Settings) -> tuple[list[list[list[Piece]]], int]:
    """Fills rows that no packer would have made: the pieces of each row, rows and pieces in order; and the cuts."""
    docs = Documents(words)
    columns = docs.columns()
    segments = split_documents(columns, CutRules(settings.seq_len, 1))
    filled, new_rows, num_rows, cuts = fill_rows(columns, segments, np.array(rows), max(rows) + 1, settings.rules)
    return sorted(map(sorted, list_rows(filled, new_rows, num_rows))), cuts


def test_a_row_that_whole_segments_close_gets_nothing_more() -> None:
    words = [[1] * 30, [1] * 10, [1] * 5]  # 20 and 33 of 52 places free
    found = fill_by_hand(words, [0, 1, 1], Settings(52, max_free=8, min_segment=3))
    assert found == ([[(0, 0, 30), (1, 0, 10)], [(2, 0, 5)]], 0)


def test_a_row_whose_segments_all_find_a_place_is_gone() -> None:
    words = [[1] * 30, [1] * 10, [1] * 25]  # 20, 40 and 25 of 52 places free
    found = fill_by_hand(words, [1, 0, 2], Settings(52, max_free=2, min_segment=3))
    assert found == ([[(0, 0, 30), (1, 0, 10), (2, 0, 6)], [(2, 6, 25)]], 1)


def test_another_round_goes_by_how_full_rows_have_become() -> None:
    words = [[6], [31], [30], [8], [19]]  # rows with 9, 18 and 19 of 50 places free, words that are not cut
    found = fill_by_hand(words, [0, 0, 1, 2, 2], Settings(50, max_free=5, min_segment=1))
    # The second takes the 8, has 8 free then, which is less than the first has, and takes its 6.
    assert found == ([[(0, 0, 6), (2, 0, 30), (3, 0, 8)], [(1, 0, 31)], [(4, 0, 19)]], 0)


def test_another_round_cuts_what_is_left_of_a_segment() -> None:
    words = [[48], [44], [11, 7, 20]]  # 10, 14 and 20 of 60 places free
    found = fill_by_hand(words, [0, 1, 2], Settings(60, max_free=2, min_segment=1))
    # At first the third has no piece of 6 to 8 tokens for the first row, but one of 10 to 12 for the second.
    assert found == ([[(0, 0, 48), (2, 11, 18)], [(1, 0, 44), (2, 0, 11)], [(2, 18, 38)]], 2)


def test_the_longest_segment_gives_its_longest_piece() -> None:
    docs = Documents([[1] * 30, [1] * 36])  # of 40: 8 and 2 free
    assert fill(docs, Settings(40, max_free=2, min_segment=3)).cuts == 0  # only one row is open
    docs = Documents([[1] * 30, [1] * 33, [1] * 31])  # 8, 5 and 7 free
    filled = fill(docs, Settings(40, max_free=2, min_segment=3))
    # The fullest gets 3 tokens of the 31; the row that gave them, with 10 free then, gets 8 of the 30.
    assert sorted(map(sorted, filled.after)) == [[(0, 0, 8), (2, 3, 31)], [(0, 8, 30)], [(1, 0, 33), (2, 0, 3)]]


def test_a_shard_that_needs_more_rounds_keeps_rows_open(monkeypatch: pytest.MonkeyPatch) -> None:
    docs = Documents([[1] * 30 for _ in range(50)])
    monkeypatch.setattr(fill_rows_module, "MAX_ROUNDS", 0)
    filled = fill(docs, Settings(60, max_free=6, min_segment=3))
    assert (filled.cuts, len(filled.after)) == (0, 50)


def test_sentences_are_asked_for_where_cuts_are_made_at_them() -> None:
    segments = Segments(np.array([0]), np.zeros(1, np.uint32), np.array([9], np.int32))
    rules = CutRules(32, 1, Cut.SENTENCE, Split.FILL, max_free=1)
    with pytest.raises(ValueError, match="sentence_starts"):
        fill_rows(Documents([[1] * 9]).columns(), segments, np.zeros(1, np.int64), 1, rules)
