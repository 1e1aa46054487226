"""The standard streams of a command: any character can be written, and a reader that is gone ends it quietly."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Callable

from maskmill.pipeline.standard_error import say
from maskmill.schemas.errors import ConfigError

_NO_READER = 128 + signal.SIGPIPE
"""The status of a command that SIGPIPE ends, as shells report it."""


class _Stream(io.TextIOWrapper):
    """A standard stream that can write any character, and passes errors of its reader or disk to a function."""

    def __init__(self, stream: io.TextIOWrapper, on_failure: Callable[[OSError, bool], None]) -> None:
        self._on_failure = on_failure
        self._has_failed = False
        buffering = 0 if stream.write_through else -1  # without a buffer where Python was started with -u
        super().__init__(
            open(stream.fileno(), "wb", buffering, closefd=False),  # noqa: SIM115  # until the process ends
            stream.encoding,
            "backslashreplace",
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._fail(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        is_first, self._has_failed = not self._has_failed, True
        self._on_failure(error, is_first)


def _end_command(error: OSError, is_first: bool) -> None:
    if error.errno == errno.EPIPE:
        raise SystemExit(_NO_READER)
    failure = ConfigError(
        "the output of the command cannot be written",
        path="standard output",
        found=error.strerror,
        action="free space, or write it to another place",
    )
    if is_first:  # what is left in the buffer fails once more at the end
        say(f"ConfigError: {failure}")
    raise SystemExit(1)  # not the error itself, which whoever judges a dataset would take for one of that


def _has_file(stream: io.TextIOWrapper) -> bool:
    """Whether a stream writes to a file of the system; a test's may not."""
    try:
        return stream.fileno() >= 0
    except OSError:
        return False


def _ignore(_: OSError, __: bool) -> None:
    """Do nothing: there is nowhere to report it."""


def open_streams() -> None:
    """Replace the standard streams: no command fails for a character that the terminal lacks, or for lost messages.

    If nobody reads its output any more, as after `| head`, a command ends quietly.
    """
    for name, on_failure in (("stdout", _end_command), ("stderr", _ignore)):
        stream = getattr(sys, name)
        if stream is None:  # closed by the parent process
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # until the process ends
        elif isinstance(stream, io.TextIOWrapper) and _has_file(stream):
            setattr(sys, name, _Stream(stream, on_failure))
