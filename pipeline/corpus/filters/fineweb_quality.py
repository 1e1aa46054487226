"""Drop lists and boilerplate, as FineWeb does (arXiv 2406.17557, section 3.6)."""

from __future__ import annotations

from maskmill.pipeline.corpus.filters.characters import SENTENCE_ENDS
from maskmill.pipeline.corpus.filters.decision import Decision, Dropped
from maskmill.pipeline.corpus.filters.filtered_text import FilteredText, count_repeated
from maskmill.schemas.filters import FinewebQualityFilter


def judge_fineweb_quality(document: FilteredText, settings: FinewebQualityFilter) -> Decision:
    """Look at how a document's lines end, how long they are, and how often they are repeated."""
    text = document.text
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    if not lines:
        return Dropped("no words")
    if sum(line[-1] in SENTENCE_ENDS for line in lines) / len(lines) < settings.min_end_mark_lines:
        return Dropped("too few lines end a sentence")
    if sum(len(line) <= settings.short_line for line in lines) / len(lines) > settings.max_short_lines:
        return Dropped("too many short lines")
    line_feeds = text.count("\n")
    _, repeated = count_repeated(lines)
    if repeated / (len(text) - line_feeds) > settings.max_duplicate_line_characters:
        return Dropped("too much text in repeated lines")
    if line_feeds / len(document.words) > settings.max_lines_per_word:
        return Dropped("too many lines for its words")
    return None
