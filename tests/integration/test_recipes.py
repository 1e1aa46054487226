"""Every recipe from raw text to fifty steps of a tiny model; a killed run continues to the bit."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean

import pytest

from maskmill.pipeline.corpus.write_python_docs import write_python_docs
from maskmill.pipeline.recipes import list_recipes, read_recipe
from maskmill.pipeline.run.prepare import prepare
from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.training.checkpoints import find_checkpoint
from maskmill.pipeline.training.train import train

NAMES = [recipe.name for recipe in list_recipes()]
SLOW = ("deberta",)
"""Recipes whose model takes more than five seconds."""
NOISY = {"diffusion": 20}
"""Recipes whose loss jumps from step to step, and over how many steps it is averaged: a label of a sequence of which
few tokens are hidden counts for all of them."""
STEPS = 50
CORPUS_BYTES = 400_000
SEQ_LEN = 64


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    write_python_docs(str(folder), num_files=2, target_bytes=CORPUS_BYTES)
    return str(folder / "*.jsonl")


@pytest.fixture(scope="session")
def prepared(corpus, tmp_path_factory):
    """Prepare the rows of a recipe, once in a session; only sizes differ from the recipe."""
    made = {}

    def make(name):
        if name not in made:
            output = str(tmp_path_factory.mktemp(name) / "out")
            made[name] = prepare(describe_run(corpus, output), recipe=name)
        return made[name]

    return make


def describe_run(corpus, output):
    return {
        "input": {"paths": [corpus], "id_field": "id", "source_field": "source"},
        "output": {"url": output},
        "documents": {"held_out": 0.0},
        "tokenizer": {"vocab_size": 500},
        "pack": {"seq_len": SEQ_LEN},
        "engine": {"workers": 1},
    }


def describe_training(dataset, output, **run):
    """A train file that makes a recipe small: the model, the batch and the steps."""
    return {
        "data": {"dataset": dataset, "global_batch_rows": 8},
        "model": {"size": "tiny"},
        "optimizer": {"learning_rate": 3e-3, "warmup_steps": 10, "stable_steps": 0, "decay_steps": 2 * STEPS},
        "run": {"output": output, "steps": STEPS, "log_every": 1, "checkpoint_every": 20, "device": "cpu"} | run,
    }


def collect_losses(settings, name):
    events = []
    train(settings, events.append, recipe=name)
    return {event.step: event.loss for event in events if event.event == "train_step"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.long) if name in SLOW else name for name in NAMES if name != "domain"],
)
def test_a_recipe_learns_from_raw_text(prepared, tmp_path, name):
    (dataset,) = prepared(name).packed_urls()
    losses = collect_losses(describe_training(dataset, str(tmp_path)), name)
    assert list(losses) == list(range(1, STEPS + 1))
    steps = NOISY.get(name, 5)
    assert fmean(list(losses.values())[-steps:]) < fmean(list(losses.values())[:steps]) - 0.5


@pytest.mark.long
def test_the_recipe_of_a_domain_goes_on_with_a_model_and_a_larger_vocabulary(prepared, corpus, tmp_path):
    """Its first loss is far below that of a model that knows nothing; it continues to the bit."""
    (dataset,) = prepared("mosaicbert").packed_urls()
    collect_losses(describe_training(dataset, str(tmp_path / "first")), "mosaicbert")
    folder = str(tmp_path / "first/model")
    run = describe_run(corpus, str(tmp_path / "out"))
    run["tokenizer"] = {"from": folder, "extend": 60, "extend_into": "append"}
    extended = prepare(run, recipe="domain")
    settings = describe_training(extended.packed_urls()[0], str(tmp_path / "second"))
    settings["model"] = {"init": folder}
    losses = collect_losses(settings, "domain")
    assert extended.tokenizer.vocab_size == prepared("mosaicbert").tokenizer.vocab_size + 60
    assert losses[1] < math.log(extended.tokenizer.vocab_size) - 0.3
    assert fmean(list(losses.values())[-10:]) < fmean(list(losses.values())[:5])
    settings["run"] = {**settings["run"], "output": str(tmp_path / "third"), "steps": 10}
    settings["optimizer"] = {**settings["optimizer"], "decay_steps": 2 * STEPS}
    first = collect_losses(settings, "domain")
    settings["run"]["steps"] = 15
    assert first | collect_losses(settings, "domain") == {step: losses[step] for step in range(1, 16)}


def test_a_recipe_is_recorded_as_if_its_keys_were_written_by_hand(prepared, corpus, tmp_path):
    """Nothing in the record or in the bytes says that there was one."""
    by_hand = describe_run(corpus, str(tmp_path / "out"))
    for section, keys in read_recipe("spanbert").sections.items():
        if section in ("tokenizer", "pack", "mask"):
            by_hand[section] = {**keys, **by_hand.get(section, {})}
    prepare(by_hand)
    first, second = open_store(prepared("spanbert").settings.output.url), open_store(str(tmp_path / "out"))
    for path in ("run.json", "packed/manifest.json", "packed/shard-00000.arrow", "tokenizer/tokenizer.json"):
        assert first.read_bytes(path) == second.read_bytes(path)
    assert json.loads(first.read_bytes("packed/manifest.json"))["masking"]["strategy"] == "span"


@pytest.mark.long
@pytest.mark.parametrize("name", ["roberta", "modernbert", "electra"])
def test_a_run_that_is_killed_continues_to_the_bit(prepared, tmp_path, name):
    """By SIGKILL, of the command itself, at a moment that nothing chooses."""
    (dataset,) = prepared(name).packed_urls()
    undisturbed = collect_losses(describe_training(dataset, str(tmp_path / "undisturbed"), checkpoint_every=5), name)
    output = tmp_path / "killed"
    settings = describe_training(dataset, str(output), checkpoint_every=5)
    (tmp_path / "train.toml").write_text(write_toml(settings))
    command = [sys.executable, "-m", "maskmill", "train", str(tmp_path / "train.toml"), "--recipe", name, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while not (output / "checkpoints/step-00000010/checkpoint.json").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.kill()
    process.wait()
    checkpoint = find_checkpoint(open_store(str(output)))
    assert checkpoint is not None
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    losses = {event["step"]: event["loss"] for event in events if event["event"] == "train_step"}
    assert list(losses) == list(range(checkpoint.step + 1, STEPS + 1))
    assert losses == {step: undisturbed[step] for step in losses}
    assert read_folder(output / "model") == read_folder(tmp_path / "undisturbed" / "model")


def write_toml(settings):
    lines = []
    for section, keys in settings.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    return "\n".join(lines)


def read_folder(folder: Path):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
