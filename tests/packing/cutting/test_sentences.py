from __future__ import annotations

import itertools
import string

import numpy as np
import pytest
import sentencex
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer

from maskmill.pipeline.packing.cutting import sentences
from maskmill.pipeline.packing.cutting.sentences import mark_sentence_starts, split_sentences
from maskmill.schemas.errors import ConfigError

HOSTILE = [
    "a",
    "B",
    "é",
    "😀",
    "Dr",
    "1",
    ".",
    "!",
    "?",
    "。",
    " ",
    "\n",
    "\r",
    "\t",
    "\xa0",
    "\x85",
    "\u2009",
    "\u2028",
]
HOSTILE += ["\u3000", "\x00", "\x1c", "(", ")", '"', "“", "”", "\u0301", "\u200d", "「", "」", "।", "؟", "-", "\ufeff"]
hostile_text = st.lists(st.sampled_from(HOSTILE), max_size=60).map("".join)
languages = st.sampled_from(["en", "fr", "ja", "ru", "hi", "ar", "zz"])


@given(st.one_of(hostile_text, st.text()), languages)
def test_sentences_join_to_the_text_and_none_is_empty_or_only_white_space(text: str, language: str) -> None:
    pieces = split_sentences(text, language)
    assert "".join(pieces) == text
    if text.strip():
        assert all(piece.strip() for piece in pieces)
    else:
        assert pieces == ([text] if text else [])


def test_blank_lines_stay_with_the_sentence_before_them() -> None:
    text = "\n\n  One. Two!\n\n\n\n😀 Dr. Smith\r\n\r\nis here.  "
    assert split_sentences(text) == ["\n\n  One. ", "Two!\n\n\n\n", "😀 Dr. Smith\r\n\r\n", "is here.  "]


@pytest.mark.parametrize("space", ["\x85", "\xa0", "\u2009", "\u2028", "\u3000"])
def test_wide_spaces_that_the_splitter_panics_at_are_spaces(space: str) -> None:
    with pytest.raises(BaseException, match="char boundary") as error:
        sentencex.get_sentence_boundaries("en", f"B{space}.")
    assert type(error.value).__name__ == "PanicException"
    assert split_sentences(f"B{space}. Yes. No") == [f"B{space}. ", "Yes. ", "No"]


def test_a_panic_makes_one_sentence_and_no_other_error_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        pass

    def fail(error: BaseException) -> None:
        def raise_it(*_: str) -> None:
            raise error

        monkeypatch.setattr(sentences.sentencex, "get_sentence_boundaries", raise_it)

    fail(PanicException("end byte index"))
    assert split_sentences("One. Two.") == ["One. Two."]
    fail(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        split_sentences("One. Two.")


PROSE = ["It is so. ", "Dr. No came! ", "「はい。」", "e.g. 3.5 ", "你好。", "“So it is. Or not. Who knows?” he said. "]


LONG_QUOTE = "“So it is. Or not. Who knows? " + "I do not. " * 6 + "You do.” he said. "


def find_places(pieces: list[str]) -> set[int]:
    return set(itertools.accumulate(map(len, pieces[:-1]), initial=0)) - {0}


def find_places_at_once(text: str) -> set[int]:
    starts = [boundary["start_index"] for boundary in sentencex.get_sentence_boundaries("en", text)]
    kept = [start for start, stop in itertools.pairwise([*starts, len(text)]) if text[start:stop].strip()]
    return set(kept[1:])


def find_both_ways(text: str) -> tuple[set[int], set[int]]:
    """Starts in small windows, and without them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sentences, "WINDOW_CHARACTERS", 640)
        patch.setattr(sentences, "LOOKAHEAD_CHARACTERS", 64)
        return find_places(split_sentences(text)), find_places_at_once(text)


@given(st.lists(st.lists(st.sampled_from([*PROSE, LONG_QUOTE]), max_size=4).map("".join), min_size=8, max_size=16))
def test_paragraphs_that_a_window_holds_are_split_as_in_the_whole_text(paragraphs: list[str]) -> None:
    found, expected = find_both_ways("\n\n".join(paragraphs))
    assert found == expected


@given(st.lists(st.sampled_from(PROSE), min_size=40, max_size=80).map("".join))
def test_a_paragraph_longer_than_a_window_is_split_as_at_once(text: str) -> None:
    found, expected = find_both_ways(text)
    assert found == expected


def test_a_sentence_longer_than_a_window_is_one_sentence() -> None:
    text = "One. " + "word " * 4000 + "end. Two. Three."
    assert split_sentences(text) == ["One. ", "word " * 4000 + "end. ", "Two. ", "Three."]


def test_no_start_is_missed_between_a_window_without_one_and_the_next() -> None:
    for words in range(700, 830):
        text = "word " * words + "end. " + "Two. " * 1000
        assert split_sentences(text) == ["word " * words + "end. ", *["Two. "] * 1000]


def test_the_splitter_whose_time_is_quadratic_sees_no_more_than_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def look(language: str, window: str) -> list[dict[str, int]]:
        seen.append(len(window))
        return split(language, window)

    split = sentencex.get_sentence_boundaries
    monkeypatch.setattr(sentences.sentencex, "get_sentence_boundaries", look)
    assert len(split_sentences("他说好的吧这个很长的句子没有问题。" * 5_000, "zh")) == 5_000
    assert max(seen) == sentences.WINDOW_CHARACTERS
    assert sum(seen) < 1.2 * 85_000


@pytest.mark.parametrize("language", ["", "e", "EN", "english", "en-GB", "12"])
def test_what_is_no_language_code_is_refused(language: str) -> None:
    with pytest.raises(ConfigError) as error:
        split_sentences("A text.", language)
    assert error.value.path == "pack.sentence_language"


def make_tokenizer() -> BertWordPieceTokenizer:
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *string.printable[:94],
        "é",
        "は",
        "い",
        "。",
        "the",
        "##the",
    ]
    pieces += [f"##{letter}" for letter in string.ascii_lowercase]
    return BertWordPieceTokenizer(dict(zip(pieces, range(len(pieces)), strict=True)), lowercase=True)


TOKENIZER = make_tokenizer()


def encode(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    ids = [TOKENIZER.encode(text, add_special_tokens=False).ids for text in texts]
    offsets = np.cumsum([0, *map(len, ids)], dtype=np.int64)
    return np.array([token for document in ids for token in document], np.uint16), offsets


def mark(documents: list[list[str]]) -> tuple[list[list[int]], int]:
    """The places of marked tokens in each document, given the pieces of its text."""
    ids, offsets = encode(["".join(pieces) for pieces in documents])
    pieces = encode([piece for document in documents for piece in document])
    flags, unmatched = mark_sentence_starts(ids, offsets, *pieces, np.array([len(document) for document in documents]))
    assert (flags.dtype, flags.shape) == (np.bool_, ids.shape)
    return [np.flatnonzero(flags[a:b]).tolist() for a, b in itertools.pairwise(offsets.tolist())], unmatched


text_parts = st.text(
    st.sampled_from([*"abthe .!?\n", "é", "E", "\u0301", "\x00", "\xa0", "は", "い", "。", "😀"]), max_size=30
)


@given(st.lists(st.lists(text_parts.filter(bool), max_size=6), max_size=6))
def test_marked_tokens_are_those_that_the_tokenizer_places_first_in_a_piece(documents: list[list[str]]) -> None:
    expected, unmatched = [], 0
    for pieces in documents:
        whole = TOKENIZER.encode("".join(pieces), add_special_tokens=False)
        joined = [token for piece in pieces for token in TOKENIZER.encode(piece, add_special_tokens=False).ids]
        first = {0} if whole.ids else set()
        if joined == whole.ids:
            bounds = itertools.accumulate(map(len, pieces), initial=0)
            for begin, end in itertools.pairwise(bounds):
                inside = [place for place, (start, _) in enumerate(whole.offsets) if begin <= start < end]
                first.update(inside[:1])
        else:
            unmatched += 1
        expected.append(sorted(first))
    assert mark(documents) == (expected, unmatched)


@given(st.lists(text_parts, max_size=5))
def test_split_text_is_marked_where_its_sentences_start(texts: list[str]) -> None:
    found, unmatched = mark([split_sentences(text) for text in texts])
    assert unmatched == 0
    for text, places in zip(texts, found, strict=True):
        offsets = TOKENIZER.encode(text, add_special_tokens=False).offsets
        bounds = itertools.accumulate(map(len, split_sentences(text)), initial=0)
        starts = [
            [p for p, (start, _) in enumerate(offsets) if a <= start < b][:1] for a, b in itertools.pairwise(bounds)
        ]
        assert places == [place for first in starts for place in first]


def test_a_cut_inside_a_word_marks_nothing_but_the_first_token_and_is_counted() -> None:
    assert mark([["the ", "the"], ["a th", "e b"], ["a\x00", "b a"], ["", "\x00", "a", " b"]]) == (
        [[0, 1], [0], [0], [0, 1]],
        2,
    )


def test_pieces_as_long_as_the_document_but_of_other_tokens_do_not_match() -> None:
    ids, offsets = np.array([5, 6, 7], np.uint16), np.array([0, 3])
    flags, unmatched = mark_sentence_starts(ids, offsets, np.array([5, 6, 8]), np.array([0, 1, 3]), np.array([2]))
    assert (flags.tolist(), unmatched) == ([True, False, False], 1)


def test_an_empty_piece_marks_nothing_past_the_last_document() -> None:
    ids, offsets = np.array([5, 6], np.uint16), np.array([0, 2])
    flags = np.zeros(3, np.bool_)
    sentences._mark(ids, offsets, ids, np.array([0, 2, 2]), np.array([2]), flags)
    assert flags.tolist() == [True, False, False]


@pytest.mark.parametrize("pieces_of_document", [[2], [1, 1, 0], [3, 0], [3, -1], [1, 0]])
def test_pieces_that_do_not_belong_to_the_documents_are_refused(pieces_of_document: list[int]) -> None:
    ids = np.array([5, 6], np.uint16)
    offsets = np.array([0, 1, 2])
    with pytest.raises(ValueError, match="pieces_of_document"):
        mark_sentence_starts(ids, offsets, ids, offsets, np.array(pieces_of_document))
