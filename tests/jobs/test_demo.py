"""The demonstration, its stages replaced: what it says and returns where a signal stops its training."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from maskmill.jobs import demo as demo_module
from maskmill.jobs.demo import demo
from maskmill.pipeline.training.stop_signals import TrainingInterruptedError


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_training_is_answered_with_the_step_to_continue_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    def train(*_: Any) -> None:
        raise TrainingInterruptedError(number, 280, None)

    monkeypatch.setattr(demo_module, "write_python_docs", lambda *_, **__: SimpleNamespace(paths=("a.jsonl",)))
    monkeypatch.setattr(
        demo_module, "prepare", lambda *_: SimpleNamespace(timings={}, packed_urls=lambda **_: ["packed"])
    )
    monkeypatch.setattr(demo_module, "verify", lambda *_: 0)
    monkeypatch.setattr(demo_module, "train", train)
    assert demo(str(tmp_path), 12, as_json=False) == 128 + number
    said = "interrupted; the same command continues from the checkpoint of step 280"
    assert said in capsys.readouterr().err.splitlines()
