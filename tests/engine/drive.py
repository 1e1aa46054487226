"""A driver for tests that kill it: `python -m tests.engine.drive ENGINE OUTPUT LOG [FUNCTION]`.

The engine is `ray`, a number of local workers, or such a number with `ahead-` before it: forked ahead.
"""

from __future__ import annotations

import signal
import sys

from maskmill.pipeline.engine.local_engine import LocalEngine, fork_ahead
from maskmill.pipeline.engine.stage import Engine, run_stage
from maskmill.pipeline.storage.store import open_store
from tests.engine import units


def main(kind: str, output: str, log: str, function: str = "square_slowly") -> None:
    if kind == "ray":
        from maskmill.pipeline.engine.ray_engine import RayEngine

        engine: Engine = RayEngine(2)
    else:
        if kind.startswith("ahead-"):
            fork_ahead(int(kind.removeprefix("ahead-")))
        engine = LocalEngine(int(kind.removeprefix("ahead-")))
    pending = [units.Square(stage="square", unit=number, number=number) for number in range(4)]
    try:
        run_stage(engine, units.stage_of(getattr(units, function)), log, open_store(output), pending, lambda _: None)
    finally:
        engine.close()
    print("done", flush=True)


if __name__ == "__main__":
    # A shell starts what runs in the background with Ctrl-C ignored, and the tests with it; they are to run there too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(*sys.argv[1:])
