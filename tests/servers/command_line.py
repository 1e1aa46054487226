"""The command line in processes that are forked with its imports done: 1 s less for every command.

`python -m tests.servers.command_line` imports what all commands need, then runs those that come as lines of JSON, one
after the other, each in a fork of its own. Tests of signals, kills and what an interpreter does at its start have to
start `python -m maskmill` themselves.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.servers.processes import start_python
from tests.servers.short_proofs import shorten_proofs

ROOT = Path(__file__).parents[2]


def run_command_line(arguments: Sequence[str], timeout_seconds: int) -> tuple[int, str, str]:
    """Run `maskmill` in this folder and environment.

    Returns:
        Its status, -14 if it was killed after the timeout, and what it wrote to standard output and standard error.
    """
    server = _start_server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/stdout", f"{folder}/stderr"]
        command = [list(arguments), os.getcwd(), dict(os.environ), timeout_seconds, paths]
        server.stdin.write(json.dumps(command).encode() + b"\n")
        server.stdin.flush()
        status = int(server.stdout.readline())
        stdout, stderr = (Path(path).read_text() for path in paths)
    return status, stdout, stderr


@functools.cache
def _start_server() -> subprocess.Popen[bytes]:
    return start_python(
        "-m", "tests.servers.command_line", cwd=str(ROOT), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def _serve() -> None:
    import tests.servers.command_modules  # noqa: F401  # what forks shall have

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _run(*json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(
    arguments: list[str], folder: str, environment: dict[str, str], timeout_seconds: int, paths: list[str]
) -> None:
    """Run a command as an interpreter would; does not return."""
    status = 1
    try:
        os.setsid()
        signal.alarm(timeout_seconds)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        shorten_proofs()
        for number, path in enumerate(["/dev/null", *paths]):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.argv = ["maskmill", *arguments]
        try:
            runpy.run_module("maskmill", run_name="__main__")
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        atexit._run_exitfuncs()
    except BaseException:  # noqa: BLE001  # a fork must never serve
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
