"""A unit of work: its description, the result of its function, and what an engine reports about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

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


Unit = TypeVar("Unit", bound=UnitDescription)


class UnitSequence(Sequence[Unit]):
    """Units that are made when they are asked for, so that a million of them take no memory.

    Args:
        numbers: What `make` is given for each.
        make: Makes one, the same every time.
    """

    def __init__(self, numbers: Sequence[int], make: Callable[[int], Unit]) -> None:
        self._numbers = numbers
        self._make = make

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> Unit: ...
    @overload
    def __getitem__(self, place: slice) -> UnitSequence[Unit]: ...
    def __getitem__(self, place: int | slice) -> Unit | UnitSequence[Unit]:
        if isinstance(place, slice):
            return UnitSequence(self._numbers[place], self._make)
        return self._make(self._numbers[place])

    def map(self, change: Callable[[Unit], Unit]) -> UnitSequence[Unit]:
        """The units as something makes them of these."""
        make = self._make
        return UnitSequence(self._numbers, lambda number: change(make(number)))


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
