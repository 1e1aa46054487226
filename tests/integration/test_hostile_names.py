"""Special files and names with controls, given to the commands themselves: one clear, printable line, and no wait."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from maskmill.jobs.report import report
from maskmill.jobs.verify import verify
from maskmill.pipeline.corpus.list_inputs import list_inputs
from maskmill.pipeline.loader import MaskedBatches
from maskmill.pipeline.settings import read_toml
from maskmill.pipeline.storage.store import open_store
from maskmill.pipeline.training.checkpoints import CHECKPOINTS, MARKER_NAME, find_checkpoint
from maskmill.pipeline.training.train import train
from maskmill.pipeline.wordpiece.files.brought_files import read_brought_files
from maskmill.schemas.errors import MaskmillError
from maskmill.schemas.printable import make_printable
from maskmill.schemas.run_file import RunFile
from maskmill.schemas.train_file import TrainFile
from tests.integration.runs import Ended, run_maskmill, write_run_file

CONTROLS = "\x1b]8;;evil:\x07click\x1b[31m\u202egpj\u2066\x9b2J\u200b"
SHOWN = "\\x1b]8;;evil:\\x07click\\x1b[31m\\u202egpj\\u2066\\x9b2J\\u200b"
TEXT = "some words of an honest text about rows and tokens, long enough to be learnt from"


def write_corpus(folder: Path, source: str) -> Path:
    folder.mkdir()
    lines = [
        json.dumps({"id": f"{number}{source}", "text": f"{TEXT} {number}", "source": source}) for number in range(60)
    ]
    (folder / f"in{CONTROLS}.jsonl").write_text("".join(f"{line}\n" for line in [*lines, "no json \x1b[31m"]), "utf-8")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """A run over files, documents and sources of hostile names, into a folder of one."""
    folder = tmp_path_factory.mktemp("hostile")
    corpus = write_corpus(folder / "corpus", f"news\n{CONTROLS}")
    run_file = write_run_file(folder / "run.toml", "", folder / "out", [f"{corpus}/*.jsonl"])
    ended = run_maskmill("prepare", run_file, "--set", "engine.kind=local", "--set", "engine.workers=1")
    return folder, ended


def assert_printable(ended: Ended) -> None:
    for line in (ended.stdout + ended.stderr).split("\n"):
        assert line == make_printable(line), ascii(line)


def test_hostile_sources_ids_and_files_are_printed_visibly(run: tuple[Path, Ended]) -> None:
    folder, ended = run
    assert ended.status == 0, ended.stderr
    assert "news\\n\\x1b]8" in "".join(ended.stdout.split())
    shown = run_maskmill("report", folder / "out")
    assert shown.status == 0
    for one in (ended, shown, run_maskmill("verify", folder / "out")):
        assert_printable(one)


def test_what_is_wrong_in_a_file_of_a_hostile_name_is_said_visibly(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", "a")
    (corpus / f"bad{CONTROLS}.jsonl.gz").write_bytes(b"no gzip")
    for sets in (["--json"], ["--set", f"pack.{CONTROLS}=1"]):
        run_file = write_run_file(tmp_path / f"run{CONTROLS}.toml", "", tmp_path / "out", [f"{corpus}/*"])
        ended = run_maskmill("prepare", run_file, *sets)
        assert ended.status == 1
        assert ended.stderr.count("\n") == 1, ended.stderr
        assert_printable(ended)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def read_train_file(folder: Path) -> object:
    config = read_toml(TrainFile, str(folder / "train.toml"), [f"data.dataset={folder}/packed"])
    return train(config, lambda _: None)


PLACES: dict[str, Callable[[Path], object]] = {
    "run file": lambda folder: read_toml(RunFile, str(folder / "special.toml")),
    "train file": lambda folder: read_toml(TrainFile, str(folder / "special.toml")),
    "tokenizer": lambda folder: read_brought_files(str(folder / "tokenizer.json")),
    "tokenizer's folder": lambda folder: read_brought_files(str(folder)),
    "input": lambda folder: list_inputs([str(folder / "special.toml")]),
    "pattern": lambda folder: list_inputs([str(folder / "special.*")]),
    "verified": lambda folder: verify(str(folder / "packed"), as_json=False),
    "reported": lambda folder: report(str(folder / "packed")),
    "loaded": lambda folder: MaskedBatches(str(folder / "packed"), global_batch_rows=8),
    "trained on": read_train_file,
    "checkpoint": lambda folder: find_checkpoint(open_store(str(folder / "trained"))),
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("make", [pipe, endless])
@pytest.mark.parametrize("place", PLACES)
def test_no_special_file_is_waited_for(tmp_path: Path, place: str, make: Callable[[Path], None]) -> None:
    checkpoint = tmp_path / "trained" / CHECKPOINTS / "step-000000000001"
    for folder in (tmp_path / "packed", checkpoint):
        folder.mkdir(parents=True)
    for name in ("special.toml", "tokenizer.json", "packed/manifest.json", str(checkpoint / MARKER_NAME)):
        make(tmp_path / name)
    (tmp_path / "train.toml").write_text(f'[data]\ndataset = "x"\n[run]\noutput = "{tmp_path}/out"\n')
    with pytest.raises(MaskmillError) as caught:
        PLACES[place](tmp_path)
    said = str(caught.value)
    assert "a pipe" in said or "a device" in said
    assert str(tmp_path) in said
    assert "write its output to a file" in said


def test_a_pipe_given_on_purpose_is_refused_with_the_remedy_and_a_file_is_not(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("[input]\n")
    command = f"{sys.executable} -m maskmill prepare"
    for given in ("cat run.toml | {} /dev/stdin", "{} <(cat run.toml)"):
        ended = subprocess.run(
            ["bash", "-c", given.format(command)], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 1
        assert "a pipe; write its output to a file, and give the path of that file" in ended.stderr
    ended = subprocess.run(
        ["bash", "-c", f"{command} /dev/stdin < run.toml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "is missing" in ended.stderr


def test_a_dataset_with_special_files_is_verified_to_its_end(run: tuple[Path, Ended], tmp_path: Path) -> None:
    folder, _ = run
    dataset = tmp_path / "packed"
    shutil.copytree(folder / "out" / "packed", dataset)
    shard = next(dataset.glob("shard-*.arrow"))
    shard.unlink()
    os.mkfifo(shard)
    ended = run_maskmill("verify", dataset, timeout=60)
    assert ended.status == 1
    assert f"{shard}: this is not a regular file" in ended.stdout
    (dataset / "shards.arrow").unlink()
    (dataset / "shards.arrow").symlink_to("/dev/zero")
    ended = run_maskmill("verify", dataset, timeout=60)
    assert ended.status == 1
    assert "shards.arrow: this is not a regular file" in ended.stdout + ended.stderr
