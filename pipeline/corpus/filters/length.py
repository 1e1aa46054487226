"""Drop documents that are too short or too long."""

from __future__ import annotations

from maskmill.pipeline.corpus.filters.decision import Decision, Dropped
from maskmill.pipeline.corpus.filters.filtered_text import FilteredText
from maskmill.schemas.filters import LengthFilter


def judge_length(document: FilteredText, settings: LengthFilter) -> Decision:
    """Compare the characters and words of a document with their limits."""
    characters = len(document.text)
    if characters < settings.min_characters:
        return Dropped("too few characters")
    if settings.max_characters is not None and characters > settings.max_characters:
        return Dropped("too many characters")
    if not settings.min_words and settings.max_words is None:
        return None
    words = len(document.words)
    if words < settings.min_words:
        return Dropped("too few words")
    if settings.max_words is not None and words > settings.max_words:
        return Dropped("too many words")
    return None
