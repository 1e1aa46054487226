"""The most memory that a command takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

# Run by a small process: to Linux a process has at first the memory of the one that starts it, here up to 600 MiB.
_PRINT_PEAK = """
import os, subprocess, sys
started = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(started.pid, 0)
print(used.ru_maxrss)
sys.exit(status != 0)
"""


def measure_peak(command: Sequence[str]) -> int:
    """Bytes that the process of a command had at most, on Linux; those that it starts are not counted.

    Raises:
        CalledProcessError: It failed.
    """
    whole = [sys.executable, "-c", _PRINT_PEAK, *command]
    return int(subprocess.run(whole, check=True, stdout=subprocess.PIPE, text=True).stdout) * 1024
