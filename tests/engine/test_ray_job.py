"""Inside a Ray job an output that would be lost is refused before anything is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from maskmill.pipeline.engine.ray_job import IN_JOB, refuse_lost_output
from maskmill.schemas.errors import ConfigError

CACHE = "/tmp/ray/session_2026-11-29_16-19-42_524290_10184/runtime_resources/working_dir_files/_ray_pkg_e5"  # noqa: S108
KEPT = ["s3://bucket/run", "gs://bucket/run", "memory://run", "/data/run", "file:///data/run", "~/run"]
RELATIVE = ["out", "./out", "../out", "a/b", "file://out", "local://out", "a/b://c", "a b://c", "./s3://c"]


@pytest.mark.parametrize("url", KEPT)
def test_what_is_found_again_may_be_written_inside_a_job(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IN_JOB, "{}")
    refuse_lost_output(url, "output.url")


@pytest.mark.parametrize("url", RELATIVE)
def test_a_relative_path_is_refused_inside_a_job_alone(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(IN_JOB, raising=False)
    refuse_lost_output(url, "output.url")
    monkeypatch.setenv(IN_JOB, "{}")
    with pytest.raises(ConfigError, match="inside a Ray job") as caught:
        refuse_lost_output(url, "output.url")
    assert caught.value.path == "output.url"
    assert "s3://" in str(caught.value.action)


def test_a_path_in_rays_cache_is_refused_however_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(IN_JOB, raising=False)  # as in a task of a job
    for url in (CACHE, f"{CACHE}/out", f"file://{CACHE}/out"):
        with pytest.raises(ConfigError, match="Ray's cache"):
            refuse_lost_output(url, "output.url")


@pytest.mark.parametrize(
    ("command", "key", "lines"),
    [
        ("prepare", "output.url", '[input]\npaths = ["a.jsonl"]\n[output]\nurl = "out"\n'),
        pytest.param("train", "run.output", '[data]\ndataset = "a"\n[run]\noutput = "out"\n', marks=pytest.mark.long),
    ],
)
def test_a_command_in_a_job_refuses_a_relative_output_and_writes_nothing(
    tmp_path: Path, command: str, key: str, lines: str
) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "some text"}\n')
    (tmp_path / "run.toml").write_text(lines)
    ended = subprocess.run(
        [sys.executable, "-m", "maskmill", command, "run.toml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), IN_JOB: "{}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"ConfigError: {key}: this output would be lost")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "run.toml"]
