"""Load and run a command: set its exit status, and print one clear line if it fails."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable
from typing import Any

import typer

from maskmill.jobs.console import open_console
from maskmill.pipeline.standard_error import say, say_traceback
from maskmill.schemas.errors import ConfigError, MaskmillError


def load_job(name: str) -> Callable[..., int]:
    """Import the function of a command at its first use: `--help` imports nothing of the pipeline.

    What importing makes stays until the end, so the garbage collector need not look at it: that took 0.2 s.
    """
    gc.disable()
    try:
        job: Callable[..., int] = getattr(importlib.import_module(f"maskmill.jobs.{name}"), name)
        for setting in ("leave_out_pandas", "keep_freed_memory"):
            getattr(importlib.import_module(f"maskmill.pipeline.engine.{setting}"), setting)()
    finally:
        gc.freeze()
        gc.enable()
    return job


def run_command(job: Callable[[], int | None], debug: bool, interrupted: str = "interrupted") -> None:
    """Run a job, including its imports; a failure prints one clear line, and its traceback only on request.

    Args:
        job: Returns the exit status.
        debug: Show tracebacks.
        interrupted: The message after Ctrl-C.
    """
    try:
        status: Any = job()
    except KeyboardInterrupt:
        say(interrupted)
        raise typer.Exit(130) from None
    except typer.Exit:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, it is told in one line
        if debug:
            say_traceback(error)
            raise typer.Exit(1) from None
        open_console(stderr=True, soft_wrap=True).print(_explain(error), style="red")
        raise typer.Exit(1) from None
    if status:
        raise typer.Exit(status)


def _explain(error: Exception) -> str:
    """Describe an error in one line."""
    if isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] != "maskmill":
        error = ConfigError(
            f"{error.name} is not installed",
            path=sys.prefix,
            action='pip install "maskmill[prepare,train]"',
        )
    if isinstance(error, MaskmillError):
        return f"{type(error).__name__}: {error}"
    return f"unexpected {type(error).__name__}: {error}; give --debug for the traceback"
