"""The micro-batches of every global batch together: what one optimizer step is made of."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, Protocol, TypeVar

from maskmill.schemas.errors import ConfigError


class MicroBatch(Protocol):
    """What must be known of a batch to find the others of its global batch."""

    @property
    def row_ids(self) -> Any:
        """The rows' ids, (B,)."""

    @property
    def rows_before(self) -> int:
        """Rows of this rank's share of the global batch in micro-batches before."""

    @property
    def state(self) -> dict[str, Any]:
        """The loader's state after this micro-batch."""


Micro = TypeVar("Micro", bound=MicroBatch)


def gather_steps(batches: Iterable[Micro]) -> Generator[list[Micro]]:
    """Gather the micro-batches of one global batch after the other, without asking for one more than each has.

    Raises:
        ConfigError: The stream begins or ends inside a global batch.
    """
    step: list[Micro] = []
    for batch in batches:
        came = sum(len(before.row_ids) for before in step)
        if batch.rows_before != came:
            raise ConfigError(
                "the batches begin inside a global batch",
                path="loader",
                expected=f"a micro-batch that begins at row {came} of its global batch",
                found=f"one that begins at row {batch.rows_before}",
                action="resume from a state behind a whole step, and give the loader to the trainer as it is",
            )
        step.append(batch)
        if batch.state["rows_served"] == 0:
            yield step
            step = []
    if step:
        raise ConfigError(
            "the batches end inside a global batch",
            path="loader",
            expected="all micro-batches of every global batch, in the loader's order",
            found=f"{len(step)} micro-batches of the last",
            action="give the loader to the trainer as it is: do not let it shard, dispatch or limit batches",
        )
