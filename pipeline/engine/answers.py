"""A worker's answer to a unit: that it has finished, or its error in a form that can be pickled."""

from __future__ import annotations

import pickle
import traceback
from dataclasses import dataclass
from typing import Any

from maskmill.pipeline.engine.stage import execute_unit
from maskmill.pipeline.engine.units import Finished, UnitDescription, UnitFunction
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.redaction import redact


@dataclass(frozen=True)
class Failed:
    """A unit's error, and where in the worker it was raised."""

    error: Exception
    trace: str


class WorkerTraceback(Exception):  # noqa: N818  # a cause to be printed, not an error to be caught
    """The traceback of a unit's error in its worker, as the error's cause."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def answer_unit(function: UnitFunction, context: Any, output: Store, unit: UnitDescription) -> Finished | Failed:
    """Run a unit in a worker process; its error is returned, not raised."""
    try:
        return execute_unit(function, context, output, unit)
    except Exception as error:  # noqa: BLE001  # the driver raises it
        return Failed(_make_portable(error), redact(traceback.format_exc()))


def take_answer(answer: Finished | Failed) -> Finished:
    """The driver's side: a failed unit's error is raised with its class and fields."""
    if isinstance(answer, Failed):
        raise answer.error from WorkerTraceback(answer.trace)
    return answer


def _make_portable(error: Exception) -> Exception:
    # Some libraries' errors cannot be pickled or unpickled; the driver would take that for a dead worker.
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):  # noqa: S301  # our own bytes
            return error
    except Exception:  # noqa: BLE001, S110  # whatever goes wrong, it does not travel
        pass
    return RuntimeError(f"{type(error).__qualname__}: {redact(str(error))}")
