"""Arguments of the command line: help without clutter, printable messages."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from maskmill.pipeline.standard_error import make_line

_UsageError: type[Any] = typer.BadParameter.mro()[1]
"""The error of click for wrong arguments; typer contains a copy of click."""


class _Usage:
    """Shows flags in help without a type, and makes arguments in messages printable."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Parse the arguments; errors are those of click."""
        try:
            return super().make_context(*args, **options)  # type: ignore[misc]  # of the command that this is mixed into
        except _UsageError as error:
            error.message = make_line(error.message)
            raise

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, with an empty type for flags."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # of the command that this is mixed into
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params


class Command(_Usage, TyperCommand):
    """A command."""


class Group(_Usage, TyperGroup):
    """The command line itself."""
