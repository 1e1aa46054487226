"""Drop documents that repeat themselves, by Gopher's rules (arXiv 2112.11446, appendix A.1.1 and table A1)."""

from __future__ import annotations

import re

from maskmill.pipeline.corpus.filters.count_ngrams import (
    count_repeated_ngrams,
    count_top_ngram,
    hash_words,
    number_words,
)
from maskmill.pipeline.corpus.filters.decision import Decision, Dropped
from maskmill.pipeline.corpus.filters.filtered_text import FilteredText, count_repeated
from maskmill.schemas.filters import GopherRepetitionFilter

PARAGRAPH_END = re.compile(r"\n{2,}")
LINE_END = re.compile(r"\n+")


def judge_gopher_repetition(document: FilteredText, settings: GopherRepetitionFilter) -> Decision:
    """Compare what is repeated in a document with its limits: paragraphs, lines, and n-grams of words."""
    text = document.text
    paragraphs = PARAGRAPH_END.split(text.strip())
    repeated, characters = count_repeated(paragraphs)
    if repeated / len(paragraphs) > settings.max_duplicate_paragraphs:
        return Dropped("too many repeated paragraphs")
    if characters / len(text) > settings.max_duplicate_paragraph_characters:
        return Dropped("too much text in repeated paragraphs")
    lines = LINE_END.split(text)
    repeated, characters = count_repeated(lines)
    if repeated / len(lines) > settings.max_duplicate_lines:
        return Dropped("too many repeated lines")
    if characters / len(text) > settings.max_duplicate_line_characters:
        return Dropped("too much text in repeated lines")
    return _judge_ngrams(document, settings)


def _judge_ngrams(document: FilteredText, settings: GopherRepetitionFilter) -> Decision:
    letters, ends, num_characters = document.letters, document.word_ends, len(document.text)
    hashed = hash_words(letters, ends)
    if settings.max_top_ngrams:
        numbers = number_words(letters, ends, hashed)
        for num_words, most in settings.max_top_ngrams:
            if count_top_ngram(numbers, ends, num_words) / num_characters > most:
                return Dropped(f"too much text in one {num_words}-gram")
    for num_words, most in settings.max_duplicate_ngrams:
        if count_repeated_ngrams(letters, ends, hashed, num_words) / num_characters > most:
            return Dropped(f"too much text in repeated {num_words}-grams")
    return None
