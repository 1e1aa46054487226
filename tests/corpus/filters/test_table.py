"""Documents pass the filters that are on in their order; what is dropped is counted by reason and by source."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.corpus.filters import table
from maskmill.pipeline.corpus.filters.decision import Changed, Dropped
from maskmill.pipeline.corpus.formats.document_block import DocumentBlock
from maskmill.pipeline.corpus.source_tally import REASON, SourceTally
from maskmill.schemas.filters import FiltersSection

SHORT = {"length": {"min_words": 3}}
NO_X = {"regex": {"drop": {"*": ["x"]}, "drop_lines": {"b": ["y"]}}}


def settings_of(filters: dict[str, object]) -> FiltersSection:
    return FiltersSection.model_validate(filters)


def test_the_first_filter_that_drops_a_text_is_the_reason() -> None:
    both = settings_of(SHORT | NO_X)
    assert table.filter_text("x", "a", both) == Dropped("regex: matches drop")
    assert table.filter_text("a", "a", both) == Dropped("length: too few words")
    assert table.filter_text("a b c", "a", both) is None


def test_a_filter_looks_at_what_the_one_before_has_left() -> None:
    both = settings_of(SHORT | NO_X)
    assert table.filter_text("a b c\ny", "a", both) is None
    assert table.filter_text("a b c\ny", "b", both) == Changed("a b c")
    assert table.filter_text("a b\ny", "b", both) == Dropped("length: too few words")
    sentence = "They have used the [1] house."
    c4 = {"c4_lines": {"min_sentences": 1}, "fineweb_quality": {"max_lines_per_word": 0.0, "short_line": 9}}
    assert table.filter_text(f"{sentence}\nmenu", "a", settings_of(c4)) == Changed("They have used the  house.")
    assert table.filter_text(f"{sentence}\n{sentence}s.", "a", settings_of(c4)) == Dropped(
        "fineweb_quality: too many lines for its words"
    )


sources = st.sampled_from(["a", "b", "ü: c", ""])


@given(st.lists(st.tuples(st.sampled_from(["x", "a", "a b c", "a b c\ny", "y"]), sources), max_size=20))
def test_a_block_keeps_the_documents_that_no_filter_drops(documents: list[tuple[str, str]]) -> None:
    filters = settings_of(SHORT | NO_X)
    block = DocumentBlock(
        doc_id=[f"d{number}" for number in range(len(documents))],
        source=[source for _, source in documents],
        line=list(range(1, len(documents) + 1)),
        text=[text.encode() for text, _ in documents],
        is_numbered=[number % 2 == 0 for number in range(len(documents))],
        without_source=4,
    )
    counts, by_source = Counter[str](), SourceTally()
    kept = table.filter_block(block, filters, counts, by_source)
    expected, reasons, dropped = [], Counter[str](), Counter[str]()
    for number, (text, source) in enumerate(documents):
        decision = table.filter_text(text, source, filters)
        if isinstance(decision, Dropped):
            reasons[decision.reason] += 1
            dropped[source] += 1
        else:
            left = decision.text if isinstance(decision, Changed) else text
            expected.append((f"d{number}", source, number + 1, left.encode(), number % 2 == 0))
    columns = (kept.doc_id, kept.source, kept.line, kept.text, kept.is_numbered)
    assert list(zip(*columns, strict=True)) == expected
    assert (kept.without_source, kept.rejects) == (4, [])
    assert counts[table.FILTERED] == reasons.total()
    assert table.count_by(REASON, counts) == dict(sorted(reasons.items()))
    tallied = by_source.tallied().counts
    assert {source: own[table.FILTERED] for source, own in tallied.items()} == dropped
