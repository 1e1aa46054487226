"""Freed arrays of the usual size stay with the process, and larger ones are given back."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from maskmill.pipeline.engine.keep_freed_memory import keep_freed_memory

keep_freed_memory()
size = int(sys.argv[1]) << 20
filled = b"x" * size
del filled
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
filled = b"x" * size
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux alone is told")
@pytest.mark.parametrize(("megabytes", "is_kept"), [(64, True), (160, False)])
def test_the_second_array_of_a_size_faults_in_no_pages_if_the_first_was_kept(megabytes: int, is_kept: bool) -> None:
    program = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(megabytes)], capture_output=True, text=True, check=True
    )
    pages = megabytes << 20 >> 12
    assert (int(program.stdout) < pages // 100) is is_kept
