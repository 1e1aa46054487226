"""A run or train file means the same in whichever form a program has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskmill.errors import ConfigError
from maskmill.pipeline.settings import check_callback, check_flag, check_url, load_settings
from maskmill.schemas.run_file import RunFile

TOML = """
[input]
paths = ["corpus/*.jsonl"]
[output]
url = "out"
[pack]
seq_len = [64, 128]
"""
SECTIONS = {"input": {"paths": ["corpus/*.jsonl"]}, "output": {"url": "out"}, "pack": {"seq_len": [64, 128]}}


def test_a_path_a_dictionary_and_a_model_are_one_run_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(TOML)
    model = RunFile.model_validate(SECTIONS)
    for given in (str(path), path, SECTIONS, model, {**SECTIONS, "output": model.output}):
        assert load_settings(RunFile, given, "run") == model
    assert load_settings(RunFile, model, "run") is model


def test_a_dictionary_that_is_refused_shows_no_credentials() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(RunFile, {**SECTIONS, "output": {"url": ["s3://user:hunter2@host/out"]}}, "run")
    assert "hunter2" not in str(caught.value)
    assert str(caught.value).startswith("run: the value of output.url is wrong")


def test_single_arguments_are_taken_as_they_are_or_refused_by_name(tmp_path: Path) -> None:
    assert check_url(tmp_path, "url") == str(tmp_path)
    assert check_flag(True, "replace")
    check_callback(None, "on_event")
    check_callback(print, "on_event")
    for check, wrong in ((check_url, None), (check_url, ""), (check_flag, 1), (check_callback, "print")):
        with pytest.raises(ConfigError, match=r"^it: "):
            check(wrong, "it")
