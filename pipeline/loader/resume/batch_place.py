"""The place of a batch in its run, carried from the reader to the trainer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class BatchPlace:
    """The place of a batch.

    Attributes:
        epoch: From 0.
        step: Of the global batch in its epoch, from 0; micro-batches of one global batch share it.
        rows_before: Rows of this rank's share of the global batch that came in micro-batches before.
        state: Where the loader is after this batch; valid for any number of workers.
        waited_seconds: How long storage was waited for, for this batch: where it is not 0, the trainer waited too.
    """

    epoch: int = 0
    step: int = 0
    rows_before: int = 0
    state: dict[str, Any] = field(default_factory=dict)
    waited_seconds: float = 0.0
