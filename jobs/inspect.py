"""`maskmill inspect`: what the filters of a run would do, seen on a sample of its documents."""

from __future__ import annotations

from collections.abc import Sequence

from maskmill.jobs.console import open_console, write_json
from maskmill.pipeline.run.inspect_filters import describe_inspected, inspect_filters
from maskmill.pipeline.settings import read_toml
from maskmill.schemas.run_file import RunFile


def inspect(run_file: str, documents: int, overrides: Sequence[str], as_json: bool) -> int:
    """Try the filters and print what they do; returns the exit status."""
    inspected = inspect_filters(read_toml(RunFile, run_file, overrides), documents)
    if as_json:
        write_json(inspected.fields())
        return 0
    console = open_console(soft_wrap=True)
    for line in describe_inspected(inspected):
        console.print(line, markup=False, highlight=False)
    return 0
