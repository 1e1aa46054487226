"""A reader that goes away ends a command quietly, and what cannot be written is told in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.runs import run_maskmill

KILLED_BY_SIGPIPE = 141  # what shells report


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; returns its run file."""
    folder = tmp_path_factory.mktemp("streams")
    lines = [{"text": f"word {number}", "source": "one"} for number in range(50)]
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    run_file = folder / "run.toml"
    run_file.write_text(
        f'[input]\npaths = ["{folder}/a.jsonl"]\n[output]\nurl = "{folder}/out"\n'
        "[engine]\nworkers = 1\n[tokenizer]\nvocab_size = 64\n"
    )
    ended = run_maskmill("prepare", run_file)
    assert ended.status == 0, ended.stderr
    return run_file


def _in_shell(command: str, *, unbuffered: bool) -> subprocess.CompletedProcess[str]:
    variable = "PYTHONUNBUFFERED=1" if unbuffered else "PYTHONUNBUFFERED="
    line = f"set -o pipefail; {variable} {sys.executable} -m maskmill {command}"
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.long
@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize(
    "command", ["prepare {run} --json --set output.url={out}", "verify {done}", "verify {done} --json", "--help"]
)
def test_a_reader_that_goes_away_ends_a_command_quietly(
    run: Path, tmp_path: Path, command: str, *, unbuffered: bool
) -> None:
    words = command.format(run=run, done=run.parent / "out", out=tmp_path / "out")
    ended = _in_shell(f"{words} | true", unbuffered=unbuffered)
    assert ended.stderr == ""
    assert ended.returncode == KILLED_BY_SIGPIPE


@pytest.mark.parametrize("options", ["", "--json"])
def test_a_full_disk_under_the_output_is_told_in_one_line(run: Path, options: str) -> None:
    ended = _in_shell(f"verify {run.parent}/out {options} >/dev/full", unbuffered=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("ConfigError: standard output: ")
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_what_is_written_unbuffered_is_seen_before_a_kill() -> None:
    """Containers set PYTHONUNBUFFERED so that nothing is lost with a process that is killed."""
    code = (
        "import os, signal, sys\n"
        "from maskmill.pipeline.standard_streams import open_streams\n"
        "open_streams()\n"
        "sys.stdout.write('out')\n"
        "sys.stderr.write('error')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-u", "-c", code], capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr) == ("out", "error")


def test_help_that_cannot_be_written_is_told_in_one_line() -> None:
    ended = _in_shell("--help > /dev/full", unbuffered=False)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "the output of the command cannot be written" in ended.stderr


def test_a_thread_that_loses_its_reader_is_quiet() -> None:
    code = (
        "import sys, threading\n"
        "from maskmill.pipeline.standard_error import guard_libraries\n"
        "guard_libraries()\n"
        "thread = threading.Thread(target=sys.exit, args=(141,))\n"
        "thread.start()\n"
        "thread.join()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
