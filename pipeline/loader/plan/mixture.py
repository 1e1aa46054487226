"""What a training run reads, as its author says it: mixtures of datasets, and phases of steps."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from maskmill.pipeline.loader.check_arguments import MAX_GLOBAL_BATCH_ROWS, MAX_STEPS, check_integer, check_url
from maskmill.pipeline.loader.order.serving_plan import PATTERN_ROWS
from maskmill.schemas.errors import ConfigError

WEIGHT_UNITS = 1_000_000
MIN_TEMPERATURE = 0.05  # rows ** 20: with less the largest dataset is alone, and numbers leave their range
MAX_WEIGHT = 1e12


@dataclass(frozen=True)
class Source:
    """A packed dataset in a mixture.

    Attributes:
        url: Its folder, on any fsspec store.
        weight: Its share of the rows, beside the other weights. 0 leaves it out of this phase.
        max_epochs: How often it may be read, in the whole run; then the others take its share. None: without end.
    """

    url: str
    weight: float = 1.0
    max_epochs: int | None = None


@dataclass(frozen=True)
class Mixture:
    """Several datasets of one tokenizer and one row length, each going through its own epochs.

    Any 1,000 consecutive rows hold each dataset exactly as often as its weight says, in thousandths; a dataset with
    a positive weight has one row in 1,000 at least.

    Attributes:
        sources: The datasets.
        temperature: Weights are multiplied by rows ** (1 / temperature): 1 is in proportion to size, more lifts small
            datasets. None: the weights alone.
    """

    sources: tuple[Source, ...]
    temperature: float | None = None


Data = str | os.PathLike[str] | Source | Mixture
"""What one phase may read: a dataset's folder, or several."""


@dataclass(frozen=True)
class Phase:
    """Steps of a run that are alike: a curriculum is a list of them.

    Attributes:
        first_step: The first of them, counted in global batches from the start of the run.
        data: The dataset or mixture; its row length may differ from the phase before.
        global_batch_rows: G; None is that of the loader.
    """

    first_step: int
    data: Data
    global_batch_rows: int | None = None


@dataclass(frozen=True)
class MixedPhase:
    """A phase as the loader goes by it: its data is a mixture, perhaps of one."""

    first_step: int
    mixture: Mixture
    global_batch_rows: int | None


def list_phases(data: Data | Sequence[Phase]) -> list[MixedPhase]:
    """What was given, as phases with mixtures of datasets at absolute places.

    Raises:
        ConfigError: The phases do not begin at 0 and ascend, or a mixture is none.
    """
    given = data if isinstance(data, Sequence) and not isinstance(data, str) else [Phase(0, data)]
    phases = []
    for phase in given:
        if not isinstance(phase, Phase):
            raise ConfigError(
                "a list of data is a list of Phases",
                path="phases",
                found=repr(phase),
                action="write Phase(first_step, data) for each; several datasets at once are a Mixture",
            )
        first_step = check_integer("first_step", phase.first_step, 0, MAX_STEPS)
        rows = phase.global_batch_rows
        rows = None if rows is None else check_integer("global_batch_rows", rows, 1, MAX_GLOBAL_BATCH_ROWS)
        phases.append(MixedPhase(first_step, _as_mixture(phase.data), rows))
    steps = [phase.first_step for phase in phases]
    if not steps or steps[0] != 0 or steps != sorted(set(steps)):
        raise ConfigError(
            "phases do not ascend",
            path="phases",
            expected="first steps from 0 on",
            found=str(steps),
            action="let the first begin at 0, and each later one at a later step",
        )
    return phases


def _as_mixture(data: Data) -> Mixture:
    if isinstance(data, Mixture):
        given = data
    else:
        given = Mixture((data if isinstance(data, Source) else Source(check_url(data)),))
    _check_members(given)
    mixture = replace(given, sources=tuple(replace(source, url=check_url(source.url)) for source in given.sources))
    urls = [source.url for source in mixture.sources]
    if not urls or len(set(urls)) < len(urls):
        raise ConfigError(
            "a mixture names each dataset once",
            path="mixture",
            found=", ".join(urls) or "none",
            action="give one Source for each dataset, and weights",
        )
    if sum(source.weight > 0 for source in mixture.sources) > PATTERN_ROWS:
        raise ConfigError(
            "more datasets than a mixture can hold",
            path="mixture",
            expected=f"at most {PATTERN_ROWS} with a weight, one row in {PATTERN_ROWS} each",
            found=str(len(urls)),
            action="prepare small ones together",
        )
    return mixture


def _check_members(mixture: Mixture) -> None:
    if isinstance(mixture.sources, (str, os.PathLike, Source)) or not isinstance(mixture.sources, Iterable):
        raise ConfigError(
            "a mixture is of several Sources",
            path="mixture",
            expected="a tuple of Sources",
            found=repr(mixture.sources),
            action="write Mixture((Source(url, weight), Source(other, weight)))",
        )
    for source in mixture.sources:
        if not isinstance(source, Source):
            raise ConfigError(
                "a mixture is of Sources",
                path="mixture",
                found=repr(source),
                action="write Source(url, weight) for each dataset",
            )
        _check_number("weight", source.weight, 0, MAX_WEIGHT)
        if source.max_epochs is not None:
            check_integer("max_epochs", source.max_epochs, 1, MAX_STEPS)
    if mixture.temperature is not None:
        _check_number("temperature", mixture.temperature, MIN_TEMPERATURE, math.inf)


def _check_number(name: str, value: Any, least: float, most: float) -> None:
    # NumPy's numbers are Real, too.
    if not isinstance(value, Real) or isinstance(value, bool) or not least <= float(value) <= most:
        raise ConfigError(
            f"no such {name}",
            path=f"mixture.{name}",
            expected=f"a number from {least:g} to {most:g}",
            found=repr(value),
            action=f"give another {name}",
        )


def weigh(mixture: Mixture, rows: Sequence[int]) -> list[int]:
    """Integer weights of a mixture's sources.

    Args:
        mixture: With D sources.
        rows: Of each dataset.

    Raises:
        ConfigError: No source has a weight.
    """
    lifts = [1.0 if mixture.temperature is None else count ** (1 / mixture.temperature) for count in rows]
    exact = [source.weight * lift for source, lift in zip(mixture.sources, lifts, strict=True)]
    total = sum(exact)
    if not total > 0:
        raise ConfigError(
            "no dataset of the mixture has a weight",
            path=mixture.sources[0].url,
            action="give one of them a positive weight",
        )
    return [0 if weight == 0 else max(1, round(weight / total * WEIGHT_UNITS)) for weight in exact]
