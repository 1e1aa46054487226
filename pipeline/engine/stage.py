"""A stage: a list of units, each a pure function of its description that writes its output and leaves a receipt.

A receipt is written after the output it speaks of, durably, by whoever ran the unit. So a driver that is killed
loses nothing: the next one runs only the units that have no receipt. Engines differ in where a unit runs, never in
what it writes.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import xxhash
from pydantic import BaseModel, ConfigDict

from maskmill.pipeline.engine.receipts import RECEIPTS, receipt_path, standing_receipt, write_receipt
from maskmill.pipeline.storage.failures import retry_transient
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import ConfigError, is_panic
from maskmill.schemas.receipt import Receipt, ShardReceipt

UNIT_ATTEMPTS = 3


class UnitDescription(BaseModel):
    """What a unit works from; its digest ties a receipt to it. Holds nothing that differs between machines.

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
class UnitOutcome:
    """What a unit hands back to its function's caller, to be made into a receipt."""

    shards: list[ShardReceipt]
    counts: dict[str, int]
    details: dict[str, Any]


UnitFunction = Callable[[Any, Any], UnitOutcome]
"""`function(context, description)`: a module-level function; the context is the same for every unit of a run."""


@dataclass(frozen=True)
class Finished:
    """What an engine tells the driver about a unit: enough for progress and early stops, small at any scale."""

    stage: str
    unit: int
    counts: dict[str, int]
    seconds: float
    retries: int
    host: str


OnProgress = Callable[[UnitDescription, float], None]
"""Callback that receives a unit and the share of its work that is done, from 0 to 1."""


def ignore_progress(unit: UnitDescription, share: float) -> None:
    """Do nothing: the progress of units is not wanted."""


class Engine(Protocol):
    """Runs units somewhere, at most a bounded number at a time."""

    @property
    def shares_memory(self) -> bool:
        """Whether units run in the driver's own process."""
        ...

    def run(
        self,
        function: UnitFunction,
        context: Any,
        output: Store,
        units: Iterable[UnitDescription],
        on_progress: OnProgress = ignore_progress,
    ) -> Generator[Finished, None, None]:
        """Run the units in any order, yielding each as it ends; the first error ends all.

        Units are taken from the iterable as they can be run, never many ahead. Closing the iterator ends the units
        that are at work. `on_progress` receives the progress that long units report, about once a second; an engine
        without a way back from its units, such as Ray's, never calls it.
        """
        ...

    def close(self) -> None:
        """Give back what the engine holds."""
        ...


Listener = Callable[[dict[str, Any]], None]
"""Takes one event of a job: a dictionary of JSON's types with an `event` key."""


def execute_unit(function: UnitFunction, context: Any, output: Store, description: UnitDescription) -> Finished:
    """Run one unit where we are: retry what may pass, write the receipt last.

    Raises:
        TransientStorageError: The store failed every attempt.
        ConfigError: A library written in Rust panicked.
    """
    started = time.perf_counter()
    attempts = 0
    standing = standing_receipt(output, description)
    if standing is not None:  # its worker died after it was finished, before it could say so
        return Finished(description.stage, description.unit, standing.counts, 0.0, 0, socket.gethostname())

    def attempt() -> UnitOutcome:
        nonlocal attempts
        attempts += 1
        return function(context, description)

    try:
        outcome = retry_transient(attempt, attempts=UNIT_ATTEMPTS)
    except BaseException as error:
        if is_panic(error):  # which is no Exception, so it would end the worker and say nothing
            raise _explain_panic(error, description, output) from error
        raise
    receipt = Receipt(
        stage=description.stage,
        unit=description.unit,
        description=description.digest(),
        shards=outcome.shards,
        counts=outcome.counts,
        details=outcome.details,
    )
    write_receipt(output, receipt)
    return Finished(
        description.stage,
        description.unit,
        outcome.counts,
        time.perf_counter() - started,
        attempts - 1,
        socket.gethostname(),
    )


def _explain_panic(error: BaseException, description: UnitDescription, output: Store) -> ConfigError:
    return ConfigError(
        f"a library panicked in unit {description.unit} of stage {description.stage}",
        path=output.display_url,
        found=f"panic: {error}",
        action="compare the installed libraries with constraints.txt; if they agree, this is a defect of one of them, "
        "or of maskmill, which should have refused what it was given",
    )


def run_stage(
    engine: Engine,
    function: UnitFunction,
    context: Any,
    output: Store,
    units: Sequence[UnitDescription],
    listen: Listener,
    on_finished: Callable[[Finished], None] | None = None,
) -> None:
    """Run the units of one stage that have no receipt yet.

    Args:
        engine: Who runs them.
        function: What a unit does.
        context: Handed to every unit.
        output: The run's output, where receipts stand.
        units: All units of the stage, numbered from 0.
        listen: Receives `stage_started`, `unit_done` and `stage_done`, and of long units `unit_progress`.
        on_finished: Called for each unit run now; may raise to stop the stage.

    Raises:
        ConfigError: The output is visible only in this process but units run in others.
    """
    if not units:
        return
    if output.is_in_process and not engine.shares_memory:
        raise ConfigError(
            "memory:// is visible only in the driver's process",
            path=output.display_url,
            expected="units in the driver's process",
            found="an engine of several processes",
            action='set engine.kind = "local" and engine.workers = 1',
        )
    stage = units[0].stage
    done = set(output.list(f"{RECEIPTS}/{stage}"))
    pending = [unit for unit in units if receipt_path(stage, unit.unit) not in done]
    listen({"event": "stage_started", "stage": stage, "units": len(units), "reused": len(units) - len(pending)})
    started = time.perf_counter()
    retries = 0

    def pass_on(unit: UnitDescription, share: float) -> None:
        listen({"event": "unit_progress", "stage": stage, "unit": unit.unit, "share": round(share, 4)})

    # Closed here: an error that a caller holds on to would keep the iterator, and its workers, alive.
    with contextlib.closing(engine.run(function, context, output, pending, pass_on)) as running:
        for finished in running:
            retries += finished.retries
            listen(
                {
                    "event": "unit_done",
                    "stage": stage,
                    "unit": finished.unit,
                    "seconds": round(finished.seconds, 4),
                    "host": finished.host,
                    "counts": finished.counts,
                }
            )
            if on_finished is not None:
                on_finished(finished)
    listen(
        {
            "event": "stage_done",
            "stage": stage,
            "units": len(units),
            "ran": len(pending),
            "seconds": round(time.perf_counter() - started, 4),
            "retries": retries,
        }
    )
