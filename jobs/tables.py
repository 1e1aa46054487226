"""The tables at the end of a command, each with an explanation of its terms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from maskmill.jobs.tokenizer_report import table_of_sources, tables_side_by_side
from maskmill.pipeline.run.describe_counts import run_lines
from maskmill.pipeline.run.prepare import Prepared
from maskmill.schemas.counts import SourceReport
from maskmill.schemas.terms import TERMS


def tables_of_run(prepared: Prepared, compared: Mapping[str, Sequence[SourceReport]], output: str) -> list[Table]:
    """The tables of a finished run: how the tokenizer encodes the text, and the run in numbers."""
    own = prepared.tokenizer.sources if prepared.tokenizer is not None else ()
    tables = [table_of_sources(own)] if own else []
    tables += tables_side_by_side(compared) if compared else ()
    terms = [table_of_terms(str(column.header) for table in tables for column in table.columns)] if tables else []
    return [*tables, *terms, table_of_pairs("", run_lines(prepared, output))]


def table_of_terms(names: Iterable[str]) -> Table:
    """A table of the meanings of those names that need explaining."""
    table = Table(show_header=False, box=None, pad_edge=False, style="dim")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name in dict.fromkeys(name.strip() for name in names):
        if name in TERMS:
            table.add_row(name, TERMS[name])
    return table


def table_of_pairs(title: str, lines: list[tuple[str, Any]], *, explain: bool = True) -> Table:
    """A table of names and values with a title, and below it the meaning of the names."""
    table = Table(title=title or None, show_header=False, box=None, pad_edge=False, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines:
        table.add_row(name, str(value))
    terms = [name.strip() for name, _ in lines if name.strip() in TERMS]
    if explain and terms:
        table.add_row("", "")
        for name in terms:
            table.add_row(name, TERMS[name], style="dim")
    return table
