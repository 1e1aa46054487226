"""A child process that dies at the n-th step of a write: run as `python crash_writer.py KIND PATH NTH`.

Every system call through which `local_files` changes the disk is wrapped; the n-th one, counted over all of them,
kills this process with SIGKILL before it is made. With an n above their number the write ends, and their number is
printed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Self

from maskmill.pipeline.storage import local_files

CONTENT = b"all of the content " * 10_000
STEPS = ("mkdir", "open", "fsync", "close", "replace", "link", "unlink")
made = 0


def counted(call: Callable[..., Any], nth: int) -> Callable[..., Any]:
    def step(*arguments: Any, **named: Any) -> Any:
        global made
        made += 1
        if made == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **named)

    return step


class _CountedFile:
    """A file whose writes, flushes and closing are steps too; half of the content is written on its own."""

    def __init__(self, path: str, mode: str, nth: int) -> None:
        self._file = open(path, mode, buffering=0)  # noqa: SIM115
        self._nth = nth
        self.fileno = self._file.fileno

    def write(self, data: bytes) -> None:
        for part in (data[: len(data) // 2], data[len(data) // 2 :]):
            counted(self._file.write, self._nth)(part)

    def flush(self) -> None:
        counted(self._file.flush, self._nth)()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        counted(self._file.close, self._nth)()


def main(kind: str, path: str, nth: int) -> None:
    for name in STEPS:
        setattr(os, name, counted(getattr(os, name), nth))
    local_files.open = counted(lambda path, mode: _CountedFile(path, mode, nth), nth)  # type: ignore[attr-defined]
    if kind == "replace":
        with local_files.open_durable(path) as file:
            file.write(CONTENT)
    else:
        local_files.create_exclusively(path, CONTENT)
    print(made)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
