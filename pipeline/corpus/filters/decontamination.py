"""Drop documents that share text with evaluation files, or take out the part that they share."""

from __future__ import annotations

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
    found = document.evaluation.find(document.text)
    if not found:
        return None
    matches = _describe(document.text, found)
    if settings.action is Action.DROP:
        return Dropped(MATCHES, matches)
    text = cut_out(document.text, [(one.start, one.stop) for one in found], settings.window)
    return Changed(text, matches) if text else Dropped("nothing is left without evaluation text", matches)


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


def _describe(text: str, found: list[Occurrence]) -> tuple[Match, ...]:
    """The first n-gram of each evaluation file."""
    first: dict[str, Match] = {}
    for one in found:
        around = text[max(0, one.start - EXCERPT) : one.stop + EXCERPT]
        first.setdefault(one.file, Match(one.file, one.ngram, around))
    return tuple(first.values())
