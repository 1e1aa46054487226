"""Running maskmill as a user does: a run file, the command line in a process of its own, its events, its output."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.synthetic_corpus import MAX_DOCUMENT_MB, SOURCE, patterns
from tests.servers.command_line import run_command_line
from tests.servers.forked_module import ForkedModule
from tests.servers.processes import descendants, is_running, wait_until

PARTS = ("documents", "documents-heldout", "tokenizer", "packed", "packed-heldout", "quarantine")
PARALLEL_STAGES = ("map", "sort", "count", "merge", "pack")
STAGES = ("map", "sort", "count", "merge", "collect", "train", "prove", "pack")

SEED, HELD_OUT, SEQ_LEN, VOCAB_SIZE, COPIES = 7, 0.05, 128, 1000, 2

Events = list[dict[str, Any]]

_RUN = f"""
name = "{SOURCE}"
id_field = "id"
source_field = "source"
text_document = "blank_line"
max_document_mb = {MAX_DOCUMENT_MB}
max_quarantined = 0.05
[documents]
shard_mb = 0.12
held_out = {HELD_OUT}
seed = {SEED}
[tokenizer]
vocab_size = {VOCAB_SIZE}
[pack]
seq_len = {SEQ_LEN}
[mask]
copies = {COPIES}
"""


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def events(self) -> Events:
        """What `--json` said."""
        return read_events(self.stdout.splitlines())


def write_run_file(path: Path, corpus: Path | str, output: Path | str, paths: Sequence[str] = ()) -> Path:
    """Write a run file over a synthetic corpus.

    Args:
        path: Of the run file.
        corpus: The corpus's folder.
        output: Where the run writes.
        paths: Instead of the globs that find the whole corpus.
    """
    inputs = json.dumps(list(paths) or patterns(corpus))
    path.write_text(f'[output]\nurl = "{output}"\n[input]\npaths = {inputs}{_RUN}')
    return path


def run_maskmill(*arguments: object, timeout: int = 120) -> Ended:
    """Run the command line to its end, in a process of its own."""
    return Ended(*run_command_line([str(one) for one in arguments], timeout))


def prepare(run_file: Path, *sets: str, engine: str = "local", workers: int = 1) -> Ended:
    """`maskmill prepare` with an engine; fails unless it ends well."""
    options = [one for one in sets if one.startswith("--")]
    settings = set_options([one for one in sets if not one.startswith("--")])
    ended = run_maskmill("prepare", run_file, "--json", *engine_options(engine, workers), *options, *settings)
    assert ended.status == 0, ended.stderr
    return ended


def engine_options(engine: str, workers: int) -> list[str]:
    """Options that choose an engine."""
    return set_options([f"engine.kind={engine}", f"engine.workers={workers}"])


def set_options(sets: Sequence[str]) -> list[str]:
    """A `--set` before each."""
    return [word for one in sets for word in ("--set", one)]


def read_events(lines: Sequence[str]) -> Events:
    """Events from lines of output; the last line may be cut by a kill."""
    events = []
    for line in lines:
        with contextlib.suppress(json.JSONDecodeError):
            events.append(json.loads(line))
    return events


def units_of(events: Events, stage: str) -> int:
    """How many units a stage has."""
    (units,) = {event["units"] for event in events if event["event"] == "stage_started" and event["stage"] == stage}
    return int(units)


def units_done(events: Events) -> set[tuple[str, int]]:
    """Stage and number of every unit that ran."""
    return {(event["stage"], event["unit"]) for event in events if event["event"] == "unit_done"}


def read_tree(output: Path, parts: Sequence[str] = PARTS) -> dict[str, bytes]:
    """Every file below the parts of an output: its relative path and its bytes."""
    return {
        str(path.relative_to(output)): path.read_bytes()
        for part in parts
        for path in sorted((output / part).rglob("*"))
        if path.is_file()
    }


def list_leftovers(output: Path) -> list[str]:
    """What must not be there after a run: half-written files, and anything below work/."""
    files = [str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()]
    return [path for path in files if path.endswith(".partial") or path.startswith("work/")]


def assert_same_tree(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    """Fail unless two trees are equal, naming only the files that differ."""
    names = sorted(found.keys() | expected.keys())
    different = [name for name in names if found.get(name) != expected.get(name)]
    assert not different, f"these files differ: {', '.join(different)}"


def list_receipts(output: Path) -> set[tuple[str, int]]:
    """Stage and number of every unit that has a receipt."""
    return {(path.parent.name, int(path.stem)) for path in (output / "work" / "receipts").glob("*/*.json")}


class Driver:
    """A running `maskmill prepare --json` that is read event by event, and can be killed."""

    def __init__(self, *arguments: object, log: Path, module: str = "maskmill") -> None:
        self.log = log
        self.process = ForkedModule(module, [*map(str, arguments), "--json"], log)
        self.events: Events = []
        self._below: dict[int, bool] = {}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Events as they come, until the driver ends."""
        for line in self.process.stdout:
            found = read_events([line.decode()])
            self.events += found
            yield from found

    def workers(self) -> list[int]:
        """The local engine's worker processes, or Ray's, that live now."""
        return [pid for pid in descendants(self.process.pid) if _is_worker(pid)]

    def kill(self) -> None:
        """SIGKILL the driver, and wait until every worker below it has ended too, as it must of itself."""
        os.kill(self.process.pid, signal.SIGSTOP)  # looking takes 10 ms, in which it would go on
        self._look_below()
        os.kill(self.process.pid, signal.SIGKILL)
        self.finish()
        workers = [pid for pid, is_worker in self._below.items() if is_worker]
        wait_until(lambda: not any(map(is_running, workers)), "the end of the driver's workers")
        for pid in filter(is_running, self._below):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # Ray's agents live on for a minute, without harm

    def _look_below(self) -> None:
        for pid in descendants(self.process.pid):
            self._below[pid] = self._below.get(pid, False) or _is_worker(pid)

    def finish(self) -> int:
        """Read to the end; returns the exit status."""
        list(self)
        return self.process.wait()


def _is_worker(pid: int) -> bool:
    """Whether a process is one of Ray's workers, or one of the local engine's: forked from the driver or started."""
    program, *arguments = _command(pid)
    is_starting = any(argument.endswith(b"/default_worker.py") for argument in arguments[:2])  # of Ray
    is_of_ray = is_starting or (program.startswith(b"ray::") and not program.endswith(b"Agent"))
    is_started = any(b"maskmill.pipeline.engine.serve_units" in argument for argument in arguments)
    return is_of_ray or is_started or _command(pid) == _command(_parent(pid))


def _command(pid: int) -> list[bytes]:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return [b""]


def _parent(pid: int) -> int:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0
