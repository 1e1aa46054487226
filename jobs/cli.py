"""The command line: `maskmill`, also as `python -m maskmill`."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import io
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from maskmill.jobs.console import open_console
from maskmill.jobs.run_command import run_command
from maskmill.pipeline.standard_error import guard_libraries, make_line

_UsageError: type[Any] = typer.BadParameter.mro()[1]
"""What wrong arguments are to click, which typer brings a copy of."""


class _Usage:
    """Shows flags in help without a type, `--replace`, and arguments in messages printable, whatever a glob gave."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        """The arguments, parsed; what is wrong with them is raised as click does."""
        try:
            return super().make_context(*args, **options)  # type: ignore[misc]  # of the command that this is mixed into
        except _UsageError as error:
            error.message = make_line(error.message)
            raise

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, with an empty type for those that take no value."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # of the command that this is mixed into
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params


class _Command(_Usage, TyperCommand):
    """A command."""


class _Group(_Usage, TyperGroup):
    """The command line itself."""


app = typer.Typer(
    name="maskmill",
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

RunFileArgument = Annotated[str, typer.Argument(metavar="RUN.toml", help="The run file, at a path or any fsspec URL.")]
DatasetArgument = Annotated[
    str, typer.Argument(metavar="DATASET", help="A dataset's folder, or the whole output of a run: a path or URL.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Override a key of the file, such as pack.seq_len=1024; may be repeated. VALUE is written as in the file; "
        "text needs no quotes.",
    ),
]
ReplaceOption = Annotated[
    bool,
    typer.Option(
        "--replace",
        help=r"Where \[tokenizer], \[pack] or \[mask] have changed since the output was written: delete what they "
        "decide and make it again. Without it such a change is refused. To keep both, give the new one a name: "
        "pack.name or tokenizer.name.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Write one JSON line for each event, instead of bars and tables.")
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
RESUMES = "interrupted; the same command continues from here"
TRAINING_RESUMES = "interrupted; the same command continues from the newest checkpoint, if there is one"


def _show_version(wanted: bool) -> None:
    if wanted:
        open_console().print(f"maskmill {metadata.version('maskmill')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[  # acted on by its callback
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Raw text in, packed and masked batches for BERT-style pretraining out.

    Try it on this machine, on text that every Python has:  maskmill demo

    Your own text:  write a run file, then

        maskmill prepare run.toml

        maskmill verify out

        maskmill train train.toml

    Every command explains itself:  maskmill prepare --help
    """


@app.command(cls=_Command)
def prepare(
    run_file: RunFileArgument,
    set_: SetOption = None,
    replace: ReplaceOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    r"""Shard the text, train or take a tokenizer, and write packed shards.

    The shortest run file; every other key has a default:

        \[input]
        paths = \["corpus/*.jsonl.zst"]
        \[output]
        url = "out"

    Then, on this machine or on Ray:

        maskmill prepare run.toml
        maskmill prepare run.toml --set engine.kind=ray --set pack.seq_len=1024

    Give the same command again after an interruption: it goes on, and ends with the same bytes.
    """
    run_command(lambda: _prepare(run_file, set_, json, "pack", replace), debug, RESUMES)


@app.command(cls=_Command)
def shard(
    run_file: RunFileArgument, set_: SetOption = None, json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Only shuffle, deduplicate and shard the documents: the first part of prepare.

    maskmill shard run.toml
    """
    run_command(lambda: _prepare(run_file, set_, json, "shard"), debug, RESUMES)


@app.command(cls=_Command)
def tokenizer(
    run_file: RunFileArgument,
    set_: SetOption = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Measure this vocab.txt, tokenizer.json or folder too; may be repeated."),
    ] = None,
    replace: ReplaceOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train the vocabulary, or take the one in tokenizer.from, and show what it makes of the text.

    The documents are sharded first if need be. What each tokenizer makes of your text, side by side:

        maskmill tokenizer run.toml --compare bert-base-uncased-vocab.txt

    Another size of vocabulary or another alpha needs no second pass over the text: counted words are kept.

    Another one beside it, in tokenizer-large/, or in its place; then rows that were packed with it are deleted:

        maskmill tokenizer run.toml --set tokenizer.vocab_size=50000 --set tokenizer.name=large
        maskmill tokenizer run.toml --set tokenizer.vocab_size=50000 --replace
    """
    run_command(lambda: _prepare(run_file, set_, json, "tokenizer", replace, compare or []), debug, RESUMES)


@app.command(cls=_Command)
def pack(
    run_file: RunFileArgument,
    set_: SetOption = None,
    replace: ReplaceOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Encode and pack, with all that comes before if need be; the same as prepare.

    Other rows beside those that are there, in packed-long/:

        maskmill pack run.toml --set pack.name=long --set pack.seq_len=1024
    """
    run_command(lambda: _prepare(run_file, set_, json, "pack", replace), debug, RESUMES)


@app.command(cls=_Command)
def verify(dataset: DatasetArgument, json: JsonOption = False, debug: DebugOption = False) -> None:
    """Re-read a dataset and check every checksum, count, boundary, special token and mask.

    Exits with 1 and names every file that is wrong or gone, and every part of a run that is missing.

        maskmill verify out
        maskmill verify s3://bucket/run/packed
    """
    run_command(lambda: importlib.import_module("maskmill.jobs.verify").verify(dataset, json), debug)


@app.command(cls=_Command)
def report(dataset: DatasetArgument, debug: DebugOption = False) -> None:
    """Show what a dataset, or every part of a run, holds and what was counted when it was written.

    It reads the manifests alone; to check the data against them, use verify.

        maskmill report out
    """
    run_command(lambda: importlib.import_module("maskmill.jobs.report").report(dataset), debug)


@app.command(cls=_Command)
def train(
    train_file: Annotated[
        str, typer.Argument(metavar="TRAIN.toml", help="The train file, at a path or any fsspec URL.")
    ],
    set_: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    r"""Train a BERT on a packed dataset, going on from the newest checkpoint in its output.

    The shortest train file; every other key has a default:

        \[data]
        dataset = "out/packed"
        held_out = "out/packed-heldout"
        \[run]
        output = "out/training"

    Then

        maskmill train train.toml --set run.steps=20000
    """
    run_command(
        lambda: importlib.import_module("maskmill.jobs.train").train(train_file, set_ or [], json),
        debug,
        TRAINING_RESUMES,
    )


@app.command(cls=_Command)
def demo(
    output: Annotated[str, typer.Option(metavar="FOLDER", help="Where everything is written.")] = "demo-out",
    megabytes: Annotated[
        int, typer.Option(metavar="MB", min=8, help="Text to gather, in MB; every stage wants 8 units.")
    ] = 12,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run the whole of maskmill on this machine, on the documentation of its installed Python packages.

    Gathers text, prepares it on Ray, verifies it and trains a small BERT until it has learnt from context:

        maskmill demo --output demo-out
    """
    run_command(lambda: importlib.import_module("maskmill.jobs.demo").demo(output, megabytes, json), debug, RESUMES)


def main() -> None:
    """Run the command line; exit status 0 done, 1 failed, 2 wrong use, 130 interrupted.

    When all that libraries registered for the end has run, the process ends at once: to take a finished run's modules,
    tables and caches apart takes Python half a second, and changes nothing.
    """
    status = 1
    _open_streams()
    guard_libraries()

    def end_at_once() -> None:
        with contextlib.suppress(OSError):  # whoever read it has gone
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)

    atexit.register(end_at_once)  # the last one is called first, so this one after those of what is imported from here
    try:
        app()
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        raise


def _open_streams() -> None:
    """Let what is printed never end a job: not for a letter that the terminal lacks, nor where nobody listens."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started this
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _prepare(
    run_file: str,
    overrides: list[str] | None,
    as_json: bool,
    last_part: str,
    replace: bool = False,
    compare: Sequence[str] = (),
) -> int:
    from maskmill.jobs.next_steps import next_steps, warn_overridden
    from maskmill.jobs.progress import JsonLines, LiveBars
    from maskmill.jobs.tables import tables_of_run
    from maskmill.pipeline.engine.local_engine import fork_ahead
    from maskmill.pipeline.run.compare_tokenizers import compare_tokenizers, load_compared
    from maskmill.pipeline.run.parts import parse_part
    from maskmill.pipeline.run.preload import preload_workers
    from maskmill.pipeline.run.prepare import prepare as prepare_job
    from maskmill.pipeline.settings import read_toml
    from maskmill.pipeline.storage.store import open_store
    from maskmill.schemas.run_file import RunFile

    part = parse_part(last_part, "up_to")
    settings = read_toml(RunFile, run_file, overrides or [])
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
        lines = warn_overridden(settings, part, run_file, overrides or [])
        lines += next_steps(settings, prepared, part, run_file, overrides or [])
        for line in lines:
            console.print(line, soft_wrap=True)
    return 0
