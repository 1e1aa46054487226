"""`maskmill prepare` and its parts: a run file in, documents, a tokenizer and rows out."""

from __future__ import annotations

from collections.abc import Sequence

from maskmill.jobs.console import open_console
from maskmill.jobs.progress import JsonLines, LiveBars
from maskmill.jobs.tables import tables_of_run
from maskmill.pipeline.engine.local_engine import fork_ahead
from maskmill.pipeline.run.compare_tokenizers import compare_tokenizers, load_compared
from maskmill.pipeline.run.next_steps import next_steps, note_replaced, warn_overridden
from maskmill.pipeline.run.parts import parse_part
from maskmill.pipeline.run.preload import preload_workers
from maskmill.pipeline.run.prepare import prepare as prepare_job
from maskmill.pipeline.settings import read_toml
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.run_file import RunFile


def prepare(
    run_file: str,
    overrides: Sequence[str],
    as_json: bool,
    last_part: str,
    replace: bool = False,
    compare: Sequence[str] = (),
    recipe: str | None = None,
) -> int:
    """Make the parts of a run up to one of them, and show what was made; returns the exit status.

    Args:
        run_file: The path or URL of the run file.
        overrides: As given with `--set`.
        as_json: Write one JSON line for each event, and nothing else.
        last_part: `shard`, `tokenizer` or `pack`.
        replace: Make parts again that were made with other settings.
        compare: Other tokenizers to measure beside the run's.
        recipe: As given with `--recipe`.
    """
    part = parse_part(last_part, "up_to")
    settings = read_toml(RunFile, run_file, overrides, recipe)
    if settings.engine.kind == "local":
        preload_workers()
        fork_ahead(settings.engine.workers)
    others = load_compared(settings, compare) if compare else {}
    console = open_console()
    listen = JsonLines() if as_json else LiveBars(console)
    try:
        prepared = prepare_job(settings, listen, part, replace=replace)
        compared = compare_tokenizers(settings, prepared, others, listen) if others else {}
    finally:
        listen.close()
    if not as_json:
        if prepared.is_unchanged:
            console.print("nothing to do: everything is already there")
            console.print()
        for table in tables_of_run(prepared, compared, open_store(settings.output.url).display_url):
            console.print(table)
            console.print()
        lines = note_replaced(settings, part, run_file, overrides, recipe)
        lines += warn_overridden(settings, part, run_file, overrides, recipe)
        lines += next_steps(settings, prepared, part, run_file, overrides, recipe)
        for line in lines:
            console.print(line, soft_wrap=True)
    return 0
