"""Progress: elapsed time and what a stage does, also while no unit of it ends."""

from __future__ import annotations

import io
import json
import time

import pytest
from rich.console import Console

from maskmill.jobs import progress
from maskmill.jobs.progress import JsonLines, LiveBars
from maskmill.schemas.events import StageDone, StageStarted, UnitDone, UnitProgress
from tests.servers.processes import wait_until


def start(stage: str = "train", units: int = 1, reused: int = 0) -> StageStarted:
    return StageStarted(stage=stage, units=units, reused=reused)


def done(stage: str = "train", units: int = 1, ran: int = 1) -> StageDone:
    return StageDone(stage=stage, units=units, ran=ran, seconds=1.26, retries=0)


def test_a_terminal_shows_the_time_going_on_and_what_is_done_while_no_unit_ends() -> None:
    shown = io.StringIO()
    bars = LiveBars(Console(file=shown, force_terminal=True, width=120))
    bars(start())
    wait_until(lambda: "0:00:02" in shown.getvalue(), "two seconds shown", 10)
    bars.close()
    assert "merging the most frequent pairs" in shown.getvalue()


def test_a_log_gets_a_line_now_and_then_of_a_stage_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "FIRST_LINE_SECONDS", 0.2)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.2)
    log = io.StringIO()
    bars = LiveBars(Console(file=log, width=120))
    bars(start(units=3, reused=1))
    wait_until(lambda: len(log.getvalue().splitlines()) >= 2, "two lines", 10)
    bars(UnitDone(stage="train", unit=0, seconds=1.0, host="h", counts={}))
    bars(done(units=3, ran=2))
    lines = log.getvalue().splitlines()
    assert lines[0] == ("train vocabulary: merging the most frequent pairs of pieces, 0 s so far, 1 of 3 units done")
    assert lines[-1] == "train vocabulary: 2 units in 1.3 s, 1 done before"
    time.sleep(0.5)
    assert log.getvalue().splitlines() == lines  # nothing of a stage that has ended
    bars.close()


def test_a_short_stage_is_one_line_and_one_that_did_nothing_none() -> None:
    log = io.StringIO()
    bars = LiveBars(Console(file=log, width=120))
    bars(start())
    bars(done())
    bars(start("pack", 4, 4))
    bars(done("pack", 4, 0))
    bars.close()
    assert log.getvalue() == "train vocabulary: 1 unit in 1.3 s\n"


def test_a_long_unit_moves_its_bar_and_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "FIRST_LINE_SECONDS", 0.2)
    log = io.StringIO()
    bars = LiveBars(Console(file=log, width=120))
    bars(start("map", 2))
    bars(UnitProgress(stage="map", unit=1, share=0.5))
    wait_until(lambda: log.getvalue(), "a line", 10)
    bars.close()
    assert log.getvalue() == "read and partition: reading the input files, 0 s so far, 0 of 2 units done (25%)\n"


def test_a_program_gets_every_event_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    JsonLines()(UnitProgress(stage="map", unit=1, share=0.5))
    written = json.loads(capsys.readouterr().out)
    assert written.pop("time") > 0
    assert list(written.items()) == [("event", "unit_progress"), ("stage", "map"), ("unit", 1), ("share", 0.5)]
