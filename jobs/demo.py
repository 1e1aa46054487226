"""`maskmill demo`: all of maskmill on this machine, on text that every machine with Python has."""

from __future__ import annotations

import os

from maskmill.jobs.console import open_console
from maskmill.jobs.progress import JsonLines, LiveBars
from maskmill.jobs.tables import table_of_pairs, tables_of_run
from maskmill.jobs.train import STATUS_OF_SIGNAL, TrainLines, train_pairs
from maskmill.jobs.verify import verify
from maskmill.pipeline.corpus.write_python_docs import write_python_docs
from maskmill.pipeline.run.prepare import Prepared, prepare
from maskmill.pipeline.standard_error import say
from maskmill.pipeline.training.demo_recipe import DEMO_GAP_NATS, make_demo_run_file, make_demo_train_file
from maskmill.pipeline.training.stop_signals import TrainingInterruptedError
from maskmill.pipeline.training.train import train
from maskmill.pipeline.wordpiece.counting.collect_stage import COLLECT
from maskmill.pipeline.wordpiece.vocabulary.train_stage import BRING, TRAIN
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.wording import count_of, say_gap

NUM_FILES = 10
JSON_BYTES_PER_TEXT_BYTE = 1.1
MIN_UNITS = 8
SINGLE_UNIT_STAGES = (COLLECT.name, TRAIN.name, BRING.name)  # one table of words, one vocabulary


def demo(output: str, megabytes: int, as_json: bool) -> int:
    """Gather a corpus, prepare it on Ray, verify it, and train a small BERT until it has learnt from context.

    Returns:
        The exit status: 130 after SIGINT and 143 after SIGTERM in training, as shells count.

    Raises:
        ConfigError: The corpus is too small to show anything, or the model did not learn.
    """
    console = open_console(quiet=as_json)
    output = os.path.abspath(output)
    console.print(f"gathering {megabytes} MB of documentation of the installed Python packages")
    corpus = write_python_docs(
        os.path.join(output, "corpus"),
        num_files=NUM_FILES,
        target_bytes=int(megabytes * 1e6 * JSON_BYTES_PER_TEXT_BYTE),
    )
    run_folder = os.path.join(output, "run")
    listen = JsonLines() if as_json else LiveBars(console)
    try:
        prepared = prepare(make_demo_run_file(corpus.paths, run_folder), listen)
    finally:
        listen.close()
    _check_size(prepared)
    status = verify(run_folder, as_json)
    if status:
        return status
    (trained_on,), (held_out,) = prepared.packed_urls(), prepared.packed_urls(held_out=True)
    config = make_demo_train_file(trained_on, held_out, os.path.join(output, "training"))
    lines = TrainLines(console)
    lines.expect(config.run.steps)
    try:
        result = train(config, JsonLines() if as_json else lines)
    except TrainingInterruptedError as interrupted:
        say(str(interrupted))
        return STATUS_OF_SIGNAL + interrupted.number
    console.print()
    for table in tables_of_run(prepared, {}, run_folder):
        console.print(table)
        console.print()
    console.print(table_of_pairs("", train_pairs(result)))
    gap = result.held_out.gap if result.held_out else 0.0
    if gap < DEMO_GAP_NATS:
        raise ConfigError(
            "the model did not learn from context",
            path=config.run.output,
            expected=f"a held-out loss {DEMO_GAP_NATS} nats below the unigram entropy",
            found=f"one {say_gap(gap)}",
            action="give more text with --megabytes, in another --output",
        )
    return 0


def _check_size(prepared: Prepared) -> None:
    for stage, timing in prepared.timings.items():
        if stage not in SINGLE_UNIT_STAGES and timing["units"] < MIN_UNITS:
            raise ConfigError(
                f"the corpus is too small: stage {stage} has only {count_of(timing['units'], 'unit')}",
                path="--megabytes",
                expected=f"at least {MIN_UNITS}",
                action="give more text, in another --output",
            )
