"""A rate that changes over the steps of a run, in whole millionths at every step."""

from __future__ import annotations

from bisect import bisect_right
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from maskmill.schemas.explain_values import explain_values
from maskmill.schemas.shares import PPM, PpmShare

MAX_POINTS = 10_000
_MAX_STEP = 1 << 53
_BITS = 64
_PI = 314159265358979323846264338327950288 * 2**_BITS // 10**35
_TERMS = 24  # of the cosine's series: what is left at pi is below 2**-64


class Curve(StrEnum):
    """What a rate does between two points."""

    LINEAR = "linear"
    """It goes from one to the other evenly."""
    COSINE = "cosine"
    """It leaves the one and reaches the other slowly: half a wave of a cosine."""
    PIECEWISE = "piecewise"
    """It stays that of the first of them."""


class RateSchedule(BaseModel):
    """`rate = {curve = "linear", points = [[0, 0.3], [100000, 0.15]]}`: 30 % at first, 15 % from step 100,000 on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    curve: Curve
    """`linear`, `cosine`, or `piecewise`: what the rate does between two points."""
    points: Annotated[
        tuple[tuple[Annotated[int, Field(strict=True, ge=0, le=_MAX_STEP)], PpmShare], ...],
        Field(min_length=1, max_length=MAX_POINTS),
    ]
    """Steps, counted in global batches from the start of the run, and the rate of each; the first step is 0, and after
    the last the rate stays what it is."""

    @field_validator("points")
    @classmethod
    def _check_steps(cls, points: tuple[tuple[int, float], ...]) -> tuple[tuple[int, float], ...]:
        steps = [step for step, _ in points]
        if steps[0] != 0 or steps != sorted(set(steps)):
            raise ValueError(f"the points of a rate begin at step 0 and ascend, and these are at steps {steps[:20]}")
        return points

    @model_validator(mode="after")
    def _check_change(self) -> Self:
        if len({rate for _, rate in self.points}) == 1:
            raise ValueError(f"the rate does not change: write {self.points[0][1]} instead of a schedule")
        return self

    @property
    def most_ppm(self) -> int:
        """The highest rate, in millionths."""
        return max(round(rate * PPM) for _, rate in self.points)

    def find_lowest(self, steps: int) -> tuple[int, int]:
        """A step with the lowest rate of the first `steps` ones, and that rate in millionths.

        Between two points a rate does not turn, so it is lowest at a point or at the last step.
        """
        corners = [step for step, _ in self.points if step < steps] + [steps - 1]
        return min(((step, self.find_ppm(step)) for step in corners), key=lambda found: found[1])

    def find_ppm(self, step: int) -> int:
        """The rate of a step, in millionths: integer arithmetic alone, so that it is the same everywhere.

        Args:
            step: Counted in global batches from the start of the run.
        """
        index = bisect_right(self.points, step, key=lambda point: point[0]) - 1
        first, rate = self.points[index]
        before = round(rate * PPM)
        if self.curve == Curve.PIECEWISE or index + 1 == len(self.points):
            return before
        last, rate = self.points[index + 1]
        change, numerator, denominator = round(rate * PPM) - before, step - first, last - first
        if self.curve == Curve.COSINE:
            numerator, denominator = 2**_BITS - _cosine(_PI * numerator // denominator), 2 ** (_BITS + 1)
        return before + (2 * change * numerator + denominator) // (2 * denominator)


def read_schedule(value: dict[str, Any]) -> RateSchedule:
    """Read the schedule of the key `rate`.

    Raises:
        ValueError: It is none, in words for an error of that key.
    """
    try:
        return RateSchedule.model_validate(value)
    except ValidationError as error:
        found = explain_values(RateSchedule, error, "rate")
        said = [found.what, found.expected and f"expected {found.expected}", found.found and f"found {found.found}"]
        raise ValueError(", ".join(filter(None, said))) from None


def _cosine(angle: int) -> int:
    """The cosine of an angle from 0 to pi, both in units of 2**-64, by its series."""
    total = term = 1 << _BITS
    for n in range(1, _TERMS):
        term = -term * angle * angle // ((2 * n - 1) * 2 * n) >> (2 * _BITS)
        total += term
    return total
