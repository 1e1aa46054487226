"""Everything that a command prints: tables and lines for people, JSON lines for programs.

The output quotes names and messages from files that others wrote. So everything is printed through this module, which
removes credentials (`redact`) and makes control characters visible (`make_printable`). A string is one line; only what
`rich` itself draws, such as colours and bars, controls the terminal. `standard_error` writes plain lines.
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
        """The segments of any object; their text is checked once more, since not all of it was a string."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text == "\n":
                yield segment
            else:
                lines = segment.text.split("\n")  # keeps the segment's own line breaks
                yield Segment("\n".join(map(make_printable, lines)), segment.style)


def open_console(**settings: Any) -> Console:
    """Open a console that prints text without markup; the settings are those of `rich`."""
    return _SafeConsole(markup=False, emoji=False, highlight=False, **settings)


def write_json(event: Mapping[str, Any]) -> None:
    """Write an event as one line of JSON to standard output, with the time.

    ASCII-only JSON escapes every control character.
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
