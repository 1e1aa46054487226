from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.packing.cutting.cut_rules import CutRules, max_segment_tokens
from maskmill.pipeline.packing.cutting.split_documents import Segments, split_documents
from maskmill.pipeline.packing.cutting.token_columns import TokenColumns
from maskmill.schemas.run_file import Cut, Split
from tests.packing.documents import Documents, documents, row_settings

WORDS_AND_TOKENS = st.sampled_from([Cut.WORD, Cut.TOKEN])


def split(docs: Documents, seq_len: int, min_segment: int = 1, cut: Cut = Cut.WORD) -> Segments:
    return split_documents(docs.columns(with_sentences=cut is Cut.SENTENCE), CutRules(seq_len, min_segment, cut))


def pieces(segments: Segments) -> dict[int, list[tuple[int, int]]]:
    """(start, stop) of every segment by document."""
    found: dict[int, list[tuple[int, int]]] = {}
    for document, start, count in zip(
        segments.document.tolist(), segments.start.tolist(), segments.num_tokens.tolist(), strict=True
    ):
        found.setdefault(document, []).append((start, start + count))
    return found


def expected_stops(length: int, places: set[int], max_tokens: int, min_segment: int) -> list[int]:
    """Where segments end, by the words of the rule: each time the best of all places, found by trying all."""
    stops, start = [], 0
    while length - start > max_tokens:
        fitting = {p for p in places if start < p <= start + max_tokens}
        stop = max(fitting, default=start + max_tokens)
        remainder = length - stop
        if remainder < min_segment:
            movable = fitting or set(range(start + 1, start + max_tokens + 1))
            better = {
                p for p in movable if min_segment <= length - p <= max_tokens and (not fitting or p - start > remainder)
            }
            stop = max(better, default=stop)
        stops.append(stop)
        start = stop
    return [*stops, length] if length else []


@given(documents(), row_settings(), WORDS_AND_TOKENS)
def test_cuts_fall_where_trying_every_place_puts_them(docs: Documents, settings: tuple[int, int], cut: Cut) -> None:
    seq_len, min_segment = settings
    found = pieces(split(docs, seq_len, min_segment, cut))
    for document, length in enumerate(docs.lengths):
        places = docs.word_starts(document) if cut is Cut.WORD else set(range(length))
        stops = [stop for _, stop in found.get(document, [])]
        assert stops == expected_stops(length, places, seq_len - 2, min_segment)


@given(documents(), row_settings())
def test_segments_of_a_document_join_end_to_end_and_fit_in_a_row(docs: Documents, settings: tuple[int, int]) -> None:
    found = pieces(split(docs, *settings))
    for document, length in enumerate(docs.lengths):
        ends = [0]
        for start, stop in found.get(document, []):
            assert start == ends[-1]
            assert 1 <= stop - start <= settings[0] - 2
            ends.append(stop)
        assert ends[-1] == length


def expected_sentence_stops(
    length: int, sentences: set[int], words: set[int], max_tokens: int, min_segment: int
) -> list[int]:
    """The same by the rule for sentences: words count only where no sentence start fits."""
    stops, start = [], 0
    while length - start > max_tokens:
        fits = {p for p in sentences if start < p <= start + max_tokens}
        if not fits:
            fits = {p for p in words if start < p <= start + max_tokens}
        stop = max(fits, default=start + max_tokens)
        remainder = length - stop
        if remainder < min_segment:
            movable = fits or set(range(start + 1, start + max_tokens + 1))
            better = {p for p in movable if length - p >= min_segment and (not fits or p - start > remainder)}
            stop = max(better, default=stop)
        stops.append(stop)
        start = stop
    return [*stops, length] if length else []


@given(documents(), row_settings())
def test_cuts_fall_at_sentences_and_at_words_only_where_no_sentence_start_fits(
    docs: Documents, settings: tuple[int, int]
) -> None:
    found = pieces(split(docs, *settings, Cut.SENTENCE))
    for document, length in enumerate(docs.lengths):
        stops = [stop for _, stop in found.get(document, [])]
        sentences, words = set(docs.sentences(document)), docs.word_starts(document)
        assert stops == expected_sentence_stops(length, sentences, words, settings[0] - 2, settings[1])


def test_a_cut_stays_at_a_sentence_however_short_the_last_one_is() -> None:
    docs = Documents([[1] * 20 + [1] * 15 + [1] * 5], sentence_every=20)
    assert pieces(split(docs, 32, 16, Cut.SENTENCE)) == {0: [(0, 20), (20, 40)]}
    docs = Documents([[1] * 30 + [1] * 2], sentence_every=30)
    assert pieces(split(docs, 32, 16, Cut.SENTENCE)) == {0: [(0, 30), (30, 32)]}
    assert pieces(split(docs, 32, 16, Cut.WORD)) == {0: [(0, 16), (16, 32)]}


@given(documents(), row_settings())
def test_documents_longer_than_a_row_give_nothing_where_none_may_be_cut(
    docs: Documents, settings: tuple[int, int]
) -> None:
    segments = split_documents(docs.columns(), CutRules(*settings, split=Split.NEVER))
    fitting = {d: [(0, length)] for d, length in enumerate(docs.lengths) if 0 < length <= settings[0] - 2}
    assert pieces(segments) == fitting


@given(documents(), row_settings(), st.sampled_from(list(Cut)))
def test_a_document_that_fits_is_never_split(docs: Documents, settings: tuple[int, int], cut: Cut) -> None:
    found = pieces(split(docs, *settings, cut))
    for document, length in enumerate(docs.lengths):
        if 0 < length <= settings[0] - 2:
            assert found[document] == [(0, length)]


@given(documents(max_word=14), row_settings())
def test_no_cut_falls_inside_a_word_that_fits_in_a_row(docs: Documents, settings: tuple[int, int]) -> None:
    seq_len, min_segment = 16 + settings[0], settings[1]
    for document, bounds in pieces(split(docs, seq_len, min_segment)).items():
        assert {start for start, _ in bounds} <= docs.word_starts(document)


@given(st.lists(st.integers(1, 500), max_size=20), row_settings())
def test_no_remainder_is_short_where_every_token_starts_a_word(lengths: list[int], settings: tuple[int, int]) -> None:
    seq_len, min_segment = settings
    found = pieces(split(Documents([[1] * length for length in lengths]), seq_len, min_segment))
    for bounds in found.values():
        if len(bounds) > 1:
            start, stop = bounds[-1]
            assert stop - start >= min(min_segment, (seq_len - 2 + 1) // 2)


def test_a_short_remainder_takes_tokens_from_the_piece_before_it() -> None:
    segments = split(Documents([[1] * 512]), 512, min_segment=16)
    assert pieces(segments) == {0: [(0, 496), (496, 512)]}
    whole_words = split(Documents([[1] * 490 + [10] + [1] * 12]), 512, min_segment=16)
    assert pieces(whole_words) == {0: [(0, 490), (490, 512)]}


def test_a_remainder_stays_short_where_moving_the_cut_would_only_move_the_shortness() -> None:
    segments = split(Documents([[3, 500, 10]]), 512, min_segment=16)
    assert pieces(segments) == {0: [(0, 503), (503, 513)]}
    assert pieces(split(Documents([[2, 8, 2]]), 12, min_segment=4)) == {0: [(0, 10), (10, 12)]}
    assert pieces(split(Documents([[3, 7, 2]]), 12, min_segment=4)) == {0: [(0, 3), (3, 12)]}


def test_a_word_longer_than_a_row_is_cut_inside() -> None:
    segments = split(Documents([[5, 100, 5]]), 32, min_segment=4)
    assert pieces(segments) == {0: [(0, 5), (5, 35), (35, 65), (65, 95), (95, 110)]}


@pytest.mark.parametrize(
    ("seq_len", "capacity"), [(3, 1), (32, 30), (512, 510), (65534, 65532), (65535, 65533), (65536, 65533)]
)
def test_a_document_of_exactly_the_capacity_is_one_segment_and_one_token_more_is_two(
    seq_len: int, capacity: int
) -> None:
    assert max_segment_tokens(seq_len) == capacity
    exact = split(Documents([[1] * capacity]), seq_len)
    assert pieces(exact) == {0: [(0, capacity)]}
    assert int(exact.lengths.max()) == capacity + 2 < 2**16
    over = split(Documents([[1] * (capacity + 1)]), seq_len)
    assert pieces(over) == {0: [(0, capacity), (capacity, capacity + 1)]}


@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0]])
def test_documents_without_tokens_give_no_segment(lengths: list[int]) -> None:
    segments = split(Documents([[1] * length for length in lengths]), 32)
    assert len(segments) == 0
    assert (segments.document.dtype, segments.start.dtype) == (np.int64, np.uint32)


@given(documents(), row_settings(), st.sampled_from([np.uint16, np.int32, np.int64]))
def test_the_type_and_the_layout_of_the_columns_do_not_matter(
    docs: Documents, settings: tuple[int, int], dtype: type[np.integer]
) -> None:
    frozen = np.repeat(docs.ids.astype(dtype), 2)[::2]
    frozen.flags.writeable = False
    columns = TokenColumns(frozen, docs.offsets.astype(np.int32), docs.is_continuation)
    other = split_documents(columns, CutRules(*settings))
    assert pieces(other) == pieces(split(docs, *settings))


def test_sentences_are_asked_for_where_cuts_are_made_at_them() -> None:
    columns = Documents([[1] * 40]).columns()
    with pytest.raises(ValueError, match="sentence_starts"):
        split_documents(columns, CutRules(32, 1, Cut.SENTENCE))
