"""The command line: `maskmill`, also as `python -m maskmill`."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from importlib import metadata
from typing import Annotated

import typer

from maskmill.jobs.console import open_console
from maskmill.jobs.options import (
    DatasetArgument,
    DebugOption,
    JsonOption,
    RecipeOption,
    ReplaceOption,
    RunFileArgument,
    SetOption,
)
from maskmill.jobs.recipe_commands import recipes
from maskmill.jobs.run_command import load_job, run_command
from maskmill.jobs.usage import Command, Group
from maskmill.pipeline.standard_error import guard_libraries
from maskmill.pipeline.standard_streams import open_streams

app = typer.Typer(
    name="maskmill",
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

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


@app.command(cls=Command)
def prepare(
    run_file: RunFileArgument,
    recipe: RecipeOption = None,
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
        maskmill prepare run.toml --recipe roberta

    Give the same command again after an interruption: it continues, and ends with the same bytes.
    """
    run_command(lambda: load_job("prepare")(run_file, set_ or [], json, "pack", replace, recipe=recipe), debug, RESUMES)


@app.command(cls=Command)
def shard(
    run_file: RunFileArgument,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Only shuffle, deduplicate and shard the documents: the first part of prepare.

    maskmill shard run.toml
    """
    run_command(lambda: load_job("prepare")(run_file, set_ or [], json, "shard", recipe=recipe), debug, RESUMES)


@app.command(cls=Command)
def tokenizer(
    run_file: RunFileArgument,
    recipe: RecipeOption = None,
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

    The documents are sharded first if needed. To compare tokenizers on your text, side by side:

        maskmill tokenizer run.toml --compare bert-base-uncased-vocab.txt

    Another size of vocabulary or another alpha needs no second pass over the text: counted words are kept.

    Add another one in tokenizer-large/, or replace it, which deletes the rows that were packed with it:

        maskmill tokenizer run.toml --set tokenizer.vocab_size=50000 --set tokenizer.name=large
        maskmill tokenizer run.toml --set tokenizer.vocab_size=50000 --replace
    """
    run_command(
        lambda: load_job("prepare")(run_file, set_ or [], json, "tokenizer", replace, compare or [], recipe),
        debug,
        RESUMES,
    )


@app.command(cls=Command)
def pack(
    run_file: RunFileArgument,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    replace: ReplaceOption = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Encode and pack, after any earlier part that is missing; the same as prepare.

    To add other rows in packed-long/:

        maskmill pack run.toml --set pack.name=long --set pack.seq_len=1024
    """
    run_command(lambda: load_job("prepare")(run_file, set_ or [], json, "pack", replace, recipe=recipe), debug, RESUMES)


@app.command(cls=Command)
def inspect(
    filters: Annotated[str, typer.Option(metavar="RUN.toml", help="The run file whose filters are tried.")],
    documents: Annotated[int, typer.Option(metavar="N", min=1, help="Documents to try them on.")] = 1000,
    set_: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Try the filters of a run on a sample: what each would drop and why, with examples. Nothing is written.

    maskmill inspect --filters run.toml --set filters.length.min_words=50
    """
    run_command(lambda: load_job("inspect")(filters, documents, set_ or [], json), debug)


@app.command(cls=Command)
def mask(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="A packed dataset's folder, or a run's output with one of them to train on: a path or URL.",
        ),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help=r"A key of \[mask] or \[engine], such as mask.copies=4; may be repeated. Keys that are not given are "
            "those of the dataset; with another mask.strategy than the dataset's they have their defaults.",
        ),
    ] = None,
    remove_old: Annotated[
        bool,
        typer.Option(
            "--remove-old",
            help="Delete the files of earlier versions at the end. Without this option they stay, for loaders that "
            "still read them.",
        ),
    ] = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Add static copies of the masks to finished rows, or replace them, without packing again.

    Copy k of a row is its mask of epoch k, as prepare would have stored it:

        maskmill mask out/packed --set mask.copies=4
        maskmill mask out/packed --set mask.strategy=span --set mask.rate=0.2

    The rows stay readable as they were until all is written, and the same command continues after an interruption.
    Remove the copies, and what is left of earlier ones:

        maskmill mask out/packed --set mask.copies=0 --remove-old
    """
    run_command(lambda: load_job("mask")(dataset, set_ or [], json, remove_old), debug, RESUMES)


@app.command(cls=Command)
def verify(dataset: DatasetArgument, json: JsonOption = False, debug: DebugOption = False) -> None:
    """Re-read a dataset and check every checksum, count, boundary, special token and mask.

    Exits with 1 and names every file that is wrong or missing, and every missing part of a run.

        maskmill verify out
        maskmill verify s3://bucket/run/packed
    """
    run_command(lambda: load_job("verify")(dataset, json), debug)


@app.command(cls=Command)
def report(dataset: DatasetArgument, debug: DebugOption = False) -> None:
    """Show what a dataset, or every part of a run, contains and what was counted when it was written.

    It reads the manifests alone; to check the data against them, use verify.

        maskmill report out
    """
    run_command(lambda: load_job("report")(dataset), debug)


@app.command(cls=Command)
def train(
    train_file: Annotated[
        str, typer.Argument(metavar="TRAIN.toml", help="The train file, at a path or any fsspec URL.")
    ],
    recipe: RecipeOption = None,
    set_: SetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    r"""Train an encoder on a packed dataset, continuing from the newest checkpoint in its output.

    The shortest train file; every other key has a default:

        \[data]
        dataset = "out/packed"
        held_out = "out/packed-heldout"
        \[run]
        output = "out/training"

    Then

        maskmill train train.toml --set run.steps=20000
        maskmill train train.toml --recipe roberta --set model.size=small
    """
    run_command(
        lambda: load_job("train")(train_file, set_ or [], json, recipe),
        debug,
        TRAINING_RESUMES,
    )


app.add_typer(recipes, name="recipes")


@app.command(cls=Command)
def demo(
    output: Annotated[str, typer.Option(metavar="FOLDER", help="Where everything is written.")] = "demo-out",
    megabytes: Annotated[
        int, typer.Option(metavar="MB", min=8, help="Text to gather, in MB; every stage needs 8 units.")
    ] = 12,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run the whole of maskmill on this machine, on the documentation of its installed Python packages.

    Gathers text, prepares it on Ray, verifies it and trains a small BERT until it has learnt from context:

        maskmill demo --output demo-out
    """
    run_command(lambda: load_job("demo")(output, megabytes, json), debug, RESUMES)


def main() -> None:
    """Run the command line; exit status 0 done, 1 failed, 2 wrong use, 130 interrupted, 141 no reader.

    After the exit handlers of libraries, the process ends at once: Python would need half a second to free a finished
    run's modules, tables and caches, to no effect.
    """
    status = 1
    open_streams()
    guard_libraries()

    def end_at_once() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(SystemExit):  # a write that failed has ended the command
                stream.flush()
        os._exit(status)

    atexit.register(end_at_once)  # handlers run in reverse order: this one after those of later imports
    try:
        app()
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        raise
