"""A stage: a list of units, each a pure function of its description that writes its output and then a receipt.

Whoever runs a unit writes its receipt durably, after the output it describes. So a driver that is killed loses
nothing: the next one runs only the units that have no receipt. Engines differ in where a unit runs, never in
what it writes.
"""

from __future__ import annotations

import contextlib
import socket
import time
from array import array
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from maskmill.pipeline.engine.receipts import Receipts, read_counts, write_receipt
from maskmill.pipeline.engine.units import Finished, Unit, UnitDescription, UnitFunction, UnitOutcome
from maskmill.pipeline.storage.failures import retry_transient
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import ConfigError, is_panic
from maskmill.schemas.events import RunListener, StageDone, StageStarted, UnitDone, UnitProgress
from maskmill.schemas.receipt import AnyDetails

UNIT_ATTEMPTS = 3
Context = TypeVar("Context")


@dataclass(frozen=True)
class Stage(Generic[Context, Unit, AnyDetails]):
    """The declaration of a stage, beside its function.

    Attributes:
        label: What a person calls it.
        work: What it does; shown until a unit has ended and there is a rate to show.
        unit: What one unit works from; its default of `stage` is the stage's name.
        details: The type of a receipt's details, beside counts and shards.
        function: Runs a unit; at module level, so that every worker can import it.
    """

    label: str
    work: str
    unit: type[Unit]
    details: type[AnyDetails]
    function: Callable[[Context, Unit], UnitOutcome[AnyDetails]]

    @property
    def name(self) -> str:
        """Its name in receipts, events and `timings.json`, where the name of a tokenizer or packing may follow it."""
        return str(self.unit.model_fields["stage"].default)


OnProgress = Callable[[UnitDescription, float], None]
"""Callback that receives a unit and the share of its work that is done, from 0 to 1."""


def ignore_progress(unit: UnitDescription, share: float) -> None:
    """Ignore the progress of units."""


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


def execute_unit(function: UnitFunction, context: Any, output: Store, description: UnitDescription) -> Finished:
    """Run one unit in this process: retry transient failures, write the receipt last.

    Raises:
        TransientStorageError: The store failed every attempt.
        ConfigError: A library written in Rust panicked.
    """
    started = time.perf_counter()
    attempts = 0
    counts = read_counts(output, description)
    if counts is not None:  # its worker died after it was finished, before it could say so
        return Finished(description.stage, description.unit, counts, 0.0, 0, socket.gethostname())

    def attempt() -> UnitOutcome[Any]:
        nonlocal attempts
        attempts += 1
        return function(context, description)

    try:
        outcome = retry_transient(attempt, attempts=UNIT_ATTEMPTS)
    except BaseException as error:
        if is_panic(error):  # not an Exception, so it would end the worker silently
            raise _explain_panic(error, description, output) from error
        raise
    write_receipt(output, description, outcome)
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


Watch = Callable[[Receipts[Unit, AnyDetails]], Callable[[Finished], None]]
"""Called before a stage runs with the receipts that are there already; what it returns is called for each unit that is
run now, and may raise to stop the stage."""


def check_visible(store: Store, engine: Engine) -> None:
    """Make sure that units see what is in a store.

    Raises:
        ConfigError: It is visible only in this process, and units run in others.
    """
    if not store.capabilities.shared and not engine.shares_memory:
        raise ConfigError(
            "memory:// is visible only in the driver's process",
            path=store.display_url,
            expected="units in the driver's process",
            found="an engine of several processes",
            action='set engine.kind = "local" and engine.workers = 1',
        )


def run_stage(
    engine: Engine,
    stage: Stage[Context, Unit, AnyDetails],
    context: Context,
    output: Store,
    units: Sequence[Unit],
    listen: RunListener,
    watch: Watch[Unit, AnyDetails] | None = None,
) -> Receipts[Unit, AnyDetails]:
    """Run the units of one stage that have no receipt yet.

    Args:
        engine: Runs them.
        stage: What is run.
        context: Handed to every unit.
        output: The run's output, where receipts are.
        units: All units of the stage, numbered from 0; what they call it is what receipts and events call it.
        listen: Receives `stage_started`, `unit_done` and `stage_done`, and of long units `unit_progress`.
        watch: Follows the stage, and may stop it.

    Returns:
        The receipts of all units.

    Raises:
        ConfigError: The output is visible only in this process but units run in others.
    """
    receipts = Receipts(output, units, stage.details)
    if not units:
        return receipts
    check_visible(output, engine)
    name = units[0].stage
    on_finished = watch(receipts.finished()) if watch is not None else None
    done = receipts.find_finished()
    places = array("q", (place for place in range(len(units)) if place not in done))
    pending = (units[place] for place in places)
    listen(StageStarted(stage=name, units=len(units), reused=len(units) - len(places)))
    started = time.perf_counter()
    retries = 0

    def pass_on(unit: UnitDescription, share: float) -> None:
        listen(UnitProgress(stage=name, unit=unit.unit, share=round(share, 4)))

    # Closed here: an error that a caller holds on to would keep the iterator, and its workers, alive.
    with contextlib.closing(engine.run(stage.function, context, output, pending, pass_on)) as running:
        for finished in running:
            retries += finished.retries
            listen(
                UnitDone(
                    stage=name,
                    unit=finished.unit,
                    seconds=round(finished.seconds, 4),
                    host=finished.host,
                    counts=finished.counts,
                )
            )
            if on_finished is not None:
                on_finished(finished)
    listen(
        StageDone(
            stage=name,
            units=len(units),
            ran=len(places),
            seconds=round(time.perf_counter() - started, 4),
            retries=retries,
        )
    )
    return receipts
