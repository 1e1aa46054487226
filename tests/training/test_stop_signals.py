"""Real signals to `maskmill train`: the last finished step is saved, and the run goes on as if nothing had been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import tests
from maskmill.pipeline.training.stop_signals import StopRequestedError, StopSignals, TrainingInterruptedError
from tests.servers.forked_module import ForkedModule

ROOT = Path(tests.__file__).parent.parent
STEPS = 40
STATUSES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def start(folder: Path, prepared: str, *arguments: str) -> ForkedModule:
    (folder / "train.toml").write_text(
        textwrap.dedent(
            f"""
            [data]
            dataset = "{prepared}/packed"
            global_batch_rows = 16
            [model]
            hidden_size = 16
            num_layers = 1
            num_heads = 2
            [optimizer]
            warmup_steps = 5
            [run]
            output = "{folder}/training"
            steps = {STEPS}
            log_every = 1
            """
        )
    )
    command = ["train", str(folder / "train.toml"), "--json", *arguments]
    return ForkedModule("maskmill", command, folder / "errors", "maskmill.pipeline.training.run_training")


def finish(run: ForkedModule) -> tuple[int, list[bytes]]:
    """A run's status, and the lines that it has still said."""
    lines = list(run.stdout)
    return run.wait(), lines


def read_losses(lines):
    events = [json.loads(line) for line in lines if line.startswith(b"{")]
    return {event["step"]: event["loss"] for event in events if event["event"] == "train_step"}, events


@pytest.fixture(scope="module")
def undisturbed(prepared, tmp_path_factory):
    status, lines = finish(start(tmp_path_factory.mktemp("undisturbed"), prepared))
    losses, _ = read_losses(lines)
    assert status == 0
    assert list(losses) == list(range(1, STEPS + 1))
    return losses


@pytest.mark.parametrize("number", STATUSES, ids=lambda number: number.name)
def test_a_signal_saves_the_last_finished_step(number, prepared, undisturbed, tmp_path):
    run = start(tmp_path, prepared, "--set", "run.steps=100000")
    lines = []
    for line in run.stdout:
        lines.append(line)
        if json.loads(line).get("step") == 7:
            os.kill(run.pid, number)
            break
    status, rest = finish(run)
    first, _ = read_losses([*lines, *rest])
    reached = max(first)
    assert status == STATUSES[number]
    (*_, said) = (tmp_path / "errors").read_text().splitlines()
    assert said == f"interrupted; the same command continues from the checkpoint of step {reached}"
    saved = sorted((tmp_path / "training" / "checkpoints").glob("*/checkpoint.json"))
    assert [json.loads(path.read_text())["step"] for path in saved] == [reached]
    steps = max(reached + 3, STEPS)
    status, lines = finish(start(tmp_path, prepared, "--set", f"run.steps={steps}"))
    second, events = read_losses(lines)
    assert status == 0
    assert events[0]["resumed_from"] == reached
    assert list(second) == list(range(reached + 1, steps + 1))
    losses = first | second
    assert {step: losses[step] for step in undisturbed} == undisturbed


def test_without_a_finished_step_it_says_that_it_starts_over(prepared, tmp_path):
    run = start(tmp_path, prepared, "--set", "model.num_layers=24", "--set", "model.hidden_size=512")
    assert json.loads(run.stdout.readline())["event"] == "start"  # of a step that takes longer than it lives
    os.kill(run.pid, signal.SIGINT)
    status, _ = finish(run)
    said = (tmp_path / "errors").read_text()
    if status == 130 and "no checkpoint" in said:
        assert "the same command starts over" in said
        assert not list((tmp_path / "training").glob("checkpoints/*/checkpoint.json"))
    else:  # the first step had begun, and was finished
        assert "continues from the checkpoint of step 1" in said


SCRIPT = """
import signal, sys, time
from maskmill.pipeline.training.stop_signals import StopSignals
stop = StopSignals()
with stop.caught():
    with stop.deferred():
        print("in a step", flush=True)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            time.sleep(0.01)
"""


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)])
def test_a_second_signal_ends_the_process_at_once(numbers):
    run = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert run.stdout.readline() == "in a step\n"
    run.send_signal(numbers[0])
    assert "a second signal stops at once" in run.stderr.readline()
    began = time.monotonic()
    run.send_signal(numbers[1])
    assert run.wait(timeout=20) == -numbers[1]
    assert time.monotonic() - began < 15


def test_a_signal_outside_a_step_stops_at_once_and_inside_at_its_end():
    before = signal.getsignal(signal.SIGTERM)
    done = []

    def take_step():
        with StopSignals().caught():
            signal.raise_signal(signal.SIGTERM)
            done.append("outside")

    def take_deferred_step():
        stop = StopSignals()
        with stop.caught(), stop.deferred():
            signal.raise_signal(signal.SIGTERM)
            done.append("inside")

    for take, finished in ((take_step, []), (take_deferred_step, ["inside"])):
        with pytest.raises(StopRequestedError):
            take()
        assert done == finished
        assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_than_the_main_one_catches_nothing():
    def run():
        with StopSignals().caught():
            handlers.append(signal.getsignal(signal.SIGINT))

    handlers: list = []
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]


@pytest.mark.parametrize(
    ("continues_at", "not_saved", "said"),
    [
        (None, None, "interrupted; there is no checkpoint: the same command starts over"),
        (20, None, "interrupted; the same command continues from the checkpoint of step 20"),
        (10, OSError("disk full"), "(disk full); the same command continues from the checkpoint of step 10"),
        (None, OSError("disk full"), "(disk full); there is no checkpoint: the same command starts over"),
    ],
)
def test_what_is_said(continues_at, not_saved, said):
    assert str(TrainingInterruptedError(signal.SIGINT, continues_at, not_saved)).endswith(said)
