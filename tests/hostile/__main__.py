"""Run mutations: a fixed set, or new ones until a time is over; see the package's docstring."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import torch

import maskmill.jobs.report
import maskmill.jobs.train
import maskmill.jobs.verify  # noqa: F401 - what commands would import, in every process
from maskmill.pipeline.engine.leave_out_pandas import leave_out_pandas
from maskmill.pipeline.run.preload import preload_workers
from tests.hostile.bases import make_bases
from tests.hostile.kinds import KINDS, run_case
from tests.hostile.readers import READERS
from tests.hostile.sandbox import Result, run_all, run_one
from tests.hostile.trees import copy_tree
from tests.servers.short_proofs import ASKED, shorten_proofs

SERIAL = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
"""Threads that a library starts before a fork are not there after it."""
CHECKS = {"MALLOC_PERTURB_": "165", "MALLOC_CHECK_": "3", "NUMBA_BOUNDSCHECK": "1"}


def main() -> int:
    options = _read_options()
    os.environ.update(SERIAL)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was made in memory is deleted
    if options.checked and os.environ.get("NUMBA_BOUNDSCHECK") != "1":
        folder = os.environ.get("NUMBA_CACHE_DIR", os.path.join(tempfile.gettempdir(), "hostile-numba"))
        arguments = [sys.executable, "-m", "tests.hostile", *sys.argv[1:]]
        os.execve(sys.executable, arguments, os.environ | CHECKS | {"NUMBA_CACHE_DIR": folder})  # noqa: S606
    with _bases() as bases:
        if options.replay:
            result = run_one(options.replay, partial(run_case, bases=bases))
            _show(result)
            print(result.detail)
            return 1 if result.faults else 0
        return _run(options, bases)


def _run(options: argparse.Namespace, bases: Path) -> int:
    started = time.monotonic()
    deadline = started + 60 * options.minutes if options.minutes else None
    counted: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    failures: list[Result] = []
    seconds = Counter[str]()
    for result in run_all(_iter_cases(options, deadline), partial(run_case, bases=bases), options.processes):
        kind = result.case.partition(":")[0]
        seconds[kind] += result.seconds
        counted[kind]["mutations"] += 1
        counted[kind]["faults"] += bool(result.faults)
        counted[kind].update(f"{reader} {how}" for reader, how in result.outcomes.items())
        if result.faults:
            failures.append(result)
            if not options.quiet:
                _show(result)
    total = sum(counts["mutations"] for counts in counted.values())
    for kind, counts in counted.items():
        if counts["mutations"]:
            others = ", ".join(f"{name} {n}" for name, n in sorted(counts.items()) if " " in name)
            head = f"{kind}: {counts['mutations']} mutations, {counts['faults']} with faults"
            print(f"{head}, {seconds[kind]:.1f} s of CPU; {others}", flush=True)
    print(f"{total} mutations in {time.monotonic() - started:.0f} s, {len(failures)} with faults")
    if options.json:
        found = [vars(failure) for failure in failures]
        Path(options.json).write_text(json.dumps({"counts": counted, "failures": found}))
    return 1 if failures else 0


def _iter_cases(options: argparse.Namespace, deadline: float | None) -> Iterator[str]:
    """The fixed set, of every kind in turn; or without an end, from a seed on."""
    kinds = options.only or list(KINDS)
    first = 1_000_000 * options.seed
    for number in itertools.count():
        left = False
        for kind in kinds:
            if deadline is not None:
                if time.monotonic() > deadline:
                    return
            elif number >= (options.count or KINDS[kind].count):
                continue
            left = True
            yield f"{kind}:{first + number}"
        if not left:
            return


@contextlib.contextmanager
def _bases() -> Iterator[Path]:
    """The trees to mutate; every reader has once read one, so that each process finds compiled what it needs."""
    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    preload_workers()
    leave_out_pandas()
    os.environ[ASKED] = "1"
    shorten_proofs()
    memory = "/dev/shm"  # noqa: S108 - a folder of our own is made in it
    folder = Path(tempfile.mkdtemp(prefix="hostile-", dir=memory if os.path.isdir(memory) else None))
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    try:
        bases = folder / "bases"
        bases.mkdir()
        make_bases(bases)
        os.chdir(copy_tree(bases / "plain", folder / "warm"))
        for name, read in READERS.items():
            if name != "state":
                outcome = read(Path.cwd())
                assert (outcome.how, outcome.faults) == ("served", []), (name, outcome)
        yield bases
    finally:
        os.chdir("/")
        shutil.rmtree(folder, ignore_errors=True)


def _show(result: Result) -> None:
    print(f"--replay {result.case}  {result.what[:160]}", flush=True)
    for fault in result.faults:
        print(f"    {fault[:260]}", flush=True)


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--minutes", type=float, help="go on for so long, not only through the fixed set")
    parser.add_argument("--seed", type=int, default=0, help="0 is the fixed set's")
    parser.add_argument("--only", action="append", choices=list(KINDS), help="only this kind; may be repeated")
    parser.add_argument("--count", type=int, help="mutations of each kind")
    parser.add_argument("--replay", metavar="KIND:NUMBER", help="one mutation, with all that is known of its end")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--checked", action="store_true", help="with checks of malloc and of numba's bounds; slower")
    parser.add_argument("--json", metavar="FILE", help="write what was counted and every failure")
    parser.add_argument("--quiet", action="store_true", help="only the sums")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
