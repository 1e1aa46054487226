"""The progress of a command: live bars or plain lines for people, or one JSON line per event for programs."""

from __future__ import annotations

import threading
import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from maskmill.jobs.console import write_json
from maskmill.pipeline.run.running_stage import RunningStage
from maskmill.schemas.events import (
    AnyEvent,
    Noted,
    RunEvent,
    StageDone,
    StageStarted,
    UnitDone,
    UnitProgress,
    Warned,
)
from maskmill.schemas.wording import count_of

FIRST_LINE_SECONDS = 10.0
LINE_SECONDS = 30.0
"""If the output is not a terminal: how long a stage may be silent at first, and after that."""


class JsonLines:
    """Writes one JSON line per event to standard output."""

    def __call__(self, event: AnyEvent) -> None:
        """Write an event."""
        write_json(event.fields())

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


class LiveBars:
    """Shows a bar for each stage; if the output is not a terminal, a line at its end and every 30 seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description:<18}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[units]:>9}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._progress.start()
        self._bars: dict[str, TaskID] = {}
        self._stage: RunningStage | None = None
        self._closed = threading.Event()
        if not console.is_terminal:
            threading.Thread(target=self._print_now_and_then, daemon=True).start()

    def __call__(self, event: RunEvent) -> None:
        """Show an event."""
        if isinstance(event, StageStarted):
            stage = RunningStage(event.stage, event.units, event.reused, time.perf_counter())
            self._bars[stage.name] = self._progress.add_task(
                stage.words, total=stage.units, completed=stage.done, detail=stage.detail, units=stage.count
            )
            self._stage = stage
        elif isinstance(event, UnitDone) and self._stage is not None:
            self._stage.done += 1
            self._stage.shares.pop(event.unit, None)
            self._stage.text_bytes += event.counts.get("text_bytes", 0)
            self._update(self._stage)
        elif isinstance(event, UnitProgress) and self._stage is not None:
            self._stage.shares[event.unit] = event.share
            self._update(self._stage)
        elif isinstance(event, StageDone) and self._stage is not None:
            self._end(self._stage, event)
        elif isinstance(event, Warned):
            self._console.print(f"warning: {event.message}", style="yellow")
        elif isinstance(event, Noted):
            self._console.print(event.message)

    def _end(self, stage: RunningStage, event: StageDone) -> None:
        self._stage = None
        self._progress.update(self._bars[stage.name], detail=stage.detail if stage.text_bytes else "")
        if not self._console.is_terminal and event.ran:
            reused = event.units - event.ran
            also = f", {reused:,} done before" if reused else ""
            self._console.print(f"{stage.words}: {count_of(event.ran, 'unit')} in {event.seconds:.1f} s{also}")

    def _update(self, stage: RunningStage) -> None:
        self._progress.update(self._bars[stage.name], completed=stage.completed, detail=stage.detail, units=stage.count)

    def _print_now_and_then(self) -> None:
        said_of: RunningStage | None = None
        next_seconds = FIRST_LINE_SECONDS
        while not self._closed.wait(min(FIRST_LINE_SECONDS, LINE_SECONDS) / 10):
            stage = self._stage
            if stage is not said_of:
                said_of, next_seconds = stage, FIRST_LINE_SECONDS
            if stage is not None and stage.seconds >= next_seconds:
                self._console.print(stage.line)
                next_seconds = stage.seconds + LINE_SECONDS

    def close(self) -> None:
        """Stop updating the bars."""
        self._closed.set()
        self._progress.stop()
