"""What a job tells a person while it works, or a program: live bars, or one JSON line an event."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

STAGE_WORDS = {
    "map": "read and partition",
    "sort": "shuffle and shard",
    "count": "count words",
    "gather": "gather counts",
    "merge": "merge counts",
    "collect": "write word counts",
    "train": "train vocabulary",
    "bring": "take the tokenizer",
    "prove": "prove the encoder",
    "pack": "encode and pack",
}


class JsonLines:
    """One JSON line an event on standard output."""

    def __call__(self, event: dict[str, Any]) -> None:
        """Write an event."""
        sys.stdout.write(json.dumps({"time": round(time.time(), 3), **event}) + "\n")
        sys.stdout.flush()

    def close(self) -> None:
        """Nothing is held."""


class LiveBars:
    """A bar a stage with its rate and the time left; plain lines where the output is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description:<20}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:>12}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._progress.start()
        self._tasks: dict[str, TaskID] = {}
        self._bytes: dict[str, int] = {}
        self._started: dict[str, float] = {}

    def __call__(self, event: dict[str, Any]) -> None:
        """Show an event."""
        kind, stage = event["event"], str(event.get("stage", ""))
        words = STAGE_WORDS.get(stage, stage)
        if kind == "stage_started":
            self._bytes[stage], self._started[stage] = 0, time.perf_counter()
            self._tasks[stage] = self._progress.add_task(
                words, total=event["units"], completed=event["reused"], rate=""
            )
        elif kind == "unit_done":
            self._bytes[stage] += event["counts"].get("text_bytes", 0)
            seconds = time.perf_counter() - self._started[stage]
            rate = f"{self._bytes[stage] / 1e6 / seconds:.1f} MB/s" if self._bytes[stage] else ""
            self._progress.update(self._tasks[stage], advance=1, rate=rate)
        elif kind == "stage_done" and not self._console.is_terminal:
            reused = event["units"] - event["ran"]
            also = f", {reused} already done" if reused else ""
            self._console.print(f"{words}: {event['ran']} units in {event['seconds']:.1f} s{also}")
        elif kind == "warning":
            self._console.print(f"warning: {event['message']}", style="yellow")
        elif kind == "note":
            self._console.print(event["message"])

    def close(self) -> None:
        """Leave the bars as they stand."""
        self._progress.stop()
