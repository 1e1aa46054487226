"""Who reads a mutated tree: the loader and the commands, each ending in `served`, `refused` or something forbidden."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import typer

from maskmill.jobs.cli import app
from maskmill.jobs.run_command import run_command
from maskmill.pipeline.loader import Cache, MaskedBatches
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.wordpiece.counting.word_counts import WordCounts
from maskmill.schemas.errors import MaskmillError
from maskmill.schemas.layout import WORD_COUNTS
from tests.hostile.oracle import find_wrong_rows
from tests.hostile.trees import OUTPUT, TRAINING

SERVED, REFUSED, WRONG, ESCAPED = "served", "refused", "wrong", "escaped"
BATCH_ROWS, MAX_BATCHES = 16, 8
"""Twice through the rows."""
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_REMOTE = "/hostile"
_COMMAND = typer.main.get_command(app)


@dataclass
class Outcome:
    """How one reader ended.

    Attributes:
        how: `served`, `refused` by an error of ours, `wrong` of a finding of `verify`, or `escaped`.
        detail: The error.
        faults: What is forbidden in it.
    """

    how: str
    detail: str = ""
    faults: list[str] = field(default_factory=list)


def read_local(root: Path, masking: Any = None) -> Outcome:
    """Some batches of `packed/` in place."""
    return _read_batches(root, f"{OUTPUT}/packed", masking)


def read_static(root: Path) -> Outcome:
    return read_local(root, "static")


def read_cached(root: Path) -> Outcome:
    """The same from a remote store, through the cache."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    for path in (root / OUTPUT / "packed").iterdir():
        files.pipe(f"{_REMOTE}/{path.name}", path.read_bytes())
    try:
        cache = Cache(str(root / "cache"))
        return _read_batches(root, f"memory:/{_REMOTE}", None, cache=cache)
    finally:
        files.store.clear()


def _read_batches(root: Path, url: str, masking: Any, **settings: Any) -> Outcome:
    def read() -> list[Any]:
        batches = MaskedBatches(url, global_batch_rows=BATCH_ROWS, partitions=2, seed=3, masking=masking, **settings)
        return list(itertools.islice(batches, MAX_BATCHES))

    outcome, batches = _call(read)
    if outcome.how == SERVED and (
        wrong := find_wrong_rows(root / OUTPUT / "packed", batches, static=masking == "static")
    ):
        outcome.faults.append(wrong)
    return outcome


def load_state(root: Path) -> Outcome:
    """A loader's state from `state.json`."""
    state = json.loads((root / "state.json").read_bytes())

    def read() -> None:
        batches = MaskedBatches(f"{OUTPUT}/packed", global_batch_rows=8, partitions=2, seed=3)
        batches.load_state_dict(state)
        list(itertools.islice(batches, 2))

    return _call(read)[0]


def read_word_counts(root: Path) -> Outcome:
    """The word counts, as the training of a tokenizer reads them."""

    def read() -> int:
        counts = WordCounts.open(Store(str(root / OUTPUT / "tokenizer")), WORD_COUNTS)
        return sum(len(rows) for rows in counts.iter_partitions())

    return _call(read)[0]


def _call(call: Callable[[], Any]) -> tuple[Outcome, Any]:
    try:
        return Outcome(SERVED), call()
    except MaskmillError as error:
        faults = [] if error.path else ["the error has no path"]
        return Outcome(REFUSED, f"{type(error).__name__}: {error}"[:500], faults), None
    except BaseException as error:  # noqa: BLE001 - whatever escapes, a Rust panic too
        return _escaped(error), None


def _escaped(error: BaseException) -> Outcome:
    where = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in where if "/tests/" not in frame.filename and "/site-packages/" not in frame.filename]
    place = f" in {ours[-1].filename.rpartition('/')[2]}:{ours[-1].lineno}" if ours else ""
    what = f"{type(error).__name__}{place}: {str(error)[:200]}"
    trace = "".join(traceback.format_exception(error))[-3000:]
    return Outcome(ESCAPED, trace, [f"escaped: {what}"])


def run_cli(*arguments: str) -> Outcome:
    """A command in this process; whatever it prints must be printable, and what it raises one of our errors."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = _COMMAND.main([*arguments, "--debug"], standalone_mode=False)
            outcome = Outcome(WRONG if status else SERVED, out.getvalue()[:500])
        except MaskmillError as error:
            outcome = _call(_raiser(error))[0]
            _say(error)
            lines = err.getvalue().strip().splitlines()
            if len([line for line in lines if "Error: " in line]) != 1:
                outcome.faults.append(f"the error is not one line: {lines!r:.300}")
        except BaseException as error:  # noqa: BLE001 - as above
            outcome = _escaped(error)
    if control := CONTROLS.search(out.getvalue() + err.getvalue()):
        outcome.faults.append(f"{control[0]!r} is printed")
    return outcome


def _raiser(error: MaskmillError) -> Callable[[], Any]:
    def fail() -> None:
        raise error

    return fail


def _say(error: MaskmillError) -> None:
    with contextlib.suppress(Exception):
        run_command(_raiser(error), debug=False)


def verify_packed(root: Path) -> Outcome:
    return run_cli("verify", f"{OUTPUT}/packed")


def verify_run(root: Path) -> Outcome:
    return run_cli("verify", OUTPUT)


def report(root: Path) -> Outcome:
    return run_cli("report", OUTPUT)


def prepare(root: Path) -> Outcome:
    return run_cli("prepare", "run.toml", "--json")


def prepare_shown(root: Path) -> Outcome:
    """With the tables that a person sees."""
    return run_cli("prepare", "run.toml")


def train(root: Path) -> Outcome:
    """A step or more; a fault of the data must be seen before the first."""
    markers = root / TRAINING / "checkpoints"
    before = set(markers.glob("*/checkpoint.json"))
    outcome = run_cli("train", "train.toml", "--json")
    if outcome.how == REFUSED and set(markers.glob("*/checkpoint.json")) - before:
        outcome.faults.append(f"refused only after the last step: {outcome.detail[:200]}")
    return outcome


READERS: dict[str, Callable[[Path], Outcome]] = {
    "loader": read_local,
    "static": read_static,
    "cached": read_cached,
    "state": load_state,
    "word counts": read_word_counts,
    "verify packed": verify_packed,
    "verify": verify_run,
    "report": report,
    "prepare": prepare,
    "prepare shown": prepare_shown,
    "train": train,
}
