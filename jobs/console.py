"""All that a command prints: tables and lines for a person, JSON lines for a program; plain lines by `standard_error`.

What is printed quotes names and messages of files that others wrote. Everything goes out through here, where
credentials are taken out (`redact`) and what a terminal would obey is made visible (`make_printable`). A string is one
line; only what `rich` itself draws, such as colours and bars, controls the terminal.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from maskmill.pipeline.standard_error import make_line
from maskmill.schemas.printable import make_printable
from maskmill.schemas.redaction import redact


class _SafeConsole(Console):
    """Makes every string printable before it is measured, and everything else as it is drawn."""

    def render_str(self, text: str, *args: Any, **options: Any) -> Text:
        """A string as one line of text."""
        return super().render_str(make_line(text), *args, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of anything; text in them is checked once more, since not all of it was a string."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text == "\n":
                yield segment
            else:
                lines = segment.text.split("\n")  # of a segment's own line breaks
                yield Segment("\n".join(map(make_printable, lines)), segment.style)


def open_console(**settings: Any) -> Console:
    """A console that prints text as it is, without markup; settings are those of `rich`."""
    return _SafeConsole(markup=False, emoji=False, highlight=False, **settings)


def write_json(event: Mapping[str, Any]) -> None:
    """Write an event as one line of JSON to standard output, with the time.

    JSON, in ASCII alone, escapes all of the controls.
    """
    line = json.dumps(_without_secrets({"time": round(time.time(), 3), **event}))
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _without_secrets(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {_without_secrets(name): _without_secrets(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_secrets(one) for one in value]
    return value
