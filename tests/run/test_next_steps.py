"""What a command says at its end: settings that differ, for every key of a run file, and the train files."""

from __future__ import annotations

import json
import shlex
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from maskmill.pipeline.recipes import list_recipes
from maskmill.pipeline.run.next_steps import next_steps, note_replaced, warn_overridden
from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.prepare import Prepared
from maskmill.pipeline.settings import read_toml
from maskmill.pipeline.training.optimizer import compute_learning_rate
from maskmill.schemas.run_file import RunFile
from maskmill.schemas.train_file import OptimizerSection, TrainFile
from maskmill.schemas.wording import setting_of, write_value

RUN = '[input]\npaths = ["a.txt"]\n[output]\nurl = "{folder}/out"\n'
CHANGED = {
    "documents": {"shard_mb": 2.5, "deduplicate": False, "held_out": 0.25, "seed": 7, "appendable": True},
    "filters": {"length": {"min_words": 3}, "gopher_quality": {}, "regex": {"need": {"de": ["ä+"]}}},
    "tokenizer": {"vocab_size": 700, "initial_alphabet": 'ä"\\', "alpha": 0.7, "strip_accents": False},
    "pack": {"seq_len": [64, 128], "sequences": "full_sentences", "min_segment": 8},
    "mask": {
        "rate": {"curve": "linear", "points": [[0, 0.3], [100, 0.15]]},
        "strategy": "whole_word",
        "replace_by": "unit",
        "protect": ["[UNK]", "."],
        "mask_share": 1.0,
        "random_share": 0.0,
    },
}


def list_overrides() -> list[str]:
    return [f"{section}.{key}={write_value(value)}" for section, keys in CHANGED.items() for key, value in keys.items()]


def write_run(folder: Path, text: str = "") -> str:
    (folder / "run.toml").write_text(RUN.format(folder=folder) + text)
    return str(folder / "run.toml")


@pytest.mark.parametrize("override", list_overrides())
def test_every_key_that_an_option_sets_is_named_with_a_value_that_a_file_takes(tmp_path: Path, override: str) -> None:
    path = write_run(tmp_path)
    extra = ["mask.random_share=0.0"] if override.startswith("mask.mask_share") else []
    extra += ["mask.strategy=whole_word"] if override.startswith("mask.replace_by") else []
    settings = read_toml(RunFile, path, [*extra, override])
    (note, _) = warn_overridden(settings, Part.PACK, path, [override])
    key, _, value = override.partition("=")
    (said,) = (one for one in note.partition("--set: ")[2].split("; ") if one.startswith(f"{key} = "))
    ours, theirs = said.removeprefix(f"{key} = ").rsplit(", the default is ", 1)
    found = tomllib.loads(f"value = {ours}")["value"]
    wanted = tomllib.loads(f"value = {value}")["value"]
    assert (
        found == {**found, **wanted}
        if isinstance(wanted, dict)
        else found == (sorted(wanted) if key == "mask.protect" else wanted)
    )
    assert theirs == "unset" or tomllib.loads(f"value = {theirs}")


@pytest.mark.parametrize("section", ["documents", "filters", "tokenizer", "pack", "mask", "engine", "input", "output"])
def test_every_value_of_every_section_can_be_said(section: str) -> None:
    """Of a model as it is, and of what a file holds of it."""
    default = RunFile.model_validate({"input": {"paths": ["a"]}, "output": {"url": "o"}})
    changed = RunFile.model_validate(
        json.loads(default.model_dump_json(include={"input", "output"}, by_alias=True)) | CHANGED
    )
    for file in (default, changed):
        found = getattr(file, section)
        for _, value in found[0] if section == "input" else found:
            assert value is None or tomllib.loads(f"value = {setting_of(value)}")


def test_a_schedule_of_a_recipe_that_is_replaced_is_said_as_its_file_has_it(tmp_path: Path) -> None:
    curve = '{curve = "piecewise", points = [[0, 0.3], [487400, 0.15], [614600, 0.05]]}'
    path = write_run(tmp_path)
    settings = read_toml(RunFile, path, ["mask.rate=0.2"], "mmbert")
    (note, _) = warn_overridden(settings, Part.PACK, path, ["mask.rate=0.2"], "mmbert")
    assert note.endswith(f"by --set: mask.rate = 0.2, the recipe has {curve}")
    path = write_run(tmp_path, "[mask]\nrate = 0.2\n")
    (note,) = note_replaced(read_toml(RunFile, path, recipe="mmbert"), Part.PACK, path, [], "mmbert")
    assert note.endswith(f"mask.rate = 0.2, the recipe has {curve}")


def test_a_part_of_a_key_that_an_option_sets_is_said_with_the_whole_key(tmp_path: Path) -> None:
    path = write_run(tmp_path, '[mask]\nrate = {curve = "linear", points = [[0, 0.3], [100, 0.15]]}\n')
    settings = read_toml(RunFile, path, ["mask.rate.curve=cosine"])
    (note, _) = warn_overridden(settings, Part.PACK, path, ["mask.rate.curve=cosine"])
    assert 'mask.rate = {curve = "cosine", points = [[0, 0.3], [100, 0.15]]}, the file has {curve = "linear", ' in note


def test_values_of_a_recipe_are_said_where_an_option_gives_what_it_needs(tmp_path: Path) -> None:
    """The file and the recipe alone are not a whole run."""
    path = write_run(tmp_path, "[pack]\nmin_segment = 8\n")
    overrides = ["tokenizer.from=folder", "mask.rate=0.2", "pack.min_segment=4"]
    settings = read_toml(RunFile, path, overrides, "domain")
    (note, _) = warn_overridden(settings, Part.PACK, path, overrides, "domain")
    assert note.partition("--set: ")[2].split("; ") == [
        'tokenizer.from = "folder", the default is unset',
        "pack.min_segment = 4, the file has 8",
        "mask.rate = 0.2, the recipe has 0.15",
    ]


def read_printed(folder: Path, recipe: str, text: str = "") -> list[TrainFile]:
    """The train files that `prepare` prints, each with the recipe under it, as its command is printed."""
    path = write_run(folder, text)
    settings = read_toml(RunFile, path, recipe=recipe)
    prepared = cast("Prepared", SimpleNamespace(packed=[SimpleNamespace(held_out=False)]))
    lines = next_steps(settings, prepared, Part.PACK, path, [], recipe)
    starts = [number for number, line in enumerate(lines) if line.startswith("  maskmill train ")]
    ends = [*starts[1:], lines.index("  or in your own trainer:")]
    found = []
    for start, end in zip(starts, ends, strict=True):
        name, option, under = shlex.split(lines[start], comments=True)[2:]
        assert (option, under) == ("--recipe", recipe)
        (folder / name).write_text("\n".join(lines[start + 1 : end]))
        found.append(read_toml(TrainFile, str(folder / name), recipe=under))
    return found


SEVERAL_LENGTHS = [recipe.name for recipe in list_recipes() if isinstance(recipe.sections["pack"]["seq_len"], list)]


@pytest.mark.parametrize("recipe", SEVERAL_LENGTHS)
def test_no_run_after_the_first_begins_as_if_it_were_the_first(tmp_path: Path, recipe: str) -> None:
    """It has steps of its own and no warmup, and its rate begins where the one before has stopped, or below."""
    first, second = read_printed(tmp_path, recipe)
    assert second.model.init == f"{first.run.output}/model"
    assert second.run.steps < first.run.steps
    assert second.optimizer.warmup_steps == 0
    reached = compute_learning_rate(first.optimizer, first.run.steps)
    assert compute_learning_rate(second.optimizer, 0) <= reached * (1 + 1e-6)


@pytest.mark.parametrize("recipe", ["bert", "bert-wwm"])
def test_the_runs_of_bert_are_nine_tenths_and_one_tenth_of_one_schedule(tmp_path: Path, recipe: str) -> None:
    short, long = read_printed(tmp_path, recipe)
    assert (short.data.dataset, long.data.dataset) == (f"{tmp_path}/out/packed-128", f"{tmp_path}/out/packed-512")
    assert (short.run.steps, long.run.steps) == (900_000, 100_000)
    whole = OptimizerSection(learning_rate=1e-4, warmup_steps=10_000, decay_steps=1_000_000)
    for step in (0, 1, 9_999, 10_000, 10_001, 500_000, 899_999, 900_000, 900_001, 950_000, 999_999):
        run, own = (short, step) if step < 900_000 else (long, step - 900_000)
        rate = compute_learning_rate(run.optimizer, own)
        assert rate == pytest.approx(compute_learning_rate(whole, step), rel=1e-6)


def test_mmbert_masks_as_its_three_phases(tmp_path: Path) -> None:
    first, second = read_printed(tmp_path, "mmbert")
    assert first.mask is not None
    assert second.mask is not None
    assert first.mask.rate == 0.3
    assert second.mask.schedule is not None
    assert [second.mask.schedule.find_ppm(step) for step in (0, 15_899, 15_900, 18_549)] == [150_000] * 2 + [50_000] * 2


def test_other_lengths_than_those_of_the_recipe_have_no_steps_of_its(tmp_path: Path) -> None:
    for length in ("[64, 128]", "128"):
        runs = read_printed(tmp_path, "bert", f"[pack]\nseq_len = {length}\n")
        assert {run.run.steps for run in runs} == {1_000_000}
