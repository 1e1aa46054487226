"""The console that jobs speak to. What they say is data: names of files and sources, which no markup may read."""

from __future__ import annotations

from typing import Any

from rich.console import Console


def open_console(**settings: Any) -> Console:
    """A console that prints text as it is; settings are those of `rich`."""
    return Console(markup=False, emoji=False, highlight=False, **settings)
