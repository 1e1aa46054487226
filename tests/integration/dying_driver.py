"""A driver that kills itself at an exact moment: `python -m tests.integration.dying_driver MOMENT PLACE RUN.toml ...`.

It runs `prepare`, or `mask` if that comes instead of the run file, with the dataset after it.

The moments are `stage_done` of a stage, `before` or `after` a file gets its final name, and `step`, before the PLACEth
time that some file gets its final name or is deleted. From outside these last less than a millisecond. At `unit_done`
of STAGE:COUNT:SECONDS it stops itself, for the test to kill, so many seconds after so many units of a stage are done,
or at the latest when all of them are.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

from maskmill.jobs import cli, progress
from maskmill.schemas.events import AnyEvent

_DRIVER = os.getpid()
STEPS = ("replace", "remove", "unlink", "rmdir")
"""The functions of `os` that give a file its final name, or delete something."""


def main(moment: str, place: str, *arguments: str) -> None:
    """Prepare or mask, and die at the moment."""
    if moment == "unit_done":
        stage, count, seconds = place.split(":")
        _stop_after_units(stage, int(count), float(seconds))
    elif moment == "step":
        _die_before_step(int(place))
    elif moment in ("before", "after"):
        _die_around_replace(moment, place)
    else:
        _die_at_event(moment, place)
    sys.argv = ["maskmill", *(arguments if arguments[0] == "mask" else ("prepare", *arguments))]
    cli.main()


def _die_at_event(event: str, stage: str) -> None:
    speak = progress.JsonLines.__call__

    def speak_and_die(lines: progress.JsonLines, said: AnyEvent) -> None:
        speak(lines, said)
        if (said.event, getattr(said, "stage", None)) == (event, stage):
            _die()

    progress.JsonLines.__call__ = speak_and_die  # type: ignore[method-assign]


def _stop_after_units(stage: str, count: int, seconds: float) -> None:
    speak = progress.JsonLines.__call__
    seen = 0

    def speak_and_stop(lines: progress.JsonLines, said: AnyEvent) -> None:
        nonlocal seen
        speak(lines, said)
        seen += (said.event, getattr(said, "stage", None)) == ("unit_done", stage)
        if said.event == "unit_done" and seen == count:
            threading.Timer(seconds, os.kill, (_DRIVER, signal.SIGSTOP)).start()
        if (said.event, getattr(said, "stage", None)) == ("stage_done", stage):
            os.kill(_DRIVER, signal.SIGSTOP)

    progress.JsonLines.__call__ = speak_and_stop  # type: ignore[method-assign]


def _die_around_replace(moment: str, place: str) -> None:
    replace = os.replace

    def replace_and_die(source: str, target: str) -> None:
        is_here = target.endswith(f"/{place}")
        if is_here and moment == "before":
            _die()
        replace(source, target)
        if is_here:
            _die()

    os.replace = replace_and_die  # type: ignore[assignment]


def _die_before_step(number: int) -> None:
    steps = 0

    def count(step: Callable[..., None]) -> Callable[..., None]:
        def take(*arguments: object, **options: object) -> None:
            nonlocal steps
            steps += 1
            if steps == number:
                _die()
            step(*arguments, **options)

        return take

    for name in STEPS:
        setattr(os, name, count(getattr(os, name)))


def _die() -> None:
    if os.getpid() == _DRIVER:  # workers that are forked from it have its patches
        os.kill(_DRIVER, signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
