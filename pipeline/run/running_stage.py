"""How far a running stage has come, in numbers and in words."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from maskmill.pipeline.run.stages import explain_stage, label_stage
from maskmill.schemas.wording import count_of


@dataclass
class RunningStage:
    """A running stage.

    Attributes:
        name: Of the stage.
        units: All of its units.
        done: Those that are done.
        started: By `time.perf_counter`.
        text_bytes: Text in those that were done now.
        shares: How much of each running unit is done, by its number.
    """

    name: str
    units: int
    done: int
    started: float
    text_bytes: int = 0
    shares: dict[int, float] = field(default_factory=dict)

    @property
    def completed(self) -> float:
        """Units that are done, plus the reported shares of running ones."""
        return self.done + sum(list(self.shares.values()))  # a copy: the main thread adds shares meanwhile

    @property
    def words(self) -> str:
        """What people call it."""
        return label_stage(self.name)

    @property
    def count(self) -> str:
        """How many units are done, of how many."""
        return f"{self.done}/{self.units}"

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.perf_counter() - self.started

    @property
    def detail(self) -> str:
        """The rate; before there is one, what the stage does."""
        if self.text_bytes:
            return f"{self.text_bytes / 1e6 / self.seconds:.1f} MB/s"
        return explain_stage(self.name)

    @property
    def line(self) -> str:
        """All of it in one line."""
        detail = f"{self.detail}, " if self.detail else ""
        share = f" ({self.completed / max(1, self.units):.0%})" if self.shares else ""
        units = f"{self.done:,} of {count_of(self.units, 'unit')} done"
        return f"{self.words}: {detail}{self.seconds:.0f} s so far, {units}{share}"
