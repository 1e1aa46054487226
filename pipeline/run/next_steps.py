"""What a command prints last: what differs from the run file or the recipe, and the next commands with their paths."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maskmill.pipeline.recipes import read_recipe
from maskmill.pipeline.run.describe_run import find_differing
from maskmill.pipeline.run.parts import Part, part_of_section
from maskmill.pipeline.run.prepare import Prepared
from maskmill.pipeline.settings import list_keys, read_toml
from maskmill.pipeline.storage.paths import join_path
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.defaults import Sections
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.layout import DataSplit, packed_folders
from maskmill.schemas.redaction import redact
from maskmill.schemas.run_file import RunFile
from maskmill.schemas.train_file import TrainFile
from maskmill.schemas.wording import setting_of, write_value

EXAMPLE_BATCH_ROWS = 256
TRAINING, MODEL = "training", "model"


def warn_overridden(
    settings: RunFile, last_part: Part, run_file: str, overrides: Sequence[str], recipe: str | None = None
) -> list[str]:
    """Warn that the output is not what the run file, and the recipe below it, describe, if `--set` changed it."""
    if not overrides:
        return []
    given = _list_overridden(overrides)
    of_file = list_keys(run_file)
    of_recipe = {} if recipe is None else _list_recipe(recipe)
    try:
        differing = find_differing(settings, read_toml(RunFile, run_file, recipe=recipe), last_part)
    except ConfigError:  # the file alone is not a whole run
        defaults = RunFile(input=settings.input, output=settings.output)
        written = {key: values[0] for key, values in find_differing(defaults, None).items()} | of_recipe | of_file
        differing = {
            key: (ours, written.get(key)) for key, (ours, _) in find_differing(settings, None, last_part).items()
        }
    said = []
    for key, (ours, theirs) in differing.items():
        if key in given and setting_of(ours) != setting_of(theirs):
            plainly = "the file has" if key in of_file else "the recipe has" if key in of_recipe else "the default is"
            said.append((key, f"{key} = {setting_of(ours)}, {plainly} {setting_of(theirs)}"))
    if not said:
        return []
    is_default_alone = not settings.mask.copies and all(key.startswith("mask.") for key, _ in said)
    alone = "sets the default masking back" if is_default_alone else "is refused for this output"
    described_by = run_file if recipe is None else f"{run_file} with --recipe {redact(recipe)}"
    return [
        f"note: this output differs from {described_by} by --set: {'; '.join(text for _, text in said)}",
        f"      write it into the file, or give the same --set again: the file alone {alone}",
    ]


def note_replaced(
    settings: RunFile, last_part: Part, run_file: str, overrides: Sequence[str], recipe: str | None
) -> list[str]:
    """Say which keys of a recipe the run file has replaced by others of its own."""
    if recipe is None:
        return []
    own = set(list_keys(run_file)) - _list_overridden(overrides)
    values = settings.model_dump(mode="json", by_alias=True)
    replaced = {}
    for place, theirs in _list_recipe(recipe).items():
        section, _, key = place.partition(".")
        if place in own and part_of_section(section) <= last_part and values[section].get(key) != theirs:
            replaced[place] = values[section].get(key), theirs
    if not replaced:
        return []
    said = [
        f"{key} = {setting_of(ours)}, the recipe has {setting_of(theirs)}" for key, (ours, theirs) in replaced.items()
    ]
    lines = [f"note: {run_file} replaces keys of --recipe {redact(recipe)}: {'; '.join(said)}"]
    ours, theirs = replaced.get("pack.seq_len", (None, None))
    if isinstance(ours, int) and isinstance(theirs, list):
        lines.append("      without pack.seq_len in the file, there is a dataset for each length of the recipe")
    return lines


def _list_overridden(overrides: Sequence[str]) -> set[str]:
    """The keys, such as `mask.rate`, of which `--set` sets all or, as `--set mask.rate.curve=`, a part."""
    places = ([part.strip() for part in override.partition("=")[0].split(".")] for override in overrides)
    return {".".join(place[:2]) for place in places}


def _list_recipe(recipe: str) -> dict[str, Any]:
    """The keys of a recipe that a run file has, such as `pack.seq_len`, with their values."""
    sections = read_recipe(recipe).keys_of(RunFile)
    return {f"{section}.{key}": value for section, keys in sections.items() for key, value in keys.items()}


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
    trained_on = json.dumps(join_path(output, next(iter(packed_folders(settings.pack, DataSplit.TRAIN).values()))))
    return [
        "next:",
        f"  maskmill verify {shlex.quote(output)}  # re-reads and checks everything",
        f"  maskmill report {shlex.quote(output)}  # shows these numbers again, of every part",
        *_describe_training(settings, prepared, output, recipe),
        "  or in your own trainer:",
        "      from maskmill import MaskedBatches",
        f"      batches = MaskedBatches({trained_on}, global_batch_rows={EXAMPLE_BATCH_ROWS})",
    ]


def _describe_training(settings: RunFile, prepared: Prepared, output: str, recipe: str | None) -> Iterator[str]:
    """The command that trains, with a train file for each row length: each run begins with the model of the last."""
    folders = {split: packed_folders(settings.pack, split) for split in DataSplit}
    has_held_out = any(packed.held_out and packed.counts.rows for packed in prepared.packed)
    lengths = list(folders[DataSplit.TRAIN])
    of_lengths = _find_lengths(recipe, lengths)
    before = ""
    for length in lengths:
        name = "train.toml" if not before else f"train-{length}.toml"
        which = "these lines" if not before else "the model of the run before, and these lines"
        of_recipe = [] if recipe is None else ["--recipe", redact(recipe)]
        yield f"  maskmill train {shlex.join([name, *of_recipe])}  # with {which} in the file:"
        own: dict[str, dict[str, Any]] = {"data": {"dataset": join_path(output, folders[DataSplit.TRAIN][length])}}
        if has_held_out:
            own["data"]["held_out"] = join_path(output, folders[DataSplit.HELD_OUT][length])
        if before:
            own["model"] = {"init": join_path(before, MODEL)}
        elif length < max(lengths) and not of_recipe:
            own["model"] = {"max_positions": max(lengths)}
        before = join_path(output, TRAINING if len(lengths) == 1 else f"{TRAINING}-{length}")
        own["run"] = {"output": before}
        of_length = of_lengths.get(length, {})
        for section in [section for section in TrainFile.model_fields if section in own or section in of_length]:
            yield f"      [{section}]"
            for key, value in {**own.get(section, {}), **of_length.get(section, {})}.items():
                why = "  # of the rows that come later" if key == "max_positions" and key in own[section] else ""
                yield f"      {key} = {write_value(value)}{why}"


def _find_lengths(recipe: str | None, lengths: Sequence[int]) -> Mapping[int, Sections]:
    """What a recipe has for the train file of each row length, if these are its own lengths."""
    if recipe is None:
        return {}
    found = read_recipe(recipe)
    return found.lengths if found.sections.get("pack", {}).get("seq_len") == lengths else {}
