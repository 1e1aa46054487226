"""What a job says at its end: what it did now, what differs from the run file, and commands that can be given next."""

from __future__ import annotations

import io
import json
import shlex
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from maskmill.jobs.train import TrainLines
from maskmill.schemas.events import Noted
from maskmill.schemas.run_file import RunFile
from maskmill.schemas.terms import TERMS
from maskmill.schemas.toml_files import parse_toml
from maskmill.schemas.train_file import TrainFile
from maskmill.schemas.wording import say_gap
from tests.integration.runs import Ended, run_maskmill, set_options

RUN = """
[input]
name = "small"
paths = ["{folder}/*.jsonl"]
[output]
url = "{folder}/the output"
[documents]
held_out = 0.1
[tokenizer]
vocab_size = 200
[pack]
seq_len = 64
"""


def run(command: str, folder: Path, *sets: str) -> Ended:
    options = [one for one in sets if one.startswith("--")]
    settings = set_options(["engine.workers=1", *(one for one in sets if not one.startswith("--"))])
    return run_maskmill(command, folder / "run.toml", *settings, *options)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """A small run, and what its first command said."""
    folder = tmp_path_factory.mktemp("small")
    lines = [json.dumps({"text": f"document {number} has some words, {number % 7} of them"}) for number in range(400)]
    (folder / "a.jsonl").write_text("\n".join(lines))
    (folder / "run.toml").write_text(RUN.format(folder=folder))
    ended = run("prepare", folder)
    assert ended.status == 0, ended.stderr
    return folder, ended


@pytest.fixture
def copy(first: tuple[Path, Ended], tmp_path: Path) -> Path:
    """A copy of the small run, to be changed."""
    folder = Path(shutil.copytree(first[0], tmp_path / "copy"))
    (folder / "run.toml").write_text(RUN.format(folder=folder))
    return folder


def test_a_first_run_shows_its_stages_and_a_second_one_that_there_is_nothing_to_do(first: tuple[Path, Ended]) -> None:
    folder, ended = first
    stages = ("read and partition", "train vocabulary", "encode and pack")
    for stage in stages:
        assert sum(line.startswith(f"{stage} ") for line in ended.stdout.splitlines()) == 1
    assert "nothing to do" not in ended.stdout
    assert "1 units" not in ended.stdout
    assert "1 shards" not in ended.stdout
    again = run("prepare", folder)
    assert again.stdout.startswith("nothing to do: everything is already there\n")
    assert not [stage for stage in stages if stage in again.stdout]
    assert not [event for event in run("prepare", folder, "--json").events if event["event"] == "unit_done"]


def test_only_the_stages_of_this_run_are_shown(copy: Path) -> None:
    ended = run("prepare", copy, "pack.seq_len=32", "pack.min_segment=8", "--replace")
    assert ended.status == 0, ended.stderr
    assert "\nencode and pack " in ended.stdout
    assert "\ntrain vocabulary " not in ended.stdout


def test_every_term_that_needs_it_is_explained_where_it_is_printed(first: tuple[Path, Ended]) -> None:
    folder, ended = first
    said = " ".join(ended.stdout.split())
    for term in (
        "special in text",
        "proven by sample",
        "set aside",
        "coverage",
        "above the fewest",
        "held out",
        "fill",
    ):
        assert f"{term} {TERMS[term]}" in said
    assert "L1" in TERMS["above the fewest"]
    assert "L2" in TERMS["above the fewest"]
    reported = " ".join(run_maskmill("report", folder / "the output").stdout.split())
    for term in ("special in text", "proven by sample", "set aside", "word occurrences cut", "fingerprint"):
        assert reported.count(f"{term} {TERMS[term]}") == 1


def test_the_columns_of_tokenizers_are_explained_once(copy: Path) -> None:
    (copy / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##a\n")
    printed = [
        run("tokenizer", copy).stdout,
        run("tokenizer", copy, f"--compare={copy / 'vocab.txt'}").stdout,
        run_maskmill("report", copy / "the output" / "tokenizer").stdout,
    ]
    for said in printed:
        for term in ("coverage", "[UNK]", "accents", "tokens/word", "bytes/token"):
            assert " ".join(said.split()).count(TERMS[term]) == 1
            assert f"{term}: " not in said


def test_a_long_word_is_left_out_of_training_with_a_warning(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"document {number} has some words"}) for number in range(400)]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, json.dumps({"text": "x" * 101})]))
    (tmp_path / "run.toml").write_text(RUN.format(folder=tmp_path))

    def warn(*sets: str) -> list[str]:
        ended = run("tokenizer", tmp_path, "documents.held_out=0.0", "--json", *sets)
        assert ended.status == 0, ended.stderr
        messages = [event["message"] for event in ended.events if event["event"] == "warning"]
        return [message for message in messages if "left out of training" in message]

    (message,) = warn()
    assert "1 occurrence of words longer than 100 characters, 1 in source 'small'" in message
    assert 'tokenizer.long_words = "train"' in message
    assert warn("tokenizer.long_words=train", "--replace") == []


def test_the_commands_that_come_next_can_be_given_as_they_are_printed(first: tuple[Path, Ended]) -> None:
    folder, ended = first
    lines = ended.stdout.partition("next:\n")[2].splitlines()
    for line in lines:
        program, *arguments = shlex.split(line, comments=True) or [""]
        if program == "maskmill" and arguments[0] != "train":
            assert run_maskmill(*arguments).status == 0, line
    begin, end = lines.index("      [data]"), lines.index("  or in your own trainer:")
    train_file = parse_toml(TrainFile, "\n".join(lines[begin:end]), "train.toml")
    assert train_file.data.dataset == str(folder / "the output" / "packed")
    assert train_file.data.held_out == str(folder / "the output" / "packed-heldout")
    code = "\n".join(line.strip().replace("=256", "=8") for line in lines[end + 1 :])
    found: dict[str, object] = {}
    exec(code, found)
    assert next(iter(found["batches"])).input_ids.shape == (8, 64)  # type: ignore[call-overload]


def test_a_part_of_a_run_is_followed_by_the_next_one(copy: Path) -> None:
    shutil.rmtree(copy / "the output")
    ended = run("shard", copy)
    assert f"maskmill prepare {copy / 'run.toml'} --set engine.workers=1" in ended.stdout
    verified = run_maskmill("verify", copy / "the output")
    assert verified.status == 1
    assert "everything is as it was written" not in verified.stdout
    for part in ("tokenizer", "packed", "packed-heldout"):
        assert f"{copy / 'the output' / part}: this part of the run is missing" in verified.stdout


def test_a_run_with_other_settings_says_in_what_the_output_differs_from_the_file(copy: Path) -> None:
    change = ["pack.seq_len=32", "pack.min_segment=8", "pack.cut=word"]
    refused = run("prepare", copy, *change)
    assert refused.status == 1
    assert "the output was made with pack.seq_len = 64, pack.min_segment = 16, and you ask for " in refused.stderr
    assert "you ask for pack.seq_len = 32, pack.min_segment = 8; give pack.name another value" in refused.stderr
    assert "or --replace to delete packed/ and make new ones" in refused.stderr
    ended = run("prepare", copy, *change, "--replace")
    assert ended.status == 0, ended.stderr
    (note,) = (line for line in ended.stdout.splitlines() if line.startswith("note: "))
    assert note == (
        f"note: this output differs from {copy / 'run.toml'} by --set: "
        "pack.seq_len = 32, the file has 64; pack.min_segment = 8, the default is 16"
    )
    assert "note: " not in run("prepare", first_like(copy), "engine.workers=1").stdout


def test_keys_of_a_recipe_are_said_to_be_its_own_and_those_that_the_file_replaces_are_named(copy: Path) -> None:
    """Of `retromae`: 512 tokens in a row, whole words, a rate of 0.3."""
    shutil.rmtree(copy / "the output")
    options = ["mask.strategy=ngram", "mask.max_ngram=2", "documents.held_out=0.2", "--recipe=retromae"]
    ended = run("prepare", copy, *options)
    assert ended.status == 0, ended.stderr
    replaced, differs = (line for line in ended.stdout.splitlines() if line.startswith("note: "))
    assert replaced == (
        f"note: {copy / 'run.toml'} replaces keys of --recipe retromae: "
        "tokenizer.vocab_size = 200, the recipe has 30522; pack.seq_len = 64, the recipe has 512"
    )
    assert differs == (
        f"note: this output differs from {copy / 'run.toml'} with --recipe retromae by --set: "
        'documents.held_out = 0.2, the file has 0.1; mask.strategy = "ngram", the recipe has "whole_word"; '
        "mask.max_ngram = 2, the default is 3"
    )
    shards = run("shard", copy, "documents.held_out=0.2", "--recipe=retromae").stdout
    assert "replaces keys" not in shards


def test_a_length_of_the_file_takes_the_place_of_all_those_of_a_recipe_and_that_is_said(copy: Path) -> None:
    shutil.rmtree(copy / "the output")
    said = run("prepare", copy, "--recipe=neobert").stdout
    assert "pack.seq_len = 64, the recipe has [1024, 4096]" in said
    assert "without pack.seq_len in the file, there is a dataset for each length of the recipe" in said


@pytest.mark.parametrize("recipe", [None, "neobert"])
def test_several_lengths_are_trained_on_one_after_the_other(copy: Path, recipe: str | None) -> None:
    """As the run file lists them, each with the model of the one before."""
    shutil.rmtree(copy / "the output")
    text = RUN.format(folder=copy).replace("seq_len = 64", "seq_len = [32, 64]\nmin_segment = 8")
    (copy / "run.toml").write_text(text)
    ended = run("prepare", copy, *([] if recipe is None else [f"--recipe={recipe}"]))
    assert ended.status == 0, ended.stderr
    lines = ended.stdout.partition("next:\n")[2].splitlines()
    (first, second), end = (
        [n for n, line in enumerate(lines) if "maskmill train" in line],
        lines.index("  or in your own trainer:"),
    )
    option = "" if recipe is None else f" --recipe {recipe}"
    assert lines[first].startswith(f"  maskmill train train.toml{option}  # ")
    assert lines[second].startswith(f"  maskmill train train-64.toml{option}  # ")
    short, long = (
        parse_toml(TrainFile, "\n".join(part), "train.toml")
        for part in (lines[first + 1 : second], lines[second + 1 : end])
    )
    output = copy / "the output"
    assert (short.data.dataset, short.data.held_out) == (f"{output}/packed-32", f"{output}/packed-heldout-32")
    assert (long.data.dataset, long.data.held_out) == (f"{output}/packed-64", f"{output}/packed-heldout-64")
    assert short.model.init is None
    assert short.model.max_positions == (64 if recipe is None else None)  # positions of this recipe are not learned
    assert long.model.init == f"{short.run.output}/model"
    assert long.run.output != short.run.output
    assert f'MaskedBatches("{output}/packed-32"' in lines[end + 2]


def first_like(copy: Path) -> Path:
    """The same run, its file changed to what the output is."""
    text = RUN.format(folder=copy).replace("seq_len = 64", "seq_len = 32\nmin_segment = 8")
    (copy / "run.toml").write_text(text)
    assert parse_toml(RunFile, text, "run.toml").pack.seq_len == 32
    return copy


def test_a_changed_input_is_said_by_numbers_of_files_and_bytes(copy: Path) -> None:
    (copy / "b.jsonl").write_text('{"text": "one more"}\n')
    refused = run("prepare", copy)
    assert refused.stderr.startswith("StaleArtifactError: ")
    size = (copy / "a.jsonl").stat().st_size
    assert (
        f"expected 1 file of {size:,} bytes, as when it began; found 2 files of {size + 21:,} bytes" in refused.stderr
    )


def test_held_out_rows_that_do_not_exist_are_not_offered_to_a_trainer(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": f"words of number {n}"}) for n in range(60)))
    (tmp_path / "run.toml").write_text(RUN.format(folder=tmp_path).replace("held_out = 0.1", "held_out = 0.0001"))
    said = run("prepare", tmp_path).stdout
    assert "dataset = " in said
    assert "packed-heldout" not in said


def test_without_the_record_verify_does_not_say_that_everything_is_there(copy: Path) -> None:
    (copy / "the output" / "run.json").unlink()
    shutil.rmtree(copy / "the output" / "packed")
    shutil.rmtree(copy / "the output" / "packed-heldout")
    verified = run_maskmill("verify", copy / "the output")
    assert "everything is as it was written" not in verified.stdout
    assert "without run.json it is not known" in verified.stdout


def test_a_note_of_a_training_run_is_one_line() -> None:
    console = Console(file=io.StringIO(), width=200)
    TrainLines(console)(Noted(message="the generator begins with fresh weights"))
    assert console.file.getvalue() == "the generator begins with fresh weights\n"  # type: ignore[attr-defined]


def test_a_gap_is_said_below_or_above() -> None:
    assert say_gap(0.5) == "0.500 nats below the unigram entropy"
    assert say_gap(-1.644) == "1.644 nats above the unigram entropy"
