"""How the command line takes its arguments and its streams: help without clutter, messages that can be printed."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from maskmill.pipeline.standard_error import make_line

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


def open_streams() -> None:
    """Let what is printed never end a job: not for a letter that the terminal lacks, nor where nobody listens."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started this
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
