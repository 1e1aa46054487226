"""Law 9: any input gives right rows or an error of ours, within limits of memory and time."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.hostile.kinds import KINDS

pytestmark = [pytest.mark.timeout(900), pytest.mark.long]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the fixed set of mutations ended in; in a process without threads, which a fork would not take along."""
    path = tmp_path_factory.mktemp("hostile") / "found.json"
    command = [sys.executable, "-m", "tests.hostile", "--quiet", "--json", str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert path.exists(), ended.stderr[-3000:]
    result: dict[str, Any] = json.loads(path.read_bytes())
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_no_mutation_crashes_exhausts_or_misleads(found, kind, record_property):
    record_property("mutations", found["counts"][kind]["mutations"])
    assert found["counts"][kind]["mutations"] == KINDS[kind].count
    failures = [one for one in found["failures"] if one["case"].startswith(f"{kind}:")]
    lines = [f"--replay {one['case']}  {one['what'][:100]}\n    {'; '.join(one['faults'])[:300]}" for one in failures]
    assert not failures, f"{len(failures)} of {KINDS[kind].count}; python -m tests.hostile\n" + "\n".join(lines[:20])


def test_a_reader_that_crashes_hangs_or_takes_memory_is_found():
    """The sandbox itself: what it would say of a mutation that does its worst."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.hostile.check_sandbox"], capture_output=True, text=True, check=False
    )
    assert ended.stdout.splitlines() == ["SIGSEGV", "hang", "memory", "status", "escaped", "fine"], ended.stderr
