"""The rules of the filters once more, word by word and in plain Python: what the fast code must decide."""

# ruff: noqa: RUF001  # punctuation that looks alike is what is tested

from __future__ import annotations

import re
from collections import Counter
from itertools import groupby

from maskmill.schemas.filters import (
    C4LinesFilter,
    FinewebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LengthFilter,
)

MARKS = set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«´»‼‽–—’“”„…∶━►、。〈〉《》「」【】！％（），．１：；？～｡।؟\x00\x7f")
"""Punctuation of the texts of the tests, in which no other is."""
ENDS = set(".!?‼‽。！．？｡।؟")


def share_of(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def repeated(parts: list[str]) -> list[str]:
    return [part for place, part in enumerate(parts) if part in parts[:place]]


def drops_length(text: str, limits: LengthFilter) -> bool:
    def is_outside(count: int, least: int, most: int | None) -> bool:
        return count < least or (most is not None and count > most)

    words = sum(1 for is_space, _ in groupby(text, str.isspace) if not is_space)
    return is_outside(len(text), limits.min_characters, limits.max_characters) or is_outside(
        words, limits.min_words, limits.max_words
    )


def drops_gopher_repetition(text: str, limits: GopherRepetitionFilter) -> bool:
    lines = re.sub("\n+", "\n", text).split("\n")
    paragraphs = re.sub("\n\n+", "\0\0", text.strip()).split("\0\0")
    words = text.split()
    over = [
        share_of(len(repeated(parts)), len(parts)) > most
        for parts, most in ((lines, limits.max_duplicate_lines), (paragraphs, limits.max_duplicate_paragraphs))
    ]
    over += [
        share_of(len("".join(repeated(parts))), len(text)) > most
        for parts, most in (
            (lines, limits.max_duplicate_line_characters),
            (paragraphs, limits.max_duplicate_paragraph_characters),
        )
    ]
    for size, most in limits.max_top_ngrams:
        ngrams = [" ".join(words[start : start + size]) for start in range(len(words) - size + 1)]
        best = max(ngrams, key=lambda ngram: (ngrams.count(ngram), -ngrams.index(ngram)), default="")
        over.append(share_of(len(best) * ngrams.count(best), len(text)) > most)
    for size, most in limits.max_duplicate_ngrams:
        start, seen, characters = 0, list[str](), 0
        while start + size <= len(words):
            ngram = "".join(words[start : start + size])
            characters += len(ngram) if ngram in seen else 0
            start += size if ngram in seen else 1
            seen.append(ngram)
        over.append(share_of(characters, len(text)) > most)
    return any(over)


def drops_gopher_quality(text: str, limits: GopherQualityFilter) -> bool:
    words, lines = text.split(), text.splitlines()
    if not words:
        return True
    real = [word for word in words if set(word) - MARKS]
    mean = share_of(sum(map(len, real)), len(real))
    bullets = [line for line in lines if re.match(r"\s*[•-]", line)]
    trailing = [line for line in lines if re.search(r"(\.\.\.|…)\s*\Z", line)]
    ellipses = len(re.findall(r"\.\.\.|…", text))
    letters = [word for word in words if any(map(str.isalpha, word))]
    return any(
        [
            not limits.min_words <= len(real) <= limits.max_words,
            bool(real) and not limits.min_mean_word_length <= mean <= limits.max_mean_word_length,
            max(ellipses, Counter(text)["#"]) / len(words) > limits.max_symbols_per_word,
            len(bullets) / len(lines) > limits.max_bullet_lines,
            len(trailing) / len(lines) > limits.max_ellipsis_lines,
            len(letters) / len(words) < limits.min_alphabetic_words,
            len({word for word in words if word in limits.stop_words}) < limits.min_stop_words,
        ]
    )


def keep_c4_lines(text: str, rules: C4LinesFilter) -> str | None:
    """The text that is left; `None` where the document is dropped."""
    kept, sentences = [], 0
    for line in (line.strip() for line in text.splitlines()):
        words = line.split()
        if rules.citations:
            line = re.sub(r"\[[0-9]*\]|\[edit\]|\[citation needed\]", "", line)
        is_sentence = not rules.end_mark or (line[-1:] in (".", "?", "!", '"', "'") and not line.endswith("..."))
        if not is_sentence or len(words) < rules.min_words or max(map(len, words), default=0) > rules.max_word_length:
            continue
        lower = line.lower()
        if rules.lorem_ipsum and lower.count("lorem ipsum"):
            return None
        if rules.javascript and lower.count("javascript"):
            continue
        if rules.curly_bracket and line.count("{"):
            return None
        phrases = (
            "terms of use",
            "privacy policy",
            "cookie policy",
            "uses cookies",
            "use of cookies",
            "use cookies",
        )
        if rules.policy and any(map(lower.count, phrases)):
            continue
        closers = "\"'”’»)]"
        ends = [
            place
            for place, letter in enumerate(line)
            if letter in ".!?" and line[place + 1 :].lstrip(closers)[:1].strip() == ""
        ]
        sentences += max(1, len(ends))
        kept.append(line)
    left = "\n".join(kept).strip()
    return left if left and sentences >= rules.min_sentences else None


def drops_fineweb_quality(text: str, limits: FinewebQualityFilter) -> bool:
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        return True
    ending = [line for line in lines if line[-1] in ENDS]
    short = [line for line in lines if len(line) <= limits.short_line]
    return any(
        [
            len(ending) / len(lines) < limits.min_end_mark_lines,
            len(short) / len(lines) > limits.max_short_lines,
            len("".join(repeated(lines))) / len("".join(text.split("\n"))) > limits.max_duplicate_line_characters,
            Counter(text)["\n"] / len(text.split()) > limits.max_lines_per_word,
        ]
    )
