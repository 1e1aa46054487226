"""`python -m MODULE` in a process that is forked with its imports done, to be watched and killed: 1 s of CPU less."""

from __future__ import annotations

import atexit
import os
import runpy
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from tests.servers.processes import die_with_parent, use_fork_server
from tests.servers.short_proofs import shorten_proofs


class ForkedModule:
    """A module that runs as `__main__` in this folder and environment; its process is killed with the tests'.

    Args:
        module: Its name.
        arguments: Of its command line.
        errors: A file that its standard error is added to.
        preloaded: The module that imports what it needs.

    Attributes:
        pid: Its process.
        stdout: What it writes to standard output.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], errors: Path, preloaded: str = "tests.servers.command_modules"
    ) -> None:
        context = use_fork_server(preloaded)
        reading, writing = context.Pipe(duplex=False)
        command = (module, list(arguments), os.getcwd(), dict(os.environ), writing, str(errors))
        self._process = context.Process(target=_run, args=command)
        self._process.start()
        writing.close()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self.stdout = os.fdopen(os.dup(reading.fileno()), "rb")
        reading.close()

    @property
    def returncode(self) -> int | None:
        """Its status, negative where a signal ended it; `None` while it runs."""
        return self._process.exitcode

    def wait(self) -> int:
        """Wait for its end; returns its status."""
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode


def _run(
    module: str, arguments: Sequence[str], folder: str, environment: dict[str, str], output: Connection, errors: str
) -> None:
    die_with_parent()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    shorten_proofs()
    os.dup2(output.fileno(), 1)
    output.close()
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    # Those of the fork server know what it writes to, a file maybe, in which a stream may seek.
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()
