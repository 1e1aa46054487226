"""Which rows of which dataset a global batch takes: pure arithmetic on the step.

A plan is a list of stretches of steps. In a stretch every global batch has G rows, and row i of the stretch, counted
over its global batches end to end, comes from dataset `pattern[i mod 1000]`. The pattern repeats, so any 1,000
consecutive rows of a stretch hold every dataset exactly as often as its weight says, in thousandths; its datasets
are spread evenly, so a global batch holds each as often as its weight says to within one row.

A dataset numbers its rows k = 0, 1, 2 ... through its epochs. Its rows of one global batch are the next n of them,
put into its slots partition by partition (k mod P), so that a rank serves the same partitions again and again.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]

PATTERN_ROWS = 1000


@dataclass(frozen=True)
class RowSupply:
    """What a plan must know of a dataset.

    Attributes:
        partitions: P.
        rows_per_epoch: A multiple of P.
        max_epochs: How often it may be read; None is without end.
    """

    partitions: int
    rows_per_epoch: int
    max_epochs: int | None = None

    @property
    def max_rows(self) -> int | None:
        """All rows that it may give."""
        return None if self.max_epochs is None else self.max_epochs * self.rows_per_epoch


@dataclass(frozen=True)
class Stretch:
    """Steps that are alike.

    Attributes:
        first_step: The first of them.
        global_batch_rows: G.
        pattern: `(1000,)` int64, the dataset of each row; `(1,)` where there is only one.
        counts_before: `(D, len(pattern) + 1)` int64, rows of each dataset before each place of the pattern.
        rows_before: `(D,)` int64, rows that each dataset has given before this stretch.
    """

    first_step: int
    global_batch_rows: int
    pattern: Int64s
    counts_before: Int64s
    rows_before: Int64s

    def count(self, dataset: int, num_rows: int) -> int:
        """Rows of a dataset among the first `num_rows` of the stretch."""
        periods, rest = divmod(num_rows, len(self.pattern))
        return periods * int(self.counts_before[dataset, -1]) + int(self.counts_before[dataset, rest])


@dataclass(frozen=True)
class Share:
    """The rows that one dataset gives to some slots of a global batch.

    Attributes:
        dataset: Its number.
        slots: `(m,)` int64, ascending.
        numbers: `(m,)` int64, the k of the row in each.
    """

    dataset: int
    slots: Int64s
    numbers: Int64s


@dataclass(frozen=True)
class WeightedPhase:
    """A phase: its first step, rows of a global batch, and integer weights by number of dataset."""

    first_step: int
    global_batch_rows: int
    weights: dict[int, int]


class ServingPlan:
    """All steps of a training run.

    Args:
        phases: By first step, the first at 0.
        supplies: Every dataset.
        seed: Where the patterns begin.
    """

    def __init__(self, phases: Sequence[WeightedPhase], supplies: Sequence[RowSupply], seed: int) -> None:
        self._supplies = list(supplies)
        self._seed = seed
        self.stretches: list[Stretch] = []
        self.end_step: int | None = None
        """The step at which every dataset of a stretch has been read as often as it may; None: there is no end."""
        rows_before = np.zeros(len(supplies), np.int64)
        for place, phase in enumerate(phases):
            end = phases[place + 1].first_step if place + 1 < len(phases) else None
            rows_before = self._append(phase, end, rows_before)
            if self.end_step is not None:
                break
        self._first_steps = [stretch.first_step for stretch in self.stretches]

    def _append(self, phase: WeightedPhase, end: int | None, rows_before: Int64s) -> Int64s:
        """Append a stretch, cut where a dataset is used up and the others take its share; returns the rows served."""
        left = dict(phase.weights)
        first = phase.first_step
        while end is None or first < end:
            stretch = _make_stretch(first, phase.global_batch_rows, left, rows_before, self._seed)
            lasts = {dataset: self._steps_left(stretch, dataset) for dataset in left}
            if 0 in lasts.values():  # its remaining rows, fewer than one step needs, are left out
                left = {d: weight for d, weight in left.items() if lasts[d] != 0}
                if left:
                    continue
                self.end_step = first
                return rows_before
            self.stretches.append(stretch)
            stops = [first + steps for steps in lasts.values() if steps is not None]
            stops += [] if end is None else [end]
            if not stops:
                return rows_before
            rows = (min(stops) - first) * stretch.global_batch_rows
            given = [stretch.count(dataset, rows) for dataset in range(len(self._supplies))]
            rows_before = rows_before + np.array(given, np.int64)
            lasting = [d for d, steps in lasts.items() if steps is None or first + steps > min(stops)]
            left, first = {d: left[d] for d in lasting}, min(stops)
            if not left:
                self.end_step = first
                return rows_before
        return rows_before

    def _steps_left(self, stretch: Stretch, dataset: int) -> int | None:
        """The number of steps of a stretch that a dataset lasts; `None` for ever."""
        most = self._supplies[dataset].max_rows
        if most is None:
            return None
        rows_left = most - int(stretch.rows_before[dataset])
        low, high = 0, 1
        while stretch.count(dataset, high * stretch.global_batch_rows) <= rows_left:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            fits = stretch.count(dataset, middle * stretch.global_batch_rows) <= rows_left
            low, high = (middle, high) if fits else (low, middle)
        return low

    def stretch_at(self, step: int) -> Stretch:
        """The stretch that a step lies in."""
        return self.stretches[bisect_right(self._first_steps, step) - 1]

    def take(self, step: int, first_slot: int, stop_slot: int) -> list[Share]:
        """What some slots of a global batch are filled with.

        Args:
            step: Counted from the start of training.
            first_slot: The first of them.
            stop_slot: Behind the last one.
        """
        stretch = self.stretch_at(step)
        row = (step - stretch.first_step) * stretch.global_batch_rows
        if len(stretch.pattern) == 1:
            return [self._take_alone(stretch, row, first_slot, stop_slot)]
        here = stretch.pattern[np.arange(row + first_slot, row + stop_slot) % PATTERN_ROWS]
        datasets = np.unique(here)
        where = [first_slot + np.flatnonzero(here == dataset) for dataset in datasets]
        shares = []
        for dataset, slots in zip(datasets.tolist(), where, strict=True):
            before = stretch.count(dataset, row)
            number = int(stretch.rows_before[dataset]) + before
            rows = stretch.count(dataset, row + stretch.global_batch_rows) - before
            first = stretch.count(dataset, row + first_slot) - before
            order = _by_partition(number % self._supplies[dataset].partitions, rows, self._supplies[dataset].partitions)
            shares.append(Share(dataset, slots, number + order[first : first + len(slots)]))
        return shares

    def _take_alone(self, stretch: Stretch, row: int, first_slot: int, stop_slot: int) -> Share:
        """The same if one dataset fills every slot; a batch of 32 rows takes 2 us."""
        dataset = int(stretch.pattern[0])
        number, partitions = int(stretch.rows_before[dataset]) + row, self._supplies[dataset].partitions
        order = _by_partition(number % partitions, stretch.global_batch_rows, partitions)
        return Share(dataset, _count_slots(first_slot, stop_slot), number + order[first_slot:stop_slot])


@functools.lru_cache(256)
def _count_slots(first_slot: int, stop_slot: int) -> Int64s:
    slots = np.arange(first_slot, stop_slot)
    slots.flags.writeable = False
    return slots


@functools.lru_cache(256)
def _by_partition(first: int, rows: int, partitions: int) -> Int64s:
    """The places of `rows` consecutive row numbers, the first of them in partition `first`, in partitions' order."""
    order = np.argsort((first + np.arange(rows)) % partitions, kind="stable").astype(np.int64)
    order.flags.writeable = False
    return order


def _make_stretch(
    first_step: int, global_batch_rows: int, weights: dict[int, int], rows_before: Int64s, seed: int
) -> Stretch:
    pattern = spread(apportion(weights), seed) if len(weights) > 1 else np.array(list(weights), np.int64)
    counts_before = np.zeros((len(rows_before), len(pattern) + 1), np.int64)
    for dataset in weights:
        counts_before[dataset, 1:] = np.cumsum(pattern == dataset)
    return Stretch(first_step, global_batch_rows, pattern, counts_before, rows_before)


def apportion(weights: dict[int, int]) -> dict[int, int]:
    """Integer weights as thousandths: each rounded down but at least 1, the rest to the largest remainders.

    Args:
        weights: By number of dataset, positive.
    """
    total = sum(weights.values())
    exact = {d: Fraction(PATTERN_ROWS * w, total) for d, w in weights.items()}
    shares = {d: max(1, int(share)) for d, share in exact.items()}
    by_remainder = sorted(weights, key=lambda d: (-(exact[d] - shares[d]), d))
    for d in by_remainder[: max(0, PATTERN_ROWS - sum(shares.values()))]:
        shares[d] += 1
    while sum(shares.values()) > PATTERN_ROWS:  # the smallest were raised to one, at the expense of the largest
        shares[max(shares, key=lambda d: (shares[d], -d))] -= 1
    return shares


def spread(thousandths: dict[int, int], seed: int) -> Int64s:
    """A pattern of 1,000 datasets, each spread evenly through it, turned by the seed.

    The j-th row of a dataset with m in 1,000 is near place (2j + 1) * 1000 / 2m.
    """
    places = [
        (Fraction((2 * j + 1) * PATTERN_ROWS, 2 * count), dataset)
        for dataset, count in thousandths.items()
        for j in range(count)
    ]
    pattern = np.array([dataset for _, dataset in sorted(places)], np.int64)
    return np.roll(pattern, -(seed % PATTERN_ROWS))
