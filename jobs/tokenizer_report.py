"""What a tokenizer makes of the text, for a person: a table a tokenizer, or several side by side, and warnings.

`maskmill.jobs.terms` explains the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.table import Table

from maskmill.pipeline.wordpiece.files.tokenizer_files import MAX_WORD_CHARACTERS
from maskmill.schemas.counts import SourceReport
from maskmill.schemas.printable import SHOWN_IN_TABLES, make_printable
from maskmill.schemas.wording import count_of

WORTH_A_WARNING = 0.01
SHOWN_SOURCES = 30
SHOWN_WARNINGS = 10
NAMED_SOURCES = 5
ALL = "all"


_MEASURES: dict[str, Callable[[SourceReport], str]] = {
    "text": lambda line: f"{line.text_bytes / 1e6:,.1f} MB",
    "coverage": lambda line: _percent(1 - _share(line.characters_unknown, line.characters)),
    "[UNK]": lambda line: _percent(_share(line.unknown, line.tokens)),
    "accents": lambda line: _percent(_share(line.letters_changed, line.letters)),
    "tokens/word": lambda line: f"{_share(line.tokens, line.words):.3f}",
    "bytes/token": lambda line: f"{_share(line.text_bytes, line.tokens):.2f}",
}
_COMPARED = ("tokens/word", "bytes/token", "[UNK]", "coverage")


def table_of_sources(sources: Sequence[SourceReport]) -> Table:
    """One line a source, those with the most text first, and one for all of them."""
    table = _start_table(list(_MEASURES))
    for line in _shown(sources):
        table.add_row(_name(line), *(measure(line) for measure in _MEASURES.values()))
    if len(sources) > SHOWN_SOURCES:
        table.caption = f"the {SHOWN_SOURCES} sources with the most text of {len(sources):,}; all are in the manifest"
        table.caption_justify = "left"
    return table


def tables_side_by_side(tokenizers: Mapping[str, Sequence[SourceReport]]) -> Iterator[Table]:
    """Tokenizers measured on the same text: a table a measure, a column a tokenizer, one line a source."""
    shown = [_shown(sources) for sources in tokenizers.values()]
    for measure in _COMPARED:
        table = _start_table(list(tokenizers), measure)
        for lines in zip(*shown, strict=True):
            table.add_row(_name(lines[0]), *(_MEASURES[measure](line) for line in lines))
        yield table


def _start_table(columns: Sequence[str], first: str = "source") -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    return table


def iter_warnings(
    sources: Sequence[SourceReport],
    strips_accents: bool,
    trained: bool = True,
    max_word_characters: int = MAX_WORD_CHARACTERS,
    left_out: bool = False,
) -> Iterator[str]:
    """What a person should know before training on this.

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
        f"{_share(line.unknown - line.words_too_long, line.tokens):.1%} of the tokens of source {_name(line)!r} are "
        f"[UNK]: {fix} a vocabulary that has its characters"
        for line in sources
        if _share(line.unknown - line.words_too_long, line.tokens) > WORTH_A_WARNING
    ]
    too_long = [
        f"{_share(line.characters_too_long, line.characters):.1%} of the characters of source {_name(line)!r} are in "
        f"{count_of(line.words_too_long, 'word')} of more than {max_word_characters} characters, which the encoder "
        "always turns into [UNK]: leave such text out, or split it by spaces"
        for line in sources
        if max(_share(line.words_too_long, line.tokens), _share(line.characters_too_long, line.characters))
        > WORTH_A_WARNING
    ]
    changed = [
        f"stripping accents changes {_share(line.letters_changed, line.letters):.0%} of the letters of source "
        f"{_name(line)!r}, in {_share(line.words_changed, line.words):.0%} of its words: "
        "set tokenizer.strip_accents = false to keep them"
        for line in sources
        if strips_accents and _share(line.letters_changed, line.letters) > WORTH_A_WARNING
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
    named = [f"{line.words_too_long:,} in source {_name(line)!r}" for line in concerned[:NAMED_SOURCES]]
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


def _shown(sources: Sequence[SourceReport]) -> list[SourceReport]:
    largest = sorted(sources, key=lambda line: (-line.text_bytes, line.source))[:SHOWN_SOURCES]
    return [*largest, _total(sources)] if len(sources) > 1 else largest


def _total(sources: Sequence[SourceReport]) -> SourceReport:
    numbers = SourceReport.model_fields.keys() - {"source"}
    sums = {name: sum(getattr(line, name) for line in sources) for name in numbers}
    return SourceReport(source=ALL, **sums)


def _name(line: SourceReport) -> str:
    return make_printable(line.source, SHOWN_IN_TABLES) or ALL


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _percent(share: float) -> str:
    return f"{share:.2%}"
