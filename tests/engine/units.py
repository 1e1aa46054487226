"""Units for the engine tests; at module level so that every engine's workers can import them.

Side effects that the tests look at go to `log`, a folder that all workers share: one file for each attempt.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic
from tokenizers import pre_tokenizers

from maskmill.pipeline.engine.activity import report_progress
from maskmill.pipeline.engine.stage import Stage
from maskmill.pipeline.engine.units import UnitDescription, UnitOutcome
from maskmill.schemas.errors import ConfigError, InputDataError, TransientStorageError
from maskmill.schemas.receipt import Details


class Square(UnitDescription):
    """Squares a number."""

    stage: str = "square"
    number: int


class Noted(Details):
    """Where a unit ran."""

    pid: int = 0
    node: str = ""
    task: str = ""


def stage_of(function: Callable[[Any, Square], UnitOutcome[Noted]]) -> Stage[Any, Square, Noted]:
    """The stage that squares numbers by one of the functions below."""
    return Stage("square numbers", "squaring numbers", Square, Noted, function)


def note(log: str, what: str) -> int:
    """Leave a mark; returns how many of its kind there are now."""
    folder = Path(log) / what
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{time.time():.6f}-{os.getpid()}-{uuid.uuid4().hex}").touch()
    return len(list(folder.iterdir()))


def count(log: str, what: str) -> int:
    """How many marks of a kind there are."""
    folder = Path(log) / what
    return len(list(folder.iterdir())) if folder.exists() else 0


def square(log: str, unit: Square) -> UnitOutcome[Noted]:
    note(log, f"unit-{unit.unit}")
    return UnitOutcome(shards=[], counts={"square": unit.number**2}, details=Noted(pid=os.getpid()))


def square_slowly(log: str, unit: Square) -> UnitOutcome[Noted]:
    note(log, f"at-work-{os.getpid()}")
    for _ in range(600):
        note(log, f"alive-{unit.unit}")
        time.sleep(0.1)
    return square(log, unit)


def stumble_twice(log: str, unit: Square) -> UnitOutcome[Noted]:
    outcome = square(log, unit)
    if unit.number == 2 and count(log, f"unit-{unit.unit}") < 3:
        raise TransientStorageError("not now", path="s3://bucket/file")
    return outcome


def stumble_always(log: str, unit: Square) -> UnitOutcome[Noted]:
    square(log, unit)
    raise TransientStorageError("not now", path="s3://bucket/file")


def fail(log: str, unit: Square) -> UnitOutcome[Noted]:
    outcome = square(log, unit)
    if unit.number == 2:
        raise InputDataError("bad text", path="a.jsonl", place="line 7", expected="JSON", found="{", action="fix")
    time.sleep(0.05)
    return outcome


class UnportableError(Exception):
    """Pickles, but cannot be unpickled."""

    def __init__(self, *, field: str) -> None:
        super().__init__(f"about {field}")


def fail_unportably(log: str, unit: Square) -> UnitOutcome[Noted]:
    note(log, f"unit-{unit.unit}")
    raise UnportableError(field="text")


def fail_validation(log: str, unit: Square) -> UnitOutcome[Noted]:
    note(log, f"unit-{unit.unit}")
    pydantic.TypeAdapter(int).validate_python("no number")
    raise AssertionError


def die_once(log: str, unit: Square) -> UnitOutcome[Noted]:
    if note(log, f"unit-{unit.unit}") == 1 and unit.number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.3)
    return UnitOutcome(shards=[], counts={"square": unit.number**2}, details=Noted())


def die_always(log: str, unit: Square) -> UnitOutcome[Noted]:
    note(log, f"unit-{unit.unit}")
    if unit.number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return UnitOutcome(shards=[], counts={"square": unit.number**2}, details=Noted())


def _send_itself(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_DFL)  # pytest's own handlers are inherited
    os.kill(os.getpid(), number)
    time.sleep(10)


def crash_always(log: str, unit: Square) -> UnitOutcome[Noted]:
    _send_itself(signal.SIGSEGV)
    return square(log, unit)


def abort_always(log: str, unit: Square) -> UnitOutcome[Noted]:
    _send_itself(signal.SIGABRT)
    return square(log, unit)


def terminate_always(log: str, unit: Square) -> UnitOutcome[Noted]:
    _send_itself(signal.SIGTERM)
    return square(log, unit)


def leave_always(log: str, unit: Square) -> UnitOutcome[Noted]:
    sys.exit(7)


def refuse(context: Any, unit: Square) -> UnitOutcome[Noted]:
    raise ConfigError("no", path="key")


def tell_node(log: str, unit: Square) -> UnitOutcome[Noted]:
    time.sleep(0.3)
    return UnitOutcome(shards=[], counts={}, details=Noted(node=os.environ.get("MASKMILL_TEST_FOGGY_NODE", "")))


def tell_task_name(log: str, unit: Square) -> UnitOutcome[Noted]:
    import ray

    return UnitOutcome(shards=[], counts={}, details=Noted(task=ray.get_runtime_context().get_task_name()))


def report_its_progress(log: str, unit: Square) -> UnitOutcome[Noted]:
    for step in range(8):
        time.sleep(0.3)
        report_progress(step / 8)
    return square(log, unit)


def panic(log: str, unit: Square) -> UnitOutcome[Noted]:
    """The exception of a panic in a library written in Rust."""
    note(log, f"unit-{unit.unit}")
    pre_tokenizers.FixedLength(0).pre_tokenize_str("a")
    return square(log, unit)
