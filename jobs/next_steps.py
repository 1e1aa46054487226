"""What a command prints last: what differs from the run file, and the next commands with their paths."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from maskmill.pipeline.run.describe_run import find_differing
from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.prepare import Prepared
from maskmill.pipeline.settings import read_toml
from maskmill.pipeline.storage.paths import join_path
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.layout import DataSplit, packed_folders
from maskmill.schemas.redaction import redact
from maskmill.schemas.run_file import RunFile
from maskmill.schemas.wording import setting_of

EXAMPLE_BATCH_ROWS = 256


def warn_overridden(
    settings: RunFile, last_part: Part, run_file: str, overrides: Sequence[str], recipe: str | None = None
) -> list[str]:
    """Warn that the output is not what the run file describes, if `--set` changed it."""
    if not overrides:
        return []
    given = {override.partition("=")[0].replace(" ", "") for override in overrides}
    try:
        plain = read_toml(RunFile, run_file, recipe=recipe)
    except ConfigError:  # the file alone is not a whole run
        plain = None
    differing = {key: values for key, values in find_differing(settings, plain, last_part).items() if key in given}
    if not differing:
        return []
    said = [
        f"{key} = {setting_of(ours)}, the file has {setting_of(theirs)}" for key, (ours, theirs) in differing.items()
    ]
    is_default_alone = not settings.mask.copies and all(key.startswith("mask.") for key in differing)
    alone = "sets the default masking back" if is_default_alone else "is refused for this output"
    return [
        f"note: this output differs from {run_file} by --set: {'; '.join(said)}",
        f"      write it into the file, or give the same --set again: the file alone {alone}",
    ]


def next_steps(
    settings: RunFile,
    prepared: Prepared,
    last_part: Part,
    run_file: str,
    overrides: Sequence[str],
    recipe: str | None = None,
) -> list[str]:
    """The next commands, with the paths of this run.

    Args:
        settings: The run file.
        prepared: What the run has written.
        last_part: The last part that was asked for.
        run_file: The path or URL of the run file.
        overrides: As given with `--set`.
        recipe: As given with `--recipe`.
    """
    output = open_store(settings.output.url).display_url
    of_recipe = [] if recipe is None else ["--recipe", redact(recipe)]
    again = shlex.join(
        [run_file, *of_recipe, *(word for override in overrides for word in ("--set", redact(override)))]
    )
    if last_part == Part.SHARD:
        return ["next:", f"  maskmill tokenizer {again}", f"  maskmill prepare {again}"]
    if last_part == Part.TOKENIZER or not prepared.packed:
        return ["next:", f"  maskmill prepare {again}"]
    folders = {split: join_path(output, list(packed_folders(settings.pack, split).values())[-1]) for split in DataSplit}
    trained_on = json.dumps(folders[DataSplit.TRAIN])
    lines = [
        "next:",
        f"  maskmill verify {shlex.quote(output)}  # re-reads and checks everything",
        f"  maskmill report {shlex.quote(output)}  # shows these numbers again, of every part",
        f"  maskmill train {shlex.join(['train.toml', *of_recipe])}  # with these lines in the file:",
        "      [data]",
        f"      dataset = {trained_on}",
    ]
    if any(packed.held_out and packed.counts.rows for packed in prepared.packed):
        lines.append(f"      held_out = {json.dumps(folders[DataSplit.HELD_OUT])}")
    return [
        *lines,
        "      [run]",
        f"      output = {json.dumps(join_path(output, 'training'))}",
        "  or in your own trainer:",
        "      from maskmill import MaskedBatches",
        f"      batches = MaskedBatches({trained_on}, global_batch_rows={EXAMPLE_BATCH_ROWS})",
    ]
