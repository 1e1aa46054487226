"""Drop documents that share text with evaluation files, or take out the part that they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from maskmill.pipeline.corpus.filters.decision import Changed, Decision, Dropped, Match
from maskmill.pipeline.corpus.filters.evaluation_index import Occurrence
from maskmill.pipeline.corpus.filters.filtered_text import FilteredText
from maskmill.schemas.filters import Action, DecontaminationFilter

EXCERPT = 100
"""Characters on each side of an n-gram that are shown."""
NEAR = 50
"""Most characters by which a window grows to end at white space."""
MATCHES = "shares text with evaluation files"


def decontaminate(document: FilteredText, settings: DecontaminationFilter) -> Decision:
    """Look for every n-gram of a document in the evaluation text."""
    if document.evaluation is None:
        raise ValueError("a run with decontamination and without an index of the evaluation text")
    if settings.action is Action.DROP:
        matches = _describe(document.text, document.evaluation.iter_found(document.text, once=True))
        return Dropped(MATCHES, matches) if matches else None
    spans: list[tuple[int, int]] = []
    matches = _describe(document.text, _join_spans(document.evaluation.iter_found(document.text), spans))
    if not matches:
        return None
    text = document.text
    while spans:  # what a cut brings together may be an n-gram too
        text = cut_out(text, spans, settings.window)
        spans = []
        for _ in _join_spans(document.evaluation.iter_found(text), spans):
            pass
    return Changed(text, matches) if text else Dropped("nothing is left without evaluation text", matches)


def _join_spans(found: Iterable[Occurrence], spans: list[tuple[int, int]]) -> Iterator[Occurrence]:
    """Pass on what is found, and add its spans, joined where one begins in the one before."""
    for one in found:
        if spans and spans[-1][0] <= one.start <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(spans[-1][1], one.stop)
        else:
            spans.append((one.start, one.stop))
        yield one


def cut_out(text: str, spans: list[tuple[int, int]], window: int) -> str:
    """A text without some spans and `window` characters around each, up to the next white space if it is near.

    What is left is stripped, and its pieces are joined by a blank line.
    """
    pieces: list[str] = []
    kept_from = 0
    for start, stop in sorted(spans):
        begin, end = max(0, start - window), min(len(text), stop + window)
        first, last = max(kept_from, begin - NEAR), min(len(text), end + NEAR)
        begin = next((place for place in range(begin, first, -1) if text[place - 1].isspace()), first)
        end = next((place for place in range(end, last) if text[place].isspace()), last)
        if begin > kept_from:
            pieces.append(text[kept_from:begin])
        kept_from = max(kept_from, end)
    pieces.append(text[kept_from:])
    return "\n\n".join(filter(None, map(str.strip, pieces)))


def _describe(text: str, found: Iterable[Occurrence]) -> tuple[Match, ...]:
    """The first n-gram of each evaluation file, in order."""
    first: dict[str, Occurrence] = {}
    for one in found:
        before = first.setdefault(one.file, one)
        if (one.start, one.stop) < (before.start, before.stop):
            first[one.file] = one
    in_order = sorted(first.values(), key=lambda one: (one.start, one.stop, one.file))
    return tuple(Match(one.file, one.ngram, text[max(0, one.start - EXCERPT) : one.stop + EXCERPT]) for one in in_order)
