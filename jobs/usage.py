"""How the command line takes its arguments and its streams: help without clutter, messages that can be printed."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from maskmill.pipeline.standard_error import make_line
from maskmill.schemas.errors import ConfigError

_NO_READER = 128 + signal.SIGPIPE
"""What shells report of a command that this signal ends, as other commands are whose reader goes away."""
_UsageError: type[Any] = typer.BadParameter.mro()[1]
"""What wrong arguments are to click, which typer brings a copy of."""


class _Usage:
    """Shows flags in help without a type, `--replace`, and arguments in messages printable, whatever a glob gave."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        """The arguments, parsed; what is wrong with them is raised as click does."""
        try:
            return super().make_context(*args, **options)  # type: ignore[misc]  # of the command that this is mixed into
        except _UsageError as error:
            error.message = make_line(error.message)
            raise

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, with an empty type for those that take no value."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # of the command that this is mixed into
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params


class Command(_Usage, TyperCommand):
    """A command."""


class Group(_Usage, TyperGroup):
    """The command line itself."""


class _Stream(io.TextIOWrapper):
    """A standard stream, for any letter; what its reader or its disk refuses goes to a function."""

    def __init__(self, stream: io.TextIOWrapper, on_failure: Callable[[OSError], None]) -> None:
        self._on_failure = on_failure
        super().__init__(
            open(stream.fileno(), "wb", closefd=False),  # noqa: SIM115  # until the process ends
            stream.encoding,
            "backslashreplace",
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._on_failure(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._on_failure(error)


def _end_command(error: OSError) -> None:
    if error.errno == errno.EPIPE:
        raise SystemExit(_NO_READER)
    raise ConfigError(
        "the output of the command cannot be written",
        path="standard output",
        found=error.strerror,
        action="free space, or write it to another place",
    )


def _ignore(_: OSError) -> None:
    """Do nothing: there is nowhere to say it."""


def open_streams() -> None:
    """Let no command fail for a letter that the terminal lacks, nor because nobody reads its messages.

    Where the reader of its output has gone, as of `| head`, it ends quietly.
    """
    for name, on_failure in (("stdout", _end_command), ("stderr", _ignore)):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started this
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, _Stream(stream, on_failure))
