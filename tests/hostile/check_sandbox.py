"""What the sandbox says of cases that do their worst; run by the tests in a process of its own."""

from __future__ import annotations

import ctypes
import os
import time

from tests.hostile import sandbox
from tests.hostile.sandbox import MEMORY_MIB, Begin, Result, run_all


def _run(case: str, begin: Begin) -> Result:
    begin(case)
    if case == "SIGSEGV":
        ctypes.string_at(0)
    elif case == "hang":
        time.sleep(60)
    elif case == "memory":
        assert bytearray(b"x") * ((MEMORY_MIB + 20) << 20)
    elif case == "status":
        os._exit(3)
    elif case == "escaped":
        raise KeyError(case)
    return Result(case)


def main() -> None:
    sandbox.SECONDS = 3
    words = {"status": "ended with status 3", "escaped": "the mutation itself failed"}
    cases = ["SIGSEGV", "hang", "memory", "status", "escaped", "fine"]
    results = {result.case: result for result in run_all(iter(cases), _run, processes=1)}
    for case in cases:
        faults = results[case].faults
        if (case == "fine" and not faults) or (len(faults) == 1 and words.get(case, case) in faults[0]):
            print(case)


if __name__ == "__main__":
    main()
