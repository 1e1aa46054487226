"""The batches of one rank, numbered 0, 1, 2 ... from the start of the run, and the place of each in it."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from maskmill.pipeline.loader.order.epoch_order import list_divisors
from maskmill.pipeline.loader.order.serving_plan import ServingPlan
from maskmill.schemas.errors import ConfigError


@dataclass(frozen=True)
class ScheduledBatch:
    """The place of a batch.

    Attributes:
        step: Global batch since the start of the run.
        rows_served: Rows of this rank's share of it that come before.
        share_rows: Rows of that share, G/W.
        batch_rows: Rows of this batch.
    """

    step: int
    rows_served: int
    share_rows: int
    batch_rows: int


class RankSchedule:
    """Cuts a rank's share of every global batch into batches.

    Args:
        plan: Every step of the run.
        rank: This rank.
        world_size: W; divides every G.
        micro_batch_rows: Rows of a batch; divides every G/W. None: the whole share.

    Raises:
        ConfigError: The numbers do not divide, or there is no such rank.
    """

    def __init__(self, plan: ServingPlan, rank: int, world_size: int, micro_batch_rows: int | None) -> None:
        self._stretches = plan.stretches
        self._batches_per_step: list[int] = []
        self._shares: list[int] = []
        self._first_batches = [0]
        for place, stretch in enumerate(plan.stretches):
            share = _share(stretch.global_batch_rows, rank, world_size)
            micro = share if micro_batch_rows is None else micro_batch_rows
            if micro < 1 or share % micro:
                raise ConfigError(
                    "micro_batch_rows does not divide the rank's share of the global batch",
                    path="micro_batch_rows",
                    expected=f"a divisor of {share}",
                    found=str(micro_batch_rows),
                    action="give another micro_batch_rows, world size or global batch",
                )
            self._shares.append(share)
            self._batches_per_step.append(share // micro)
            if place + 1 < len(plan.stretches):
                steps = plan.stretches[place + 1].first_step - stretch.first_step
                self._first_batches.append(self._first_batches[-1] + steps * (share // micro))
        self._first_steps = [stretch.first_step for stretch in plan.stretches]

    def locate(self, number: int) -> ScheduledBatch:
        """The place of a batch."""
        place = bisect_right(self._first_batches, number) - 1
        steps, part = divmod(number - self._first_batches[place], self._batches_per_step[place])
        share = self._shares[place]
        rows = share // self._batches_per_step[place]
        return ScheduledBatch(self._first_steps[place] + steps, part * rows, share, rows)

    def count(self, step: int, rows_served: int) -> int:
        """How many batches come before a place."""
        place = bisect_right(self._first_steps, step) - 1
        per_step, share = self._batches_per_step[place], self._shares[place]
        before = (step - self._first_steps[place]) * per_step
        return self._first_batches[place] + before + rows_served * per_step // share


def _share(global_batch_rows: int, rank: int, world_size: int) -> int:
    if world_size < 1 or global_batch_rows % world_size:
        divisors = list(map(str, list_divisors(global_batch_rows)))
        raise ConfigError(
            "the world size does not divide the global batch",
            path="world_size",
            expected=f"one of {', '.join(divisors[:24])}",
            found=f"world_size {world_size}, global_batch_rows {global_batch_rows}",
            action="choose another world size or global batch: unequal ranks would hang collectives",
        )
    if not 0 <= rank < world_size:
        raise ConfigError(
            "no such rank",
            path="rank",
            expected=f"0 to {world_size - 1}",
            found=str(rank),
            action="give the rank of this process, from 0",
        )
    return global_batch_rows // world_size
