"""What a tokenizer makes of the text, for a person: a table a tokenizer, or several side by side, and warnings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.table import Table

from schemas.counts import SourceReport

WORTH_A_WARNING = 0.01
SHOWN_SOURCES = 30
SHOWN_WARNINGS = 10
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


def iter_warnings(sources: Sequence[SourceReport], strips_accents: bool, trained: bool = True) -> Iterator[str]:
    """What a person should know before training on this: sources with much [UNK], or much changed by accents."""
    mend = "raise tokenizer.limit_alphabet, or bring" if trained else "bring"
    unknown = [
        f"{_share(line.unknown, line.tokens):.1%} of the tokens of source {_name(line)!r} are [UNK]: "
        f"{mend} a vocabulary that has its characters"
        for line in sources
        if _share(line.unknown, line.tokens) > WORTH_A_WARNING
    ]
    changed = [
        f"stripping accents changes {_share(line.letters_changed, line.letters):.0%} of the letters of source "
        f"{_name(line)!r}: set tokenizer.strip_accents = false to keep them"
        for line in sources
        if strips_accents and _share(line.letters_changed, line.letters) > WORTH_A_WARNING
    ]
    for warnings in (unknown, changed):
        yield from warnings[:SHOWN_WARNINGS]
        if len(warnings) > SHOWN_WARNINGS:
            yield f"and {len(warnings) - SHOWN_WARNINGS} more sources like these; all are in the tokenizer's manifest"


def _shown(sources: Sequence[SourceReport]) -> list[SourceReport]:
    largest = sorted(sources, key=lambda line: (-line.text_bytes, line.source))[:SHOWN_SOURCES]
    return [*largest, _total(sources)] if len(sources) > 1 else largest


def _total(sources: Sequence[SourceReport]) -> SourceReport:
    numbers = SourceReport.model_fields.keys() - {"source"}
    sums = {name: sum(getattr(line, name) for line in sources) for name in numbers}
    return SourceReport(source=ALL, **sums)


def _name(line: SourceReport) -> str:
    return line.source or ALL


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _percent(share: float) -> str:
    return f"{share:.2%}"
