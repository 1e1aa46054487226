"""Drop documents, or lines of them, by regular expressions for each source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from maskmill.pipeline.corpus.filters.decision import Changed, Decision, Dropped
from maskmill.pipeline.corpus.filters.filtered_text import FilteredText
from maskmill.schemas.filters import EVERY_SOURCE, RegexFilter


def judge_by_regex(document: FilteredText, settings: RegexFilter) -> Decision:
    """Take out lines first, then look for what must and must not be in the text."""
    text = document.text
    if patterns := _patterns_of(settings.drop_lines, document.source):
        lines = text.split("\n")
        kept = [line for line in lines if not any(pattern.search(line) for pattern in patterns)]
        text = text if len(kept) == len(lines) else "\n".join(kept)
        if not text:
            return Dropped("no line is left")
    if any(pattern.search(text) for pattern in _patterns_of(settings.drop, document.source)):
        return Dropped("matches drop")
    if not all(pattern.search(text) for pattern in _patterns_of(settings.need, document.source)):
        return Dropped("does not match need")
    return None if text is document.text else Changed(text)


def _patterns_of(patterns: Mapping[str, tuple[str, ...]], source: str) -> list[re.Pattern[str]]:
    return [_compile(pattern) for name in (EVERY_SOURCE, source) for pattern in patterns.get(name, ())]


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    """Compile an expression once: the cache of `re` is smaller than what a run file may have."""
    return re.compile(pattern)
