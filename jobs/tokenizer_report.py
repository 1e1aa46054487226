"""How a tokenizer encodes the text, for people: one table per tokenizer, or several side by side.

`maskmill.schemas.terms` explains the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.table import Table

from maskmill.pipeline.wordpiece.vocabulary.judge_sources import ALL, name_of, share
from maskmill.schemas.counts import SourceReport

SHOWN_SOURCES = 30


_MEASURES: dict[str, Callable[[SourceReport], str]] = {
    "text": lambda line: f"{line.text_bytes / 1e6:,.1f} MB",
    "coverage": lambda line: _percent(1 - share(line.characters_unknown, line.characters)),
    "[UNK]": lambda line: _percent(share(line.unknown, line.tokens)),
    "accents": lambda line: _percent(share(line.letters_changed, line.letters)),
    "tokens/word": lambda line: f"{share(line.tokens, line.words):.3f}",
    "bytes/token": lambda line: f"{share(line.text_bytes, line.tokens):.2f}",
}
_COMPARED = ("tokens/word", "bytes/token", "[UNK]", "coverage")


def table_of_sources(sources: Sequence[SourceReport]) -> Table:
    """One line per source, those with the most text first, and one for all of them."""
    table = _start_table(list(_MEASURES))
    for line in _shown(sources):
        table.add_row(name_of(line), *(measure(line) for measure in _MEASURES.values()))
    if len(sources) > SHOWN_SOURCES:
        table.caption = f"the {SHOWN_SOURCES} sources with the most text of {len(sources):,}; all are in the manifest"
        table.caption_justify = "left"
    return table


def tables_side_by_side(tokenizers: Mapping[str, Sequence[SourceReport]]) -> Iterator[Table]:
    """Tokenizers measured on the same text: a table per measure, a column per tokenizer, a line per source."""
    shown = [_shown(sources) for sources in tokenizers.values()]
    for measure in _COMPARED:
        table = _start_table(list(tokenizers), measure)
        for lines in zip(*shown, strict=True):
            table.add_row(name_of(lines[0]), *(_MEASURES[measure](line) for line in lines))
        yield table


def table_of_rows(rows: Sequence[Mapping[str, str]]) -> Table:
    """One line per source, given the values by the names of their columns."""
    table = _start_table(list(rows[0])[1:])
    for row in rows:
        table.add_row(*row.values())
    return table


def _start_table(columns: Sequence[str], first: str = "source") -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    return table


def _shown(sources: Sequence[SourceReport]) -> list[SourceReport]:
    largest = sorted(sources, key=lambda line: (-line.text_bytes, line.source))[:SHOWN_SOURCES]
    return [*largest, _total(sources)] if len(sources) > 1 else largest


def _total(sources: Sequence[SourceReport]) -> SourceReport:
    numbers = SourceReport.model_fields.keys() - {"source"}
    sums = {name: sum(getattr(line, name) for line in sources) for name in numbers}
    return SourceReport(source=ALL, **sums)


def _percent(share: float) -> str:
    return f"{share:.2%}"
