"""Each filter decides what its rules say, for any text and any limits; the rules are those of `rules`."""

# ruff: noqa: RUF001, SIM905  # letters that look alike are what is tested, and words are easier to read in one text

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.corpus.filters import count_ngrams
from maskmill.pipeline.corpus.filters.c4_lines import drop_c4_lines
from maskmill.pipeline.corpus.filters.characters import PUNCTUATION, SENTENCE_ENDS
from maskmill.pipeline.corpus.filters.decision import Changed, Decision, Dropped
from maskmill.pipeline.corpus.filters.filtered_text import FilteredText
from maskmill.pipeline.corpus.filters.fineweb_quality import judge_fineweb_quality
from maskmill.pipeline.corpus.filters.gopher_quality import judge_gopher_quality
from maskmill.pipeline.corpus.filters.gopher_repetition import judge_gopher_repetition
from maskmill.pipeline.corpus.filters.length import judge_length
from maskmill.pipeline.corpus.filters.regex import judge_by_regex
from maskmill.schemas.filters import (
    C4LinesFilter,
    FinewebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LengthFilter,
    RegexFilter,
)
from tests.corpus.filters import rules

WORDS = (
    'the be to of and that have with a b ab ba aa bb cat. dog! "Who?" end.) ... … # ## - •x --- 12 3,4 ١٢ é '
    "[1] [edit] 日本語。 １ a[23]. [citation needed] JavaScript Lorem ipsum lorem ipsum. { use cookies. Terms of use "
    "\x00 𝒜𝒷 x... . "
).split(" ")
"""The last of them is empty, so that white space may follow white space."""
SPACES = (" ", " ", " ", "\n", "\n", "\n\n", "\n\n\n", " \n ", "\t", "\u3000", "\u2028", "\x1c", "\r\n", "  ", "")
texts = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(SPACES)), min_size=1, max_size=60).map(
    lambda pairs: "".join(word + space for word, space in pairs)
)
one_line = st.lists(st.sampled_from("the be of a b ab ba aa x".split()), min_size=1, max_size=80).map(" ".join)
documents = (texts | one_line).filter(bool)
shares = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0])
ratios = st.sampled_from([0.0, 0.05, 0.1, 0.3, 1.0, 2.0])
sizes = st.integers(0, 40)


def limits_of(kind: type, **keys: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Settings of which one or two are drawn and the others limit nothing, so that each is decisive at times."""
    names = st.lists(st.sampled_from(sorted(keys)), min_size=1, max_size=2, unique=True)
    drawn = names.flatmap(lambda chosen: st.fixed_dictionaries({name: keys[name] for name in chosen}))
    return drawn.map(lambda values: kind(**LOOSE.get(kind, {}) | values))


LOOSE: dict[type, dict[str, object]] = {
    GopherRepetitionFilter: {
        "max_duplicate_lines": 1.0,
        "max_duplicate_line_characters": 1.0,
        "max_duplicate_paragraphs": 1.0,
        "max_duplicate_paragraph_characters": 1.0,
        "max_top_ngrams": (),
        "max_duplicate_ngrams": (),
    },
    GopherQualityFilter: {
        "min_words": 0,
        "min_mean_word_length": 0.0,
        "max_mean_word_length": 1000.0,
        "max_symbols_per_word": 1000.0,
        "max_bullet_lines": 1.0,
        "max_ellipsis_lines": 1.0,
        "min_alphabetic_words": 0.0,
        "min_stop_words": 0,
    },
    FinewebQualityFilter: {
        "min_end_mark_lines": 0.0,
        "max_short_lines": 1.0,
        "max_duplicate_line_characters": 1.0,
        "max_lines_per_word": 1000.0,
    },
}
ngrams = st.lists(st.tuples(st.integers(1, 6), ratios), max_size=3).map(tuple)


@given(documents, sizes, sizes, sizes, sizes)
def test_length(text: str, fewest: int, more: int, fewest_words: int, more_words: int) -> None:
    limits = LengthFilter(
        min_characters=fewest + 1,
        max_characters=fewest + 1 + more * 5,
        min_words=fewest_words,
        max_words=fewest_words + 1 + more_words,
    )
    assert isinstance(judge_length(FilteredText(text), limits), Dropped) == rules.drops_length(text, limits)


@settings(max_examples=400)
@given(
    documents,
    limits_of(
        GopherRepetitionFilter,
        **{name: ngrams if "ngrams" in name else shares for name in GopherRepetitionFilter.model_fields},
    ),
)
def test_gopher_repetition(text: str, limits: GopherRepetitionFilter) -> None:
    decision = judge_gopher_repetition(FilteredText(text), limits)
    assert isinstance(decision, Dropped) == rules.drops_gopher_repetition(text, limits), decision


@settings(max_examples=400)
@given(
    documents,
    limits_of(
        GopherQualityFilter,
        min_words=sizes,
        max_words=sizes.map(lambda size: size + 1),
        min_mean_word_length=ratios,
        max_mean_word_length=st.sampled_from([1.0, 1.5, 2.0, 3.0]),
        max_symbols_per_word=ratios,
        max_bullet_lines=shares,
        max_ellipsis_lines=shares,
        min_alphabetic_words=shares,
        min_stop_words=st.integers(0, 4),
    ),
)
def test_gopher_quality(text: str, limits: GopherQualityFilter) -> None:
    decision = judge_gopher_quality(FilteredText(text), limits)
    assert isinstance(decision, Dropped) == rules.drops_gopher_quality(text, limits), decision


flags = {name: st.booleans() for name, field in C4LinesFilter.model_fields.items() if field.annotation is bool}


@settings(max_examples=400)
@given(
    documents,
    limits_of(
        C4LinesFilter,
        min_sentences=st.integers(0, 4),
        min_words=st.integers(0, 4),
        max_word_length=st.integers(1, 8),
        **flags,
    ),
)
def test_c4_lines(text: str, chosen: C4LinesFilter) -> None:
    decision = drop_c4_lines(FilteredText(text), chosen)
    left = rules.keep_c4_lines(text, chosen)
    assert decision != Changed(text)
    if left is None:
        assert isinstance(decision, Dropped)
    else:
        assert (decision.text if isinstance(decision, Changed) else text) == left


@settings(max_examples=400)
@given(
    documents,
    limits_of(
        FinewebQualityFilter,
        min_end_mark_lines=shares,
        max_short_lines=shares,
        short_line=sizes,
        max_duplicate_line_characters=shares,
        max_lines_per_word=ratios,
    ),
)
def test_fineweb_quality(text: str, limits: FinewebQualityFilter) -> None:
    decision = judge_fineweb_quality(FilteredText(text), limits)
    assert isinstance(decision, Dropped) == rules.drops_fineweb_quality(text, limits), decision


@pytest.mark.parametrize("limit", [0.05, 0.1, 0.2])
def test_the_published_limits_let_prose_pass_and_drop_what_repeats_itself(limit: float) -> None:
    words = [f"{first}{second}" for first in "word from that with have".split() for second in "abcdefghijklmnop"]
    prose = "".join(f"The {word} of a {word}s house and that. " for word in words)
    limits = GopherRepetitionFilter(max_top_ngrams=((2, limit),))
    assert judge_gopher_repetition(FilteredText(" ".join(words)), limits) is None
    assert judge_gopher_repetition(FilteredText("the same words " * 20), limits) == Dropped(
        "too much text in one 2-gram"
    )
    assert judge_gopher_quality(FilteredText(prose), GopherQualityFilter()) is None


BOUNDS: list[tuple[str, type, dict[str, object], bool]] = [
    ("1234567\na long line.", FinewebQualityFilter, {"short_line": 7, "max_short_lines": 0.4}, True),
    ("1234567\na long line.", FinewebQualityFilter, {"short_line": 6, "max_short_lines": 0.4}, False),
    ("x.\n \n\t\nabc", FinewebQualityFilter, {"min_end_mark_lines": 0.5}, False),
    ("x.\n \n\t\nabc\nd", FinewebQualityFilter, {"min_end_mark_lines": 0.5}, True),
    ("\n\na\n\n", GopherRepetitionFilter, {"max_duplicate_paragraphs": 0.2}, False),
    ("\n\na\n\n\na\n\n", GopherRepetitionFilter, {"max_duplicate_paragraphs": 0.4}, True),
    ("a -- b.. ...", GopherQualityFilter, {"min_words": 3}, True),
    ("a -- b.. ...", GopherQualityFilter, {"min_words": 2}, False),
    ("abc -----", GopherQualityFilter, {"max_mean_word_length": 3.0}, False),
    ("abc -----.1", GopherQualityFilter, {"max_mean_word_length": 3.0}, True),
    ("a1- 2 3 4", GopherQualityFilter, {"min_alphabetic_words": 0.25}, False),
    ("a1- 2 3 4 5", GopherQualityFilter, {"min_alphabetic_words": 0.25}, True),
]


@pytest.mark.parametrize(("text", "kind", "keys", "is_dropped"), BOUNDS)
def test_the_bounds_themselves(text: str, kind: type, keys: dict[str, object], is_dropped: bool) -> None:
    judges: dict[type, Callable[[FilteredText, Any], Decision]] = {
        FinewebQualityFilter: judge_fineweb_quality,
        GopherRepetitionFilter: judge_gopher_repetition,
        GopherQualityFilter: judge_gopher_quality,
    }
    decision = judges[kind](FilteredText(text), kind(**LOOSE[kind] | keys))
    assert isinstance(decision, Dropped) == is_dropped, decision


def test_ngrams_with_equal_hashes_are_told_apart() -> None:
    words = "a b c a b d a b c ab c d".split()
    text = FilteredText(" ".join(words))
    hashed = np.zeros((len(words), 4), np.int64)  # all equal
    numbers = count_ngrams.number_words(text.letters, text.word_ends, hashed)
    assert numbers.tolist() == [words.index(word) for word in words]
    joined = ["".join(words[start : start + 2]) for start in range(len(words) - 1)]
    found = count_ngrams.count_repeated_ngrams(text.letters, text.word_ends, hashed, 2)
    start, seen, expected = 0, set[str](), 0
    while start < len(joined):
        expected += len(joined[start]) if joined[start] in seen else 0
        start, _ = start + (2 if joined[start] in seen else 1), seen.add(joined[start])
    assert found == expected > 0


@given(one_line)
def test_equal_words_have_equal_hashes(text: str) -> None:
    document = FilteredText(text)
    hashed = count_ngrams.hash_words(document.letters, document.word_ends)
    by_word = {word: tuple(row) for word, row in zip(document.words, hashed.tolist(), strict=True)}
    assert [by_word[word] for word in document.words] == [tuple(row) for row in hashed.tolist()]
    assert len(set(by_word.values())) == len(by_word)
    top = Counter(document.words).most_common(1)[0]
    numbers = count_ngrams.number_words(document.letters, document.word_ends, hashed)
    assert count_ngrams.count_top_ngram(numbers, document.word_ends, 1) == len(top[0]) * top[1]


def test_classes_of_characters() -> None:
    assert rules.ENDS <= SENTENCE_ENDS
    assert rules.MARKS <= PUNCTUATION
    assert len(SENTENCE_ENDS) == 159
    assert not {"\n", "\t", " ", "a", "é", "日", "0"} & PUNCTUATION
    assert {chr(code) for code in range(0x20)} - {"\n", "\t"} <= PUNCTUATION


def regex(text: str, source: str = "s", **keys: object) -> object:
    decision = judge_by_regex(FilteredText(text, source), RegexFilter.model_validate(keys))
    return decision.text if isinstance(decision, Changed) else decision and decision.reason


def test_regular_expressions_are_those_of_the_source_and_of_all() -> None:
    assert regex("ab", drop={"s": ["b$"]}) == "matches drop"
    assert regex("ab", drop={"t": ["b$"]}) is None
    assert regex("ab", drop={"*": ["^b"], "s": ["c"]}) is None
    assert regex("ab", drop={"*": ["b"], "s": ["c"]}) == "matches drop"
    assert regex("ab", "*", drop={"*": ["b"]}) == "matches drop"
    assert regex("ab", need={"s": ["a", "c"]}) == "does not match need"
    assert regex("ab", need={"s": ["a", "b"], "t": ["c"]}) is None
    assert regex("a\nB\nc", drop_lines={"*": ["(?i)b"]}) == "a\nc"
    assert regex("a\n\nB", drop_lines={"*": ["B"]}) == "a\n"
    assert regex("b\nab", drop_lines={"*": ["b"]}) == "no line is left"
    assert regex("b\nc", drop_lines={"*": ["b"]}, drop={"*": ["b"]}) == "c"
    assert regex("b\nc", drop_lines={"*": ["b"]}, need={"*": ["b"]}) == "does not match need"
