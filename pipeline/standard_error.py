"""Write to standard error safely: plain lines, tracebacks, and the output of libraries.

Every line goes out without credentials (`redact`) and with what a terminal would obey made visible (`make_printable`).
A command guards its own process and every worker process that it starts; what a library writes from compiled code,
such as the message of a panic, does not pass here.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from types import TracebackType
from typing import Any

from maskmill.schemas.printable import make_printable
from maskmill.schemas.redaction import redact

_LOG = logging.getLogger("maskmill.standard_error")
SHOWN_IN_LINE = 8000
"""Characters of a line: all fields of an error, each shortened, fit into it."""


def make_line(text: str) -> str:
    """Any text as one printable line without credentials."""
    return make_printable(redact(text[: 4 * SHOWN_IN_LINE]), SHOWN_IN_LINE)


def say(text: str) -> None:
    """Write a plain line to standard error."""
    sys.stderr.write(f"{make_line(text)}\n")


def say_traceback(error: BaseException) -> None:
    """Write a traceback to standard error."""
    for line in "".join(traceback.format_exception(error)).splitlines():
        say(line)


class _PrintableFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(make_line, super().format(record).splitlines()))


def guard_libraries() -> None:
    """Let what libraries, warnings and threads write by themselves in this process be printable too."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_PrintableFormatter())
    logging.lastResort = handler
    warnings.showwarning = _show_warning
    sys.excepthook = _show_uncaught
    sys.unraisablehook = lambda raised: _LOG.debug("ignored at the end of an object: %r", raised.exc_value)
    threading.excepthook = _show_uncaught_of_thread


def guard_worker() -> None:
    """The same in a worker process, unless whoever started it shows warnings in another way."""
    if warnings.showwarning.__module__ == warnings.__name__:
        guard_libraries()


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    say(f"{category.__name__}: {message}")


def _show_uncaught_of_thread(raised: threading.ExceptHookArgs) -> None:
    if raised.exc_value is not None and not isinstance(raised.exc_value, SystemExit):  # which only ends the thread
        say_traceback(raised.exc_value)


def _show_uncaught(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
    say_traceback(error)
