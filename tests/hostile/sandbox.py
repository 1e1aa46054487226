"""Mutations in processes of their own, with limits of memory and time: one that dies ends its process alone.

A process is forked from one that has imported everything, and runs some mutations one after the other; the one at which
it dies is run again alone, to say whether it is to blame.
"""

from __future__ import annotations

import faulthandler
import gc
import itertools
import json
import os
import resource
import selectors
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import IO, Any

MEMORY_MIB = 256
"""How much more memory a mutated tree may take than its process had before: readers of a tree of 100 KiB."""
ADDRESS_MIB = 2048
"""How much more address space, so that nothing takes the machine down."""
FILE_MIB = 256
SECONDS = 30
_GROUP = 60


@dataclass
class Result:
    """What became of one mutation.

    Attributes:
        case: `kind:seed`.
        what: What was mutated.
        outcomes: How every reader ended.
        faults: What is forbidden.
        detail: Of the faults: tracebacks.
        peak_mib: Memory above that of the process before.
        seconds: Of CPU that it took.
    """

    case: str
    what: str = ""
    outcomes: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    detail: str = ""
    peak_mib: float = 0.0
    seconds: float = 0.0


Begin = Callable[[str], None]
Run = Callable[[str, Begin], Result]
"""Runs a case; once the mutation is made and reading begins, says what was mutated to what it is given."""


@dataclass
class _Child:
    pid: int
    pipe: IO[bytes]
    trace: IO[bytes]
    cases: list[str]
    begun: Result | None = None
    deadline: float = 0.0
    rest: bytes = b""


def run_all(cases: Iterator[str], run: Run, processes: int = 2) -> Iterator[Result]:
    """Run every case in forked processes; yields what became of them, in any order."""
    waiting: list[list[str]] = []
    children: dict[int, _Child] = {}
    with selectors.DefaultSelector() as selector:
        while True:
            while len(children) < processes and (
                group := waiting.pop() if waiting else list(itertools.islice(cases, _GROUP))
            ):
                child = _fork(group, run)
                children[child.pipe.fileno()] = child
                selector.register(child.pipe, selectors.EVENT_READ)
            if not children:
                return
            for key, _ in selector.select(timeout=1):
                child = children[key.fd]
                data = os.read(key.fd, 1 << 20)
                yield from _take_answers(child, data)
                if not data:
                    selector.unregister(child.pipe)
                    del children[key.fd]
                    if (died := _end(child)) is not None:
                        yield _try_alone(died, run)
                    if child.cases:
                        waiting.append(child.cases)
            for child in children.values():
                if child.deadline and time.monotonic() > child.deadline:
                    os.kill(child.pid, signal.SIGKILL)
                    child.deadline = 0.0


def run_one(case: str, run: Run) -> Result:
    """Run one case in a forked process."""
    (result,) = run_all_without_retry(case, run)
    return result


def run_all_without_retry(case: str, run: Run) -> Iterator[Result]:
    child = _fork([case], run)
    while data := os.read(child.pipe.fileno(), 1 << 20):
        yield from _take_answers(child, data)
    if (died := _end(child)) is not None:
        yield died


def _try_alone(died: Result, run: Run) -> Result:
    alone = run_one(died.case, run)
    if not alone.faults:
        died.faults = [f"{fault} (not when run alone: maybe of a mutation before it)" for fault in died.faults]
        return died
    return alone


def _fork(cases: list[str], run: Run) -> _Child:
    reading, writing = os.pipe()
    trace = tempfile.TemporaryFile()  # noqa: SIM115  # until the process has ended
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reading)
            _serve(cases, run, writing, trace)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    return _Child(pid, os.fdopen(reading, "rb", buffering=0), trace, cases)


def _serve(cases: Sequence[str], run: Run, pipe: int, trace: IO[bytes]) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = (_status_kib("VmSize") << 10) + (ADDRESS_MIB << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_MIB << 20, FILE_MIB << 20))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    faulthandler.enable(trace)
    gc.freeze()
    for case in cases:
        _say(pipe, {"case": case})
        faulthandler.dump_traceback_later(SECONDS, exit=True, file=trace)
        begun = [_reset_peak()]

        def begin(what: str, case: str = case, begun: list[int] = begun) -> None:
            _say(pipe, {"case": case, "what": what})
            begun.append(_reset_peak())

        started = time.process_time()
        try:
            result = run(case, begin)
        except Exception:  # noqa: BLE001 - a fault of this folder
            result = Result(case, faults=["the mutation itself failed"], detail=traceback.format_exc())
        result.seconds = time.process_time() - started
        faulthandler.cancel_dump_traceback_later()
        result.peak_mib = (_status_kib("VmHWM") - begun[-1]) / 1024
        if result.peak_mib > MEMORY_MIB:
            result.faults.append(f"memory: {result.peak_mib:.0f} MiB more than before")
        _say(pipe, asdict(result) | {"done": True})


def _say(pipe: int, answer: dict[str, Any]) -> None:
    data = json.dumps(answer).encode() + b"\n"
    while data:
        data = data[os.write(pipe, data) :]


def _take_answers(child: _Child, data: bytes) -> Iterator[Result]:
    *lines, child.rest = (child.rest + data).split(b"\n")
    for line in lines:
        answer = json.loads(line)
        if answer.pop("done", False):
            child.begun = None
            child.cases = child.cases[1:]
            yield Result(**answer)
        else:
            child.begun = Result(**answer)
            child.deadline = time.monotonic() + 2 * SECONDS


def _end(child: _Child) -> Result | None:
    """What became of the mutation at which a process ended, if it did not end by itself."""
    child.pipe.close()
    _, status = os.waitpid(child.pid, 0)
    child.trace.seek(0)
    trace = child.trace.read().decode(errors="replace")
    child.trace.close()
    if child.begun is None:
        return None
    result = child.begun
    child.cases = child.cases[1:]
    code = os.waitstatus_to_exitcode(status)
    if "Timeout" in trace or code == -signal.SIGKILL:
        result.faults = [f"hang: more than {SECONDS} s in {_innermost(trace)}"]
    elif code < 0:
        result.faults = [f"{signal.Signals(-code).name} in {_innermost(trace)}"]
    else:
        result.faults = [f"the process ended with status {code}"]
    result.detail = trace[:3000]
    return result


def _innermost(trace: str) -> str:
    """Where in our code the thread was that died, or the main thread, which comes last."""
    threads = trace.split("hread 0x")[1:] or [""]
    thread = next((one for one in threads if "Current" in trace.partition(one)[0][-12:]), threads[-1])
    lines = [line.strip() for line in thread.splitlines() if line.strip().startswith("File ")]
    ours = [line for line in lines if not any(part in line for part in ("/tests/", "site-packages", "/lib/python"))]
    named = (ours or lines)[:1]
    return named[0].rpartition("/")[2].replace('"', "") if named else "native code"


def _reset_peak() -> int:
    """Begin to measure the peak anew; returns the memory in use in KiB."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return _status_kib("VmRSS")


def _status_kib(name: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{name}:"))
