"""A unit of work: its description, the result of its function, and what an engine reports about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

import xxhash
from pydantic import BaseModel, ConfigDict

from maskmill.schemas.receipt import AnyDetails, ShardReceipt


class UnitDescription(BaseModel):
    """The description of a unit; its digest ties a receipt to it. Contains nothing that differs between machines.

    Attributes:
        stage: Name of the stage.
        unit: Its number in the stage, from 0.
        run: Fingerprint of the run, so that no receipt of other settings is taken for this one's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    unit: int
    run: str = ""

    def digest(self) -> str:
        """xxh3-128 of the description."""
        return xxhash.xxh3_128_hexdigest(self.model_dump_json().encode())


@dataclass(frozen=True)
class UnitOutcome(Generic[AnyDetails]):
    """The result of a unit's function, from which its receipt is made."""

    shards: list[ShardReceipt]
    counts: dict[str, int]
    details: AnyDetails


UnitFunction = Callable[[Any, Any], UnitOutcome[Any]]
"""`function(context, description)`: a module-level function; the context is the same for every unit of a run."""


@dataclass(frozen=True)
class Finished:
    """An engine's report on a unit: enough for progress and early stops, small at any scale."""

    stage: str
    unit: int
    counts: dict[str, int]
    seconds: float
    retries: int
    host: str
