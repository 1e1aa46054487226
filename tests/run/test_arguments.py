"""What a program passes to the public functions is right, or refused by the argument's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maskmill import open_dataset, prepare, train, verify
from maskmill.errors import ConfigError
from maskmill.schemas.run_file import RunFile
from maskmill.schemas.train_file import TrainFile

RUN = {"input": {"paths": ["nowhere/*.jsonl"]}, "output": {"url": "out"}}
TRAIN = {"data": {"dataset": "out/packed"}, "run": {"output": "out/training"}}

WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "a run of no kind": (lambda: prepare(7), "run: this is not a RunFile"),  # type: ignore[arg-type]
    "an empty path": (lambda: prepare(""), "run: this is not a path or URL"),
    "a path of bytes": (lambda: prepare(b"run.toml"), "run: this is not a RunFile"),  # type: ignore[arg-type]
    "no such run file": (lambda: prepare("nowhere/run.toml"), "nowhere/run.toml: the file does not exist"),
    "no such run file, as a path": (
        lambda: prepare(Path("nowhere/run.toml")),
        "nowhere/run.toml: the file does not exist",
    ),
    "an unknown section": (lambda: prepare({**RUN, "outptu": {}}), "run: unknown key outptu"),
    "a wrong value": (lambda: prepare({**RUN, "pack": {"seq_len": 1.5}}), "run: the value of pack.seq_len is wrong"),
    "a section that is none": (lambda: prepare({**RUN, "pack": 3}), "run: pack is not a section"),
    "a missing section": (lambda: prepare({"input": RUN["input"]}), "run: the key output is missing"),
    "a train file as a run file": (
        lambda: prepare(TrainFile.model_validate(TRAIN)),  # type: ignore[arg-type]
        "run: this is not a RunFile",
    ),
    "no such part": (lambda: prepare(RUN, up_to="rows"), "up_to: unknown part of a run"),
    "a callback that is none": (lambda: prepare(RUN, 3), "on_event: this cannot be called"),  # type: ignore[arg-type]
    "a word for a flag": (lambda: prepare(RUN, replace="no"), "replace: this is neither yes nor no"),  # type: ignore[arg-type]
    "inputs that are not there": (lambda: prepare(RUN), "nowhere"),
    "nothing to verify": (lambda: verify("nowhere"), "nowhere: nothing to verify here"),
    "a number to verify": (lambda: verify(3), "url: this is not a path or URL"),  # type: ignore[arg-type]
    "a verify callback": (lambda: verify("nowhere", 3), "on_event: this cannot be called"),  # type: ignore[arg-type]
    "a callback for parts": (
        lambda: verify("nowhere", on_part=3),  # type: ignore[arg-type]
        "on_part: this cannot be called",
    ),
    "a number to train": (lambda: train(3), "train_file: this is not a TrainFile"),  # type: ignore[arg-type]
    "a run file to train": (
        lambda: train(RunFile.model_validate(RUN)),  # type: ignore[arg-type]
        "train_file: this is not a TrainFile",
    ),
    "an unknown key to train": (lambda: train({**TRAIN, "modle": {}}), "train_file: unknown key modle"),
    "a train callback": (lambda: train(TRAIN, "print"), "on_event: this cannot be called"),  # type: ignore[arg-type]
    "no dataset": (lambda: open_dataset("nowhere"), "nowhere: no dataset here"),
    "an empty dataset url": (lambda: open_dataset(""), "url: this is not a path or URL"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said_with_the_argument(wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call, said = WRONG[wrong]
    with pytest.raises(ConfigError) as caught:
        call()
    assert said in str(caught.value)
    assert not list(tmp_path.iterdir())  # nothing is made before everything is known to be right
