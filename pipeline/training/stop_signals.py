"""Ctrl-C and SIGTERM during training: the current step is finished and saved, then the run ends.

The first signal stops the run at once wherever its state is that of a whole step: while it waits for rows or scores
the model. It lets a step or a checkpoint be finished. A second signal ends the process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequestedError(KeyboardInterrupt):
    """Raised after a signal, once the run can stop.

    Args:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.not_saved: Exception | None = None
        """The reason why the last finished step could not be saved."""


class TrainingInterruptedError(KeyboardInterrupt):
    """Training was stopped by a signal.

    Attributes:
        number: The signal's.
        continues_at: The step of the newest checkpoint; None where there is none and the run starts over.
        not_saved: Why the last finished step could not be saved; None if it was, or if there was none.
    """

    def __init__(self, number: int, continues_at: int | None, not_saved: Exception | None) -> None:
        super().__init__(number, continues_at, not_saved)
        self.number, self.continues_at, self.not_saved = number, continues_at, not_saved

    def __str__(self) -> str:
        text = "interrupted"
        if self.not_saved is not None:
            text += f"; the last step could not be saved ({self.not_saved})"
        if self.continues_at is None:
            return f"{text}; there is no checkpoint: the same command starts over"
        return f"{text}; the same command continues from the checkpoint of step {self.continues_at}"


class StopSignals:
    """Receives signals for a run, which then stops as soon as its state is that of a whole step."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._is_deferred = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch the signals; in another thread than the main one Python delivers none, and nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Finish what is within before a signal stops the run: what it changes must be whole.

        Raises:
            StopRequestedError: At the end, if a signal has come.
        """
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False
        if self._number is not None:
            raise StopRequestedError(self._number)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self._number = number
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)  # the next one ends the process, whatever it is doing
        if not self._is_deferred:
            raise StopRequestedError(number)
        with contextlib.suppress(OSError):  # not print: the signal may have come in the middle of one
            os.write(2, b"stopping after this step; a second signal stops at once, and loses it\n")
