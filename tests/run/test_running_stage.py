"""How far a stage has come is said while other threads add to it."""

from __future__ import annotations

import time

from maskmill.pipeline.run.running_stage import RunningStage


def test_a_line_is_made_while_the_shares_of_units_change() -> None:
    stage = RunningStage("train", units=4, done=1, started=time.perf_counter())

    class Growing(float):
        """A share during whose addition another unit reports its first one."""

        def __radd__(self, other: float) -> float:
            stage.shares.setdefault(1, 0.25)
            return other + float(self)

    stage.shares[0] = Growing(0.5)
    assert stage.line.endswith("1 of 4 units done (38%)")
    assert stage.completed == 1.75
