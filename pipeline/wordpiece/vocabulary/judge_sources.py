"""Warnings about a tokenizer before anyone trains on it, from how it encodes each source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from maskmill.pipeline.wordpiece.files.tokenizer_files import MAX_WORD_CHARACTERS
from maskmill.schemas.counts import SourceReport
from maskmill.schemas.printable import SHOWN_IN_TABLES, make_printable
from maskmill.schemas.wording import count_of

WORTH_A_WARNING = 0.01
SHOWN_WARNINGS = 10
NAMED_SOURCES = 5
ALL = "all"
"""The name shown for a source without a name."""


def iter_warnings(
    sources: Sequence[SourceReport],
    strips_accents: bool,
    trained: bool = True,
    max_word_characters: int = MAX_WORD_CHARACTERS,
    left_out: bool = False,
) -> Iterator[str]:
    """Yield warnings about a tokenizer.

    Args:
        sources: What the tokenizer makes of each source.
        strips_accents: Whether it strips accents.
        trained: Whether the vocabulary was trained here.
        max_word_characters: Beyond which a word is [UNK].
        left_out: Whether longer words were left out of training.

    Yields:
        Sources with words that were left out, much [UNK] for want of pieces, much text in words that are too long, or
        much changed by accents.
    """
    if left_out and any(line.words_too_long for line in sources):
        yield _explain_left_out(sources, max_word_characters)
    fix = "raise tokenizer.limit_alphabet, or bring" if trained else "bring"
    unknown = [
        f"{share(line.unknown - line.words_too_long, line.tokens):.1%} of the tokens of source {name_of(line)!r} are "
        f"[UNK]: {fix} a vocabulary that has its characters"
        for line in sources
        if share(line.unknown - line.words_too_long, line.tokens) > WORTH_A_WARNING
    ]
    too_long = [
        f"{share(line.characters_too_long, line.characters):.1%} of the characters of source {name_of(line)!r} are in "
        f"{count_of(line.words_too_long, 'word')} of more than {max_word_characters} characters, which the encoder "
        "always turns into [UNK]: leave such text out, or split it by spaces"
        for line in sources
        if max(share(line.words_too_long, line.tokens), share(line.characters_too_long, line.characters))
        > WORTH_A_WARNING
    ]
    changed = [
        f"stripping accents changes {share(line.letters_changed, line.letters):.0%} of the letters of source "
        f"{name_of(line)!r}, in {share(line.words_changed, line.words):.0%} of its words: "
        "set tokenizer.strip_accents = false to keep them"
        for line in sources
        if strips_accents and share(line.letters_changed, line.letters) > WORTH_A_WARNING
    ]
    for warnings in (unknown, too_long, changed):
        yield from warnings[:SHOWN_WARNINGS]
        if len(warnings) > SHOWN_WARNINGS:
            yield f"and {len(warnings) - SHOWN_WARNINGS} more sources like these; all are in the tokenizer's manifest"


def _explain_left_out(sources: Sequence[SourceReport], max_word_characters: int) -> str:
    """How many words were left out of training, the sources with the most of them, and why."""
    concerned = sorted(
        (line for line in sources if line.words_too_long), key=lambda line: (-line.words_too_long, line.source)
    )
    named = [f"{line.words_too_long:,} in source {name_of(line)!r}" for line in concerned[:NAMED_SOURCES]]
    if len(concerned) > NAMED_SOURCES:
        rest = concerned[NAMED_SOURCES:]
        number = sum(line.words_too_long for line in rest)
        named.append(f"{number:,} in {count_of(len(rest), 'more source')}")
    total = sum(line.words_too_long for line in concerned)
    return (
        f"left out of training: {count_of(total, 'occurrence')} of words longer than {max_word_characters} characters, "
        f"{', '.join(named)}; the encoder turns each of them into [UNK], so pieces made from them would be of no use: "
        'to train on them too, set tokenizer.long_words = "train"'
    )


def name_of(line: SourceReport) -> str:
    """A source's name as it may be printed."""
    return make_printable(line.source, SHOWN_IN_TABLES) or ALL


def share(part: int, whole: int) -> float:
    """A part of a whole, 0 of nothing."""
    return part / whole if whole else 0.0
