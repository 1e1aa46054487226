"""Drop documents that do not look like prose, by Gopher's rules (arXiv 2112.11446, appendix A.1.1)."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.pipeline.corpus.filters.characters import PUNCTUATION, CodePoints
from maskmill.pipeline.corpus.filters.decision import Decision, Dropped
from maskmill.pipeline.corpus.filters.filtered_text import FilteredText
from maskmill.schemas.filters import GopherQualityFilter

IS_PUNCTUATION, IS_LETTER = 1, 2
NUM_CODE_POINTS = 0x110000
BULLETS = ("•", "-")
ELLIPSES = ("...", "…")


def judge_gopher_quality(document: FilteredText, settings: GopherQualityFilter) -> Decision:
    """Compare a document's words and lines with their limits."""
    if not document.words:
        return Dropped("no words")
    return _judge_words(document, settings) or _judge_lines(document, settings) or _judge_language(document, settings)


def _judge_words(document: FilteredText, settings: GopherQualityFilter) -> Decision:
    """How many words there are, and how long: those that are not punctuation alone."""
    real, letters = _count_words(document.letters, document.word_ends, _classes())[:2]
    if real < settings.min_words:
        return Dropped("too few words")
    if real > settings.max_words:
        return Dropped("too many words")
    if real and letters / real < settings.min_mean_word_length:
        return Dropped("words too short")
    if real and letters / real > settings.max_mean_word_length:
        return Dropped("words too long")
    return None


def _judge_lines(document: FilteredText, settings: GopherQualityFilter) -> Decision:
    """Whether it is a list, or cut off again and again."""
    text, num_words = document.text, len(document.words)
    if text.count("#") / num_words > settings.max_symbols_per_word:
        return Dropped("too many hashes")
    if sum(map(text.count, ELLIPSES)) / num_words > settings.max_symbols_per_word:
        return Dropped("too many ellipses")
    lines = text.splitlines()
    if sum(line.lstrip().startswith(BULLETS) for line in lines) / len(lines) > settings.max_bullet_lines:
        return Dropped("too many bullet points")
    if sum(line.rstrip().endswith(ELLIPSES) for line in lines) / len(lines) > settings.max_ellipsis_lines:
        return Dropped("too many lines end with an ellipsis")
    return None


def _judge_language(document: FilteredText, settings: GopherQualityFilter) -> Decision:
    """Whether its words are those of a language."""
    alphabetic = _count_words(document.letters, document.word_ends, _classes())[2]
    if alphabetic / len(document.words) < settings.min_alphabetic_words:
        return Dropped("too few words with letters")
    if settings.min_stop_words:
        found = frozenset(settings.stop_words).intersection(document.words)
        if len(found) < settings.min_stop_words:
            return Dropped("too few stop words")
    return None


@cache
def _classes() -> npt.NDArray[np.uint8]:
    """`(NUM_CODE_POINTS,)` whether each code point is punctuation and whether it is a letter, as bits."""
    classes = np.zeros(NUM_CODE_POINTS, np.uint8)
    classes[[code for code in range(NUM_CODE_POINTS) if chr(code).isalpha()]] = IS_LETTER
    classes[list(map(ord, PUNCTUATION))] |= IS_PUNCTUATION
    return classes


@njit(cache=True, nogil=True)
def _count_words(
    letters: CodePoints, word_ends: npt.NDArray[np.int64], classes: npt.NDArray[np.uint8]
) -> tuple[int, int, int]:
    """Words that are not all punctuation, their characters, and words with a letter."""
    real = real_letters = alphabetic = 0
    for word in range(len(word_ends) - 1):
        start, stop = word_ends[word], word_ends[word + 1]
        all_classes, any_class = np.uint8(255), np.uint8(0)
        for place in range(start, stop):
            kind = classes[letters[place]]
            all_classes &= kind
            any_class |= kind
        if not all_classes & IS_PUNCTUATION:
            real += 1
            real_letters += stop - start
        if any_class & IS_LETTER:
            alphabetic += 1
    return real, real_letters, alphabetic
