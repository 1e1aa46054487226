"""Keep documents of some languages."""

from __future__ import annotations

from maskmill.pipeline.corpus.filters.decision import Decision, Dropped
from maskmill.pipeline.corpus.filters.filtered_text import FilteredText
from maskmill.pipeline.corpus.filters.language_model import load_language_model
from maskmill.schemas.filters import LanguageFilter


def judge_language(document: FilteredText, settings: LanguageFilter) -> Decision:
    """Find the most probable language of a document, of all that the model knows, and compare it with those to keep."""
    found = load_language_model().find_language(document.text)
    if found is None:
        return Dropped("no language is found")
    document.language = found.language
    if found.language not in settings.keep:
        return Dropped(f"is {found.language}")
    if found.probability < settings.min_probability:
        return Dropped(f"is unlikely {found.language}")
    return None
