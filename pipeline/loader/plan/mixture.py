"""What a training run reads, as the user specifies it: mixtures of datasets, and phases of steps."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from maskmill.pipeline.loader.check_arguments import check, check_settings
from maskmill.pipeline.loader.order.serving_plan import PATTERN_ROWS
from maskmill.pipeline.settings import refuse_argument
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.explain_values import show_value
from maskmill.schemas.masking import Masking

WEIGHT_UNITS = 1_000_000


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

    def __post_init__(self) -> None:
        names = {"url": "data", "weight": "mixture.weight", "max_epochs": "max_epochs"}
        check_settings(self, names)


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

    def __post_init__(self) -> None:
        example = "write Mixture((Source(url, weight), Source(other, weight)))"
        if isinstance(self.sources, (str, os.PathLike, Source)) or not isinstance(self.sources, Iterable):
            what = "a mixture is a tuple of Sources"
            raise refuse_argument("mixture", self.sources, "a tuple of Sources", example, what)
        sources = tuple(self.sources)
        for source in sources:
            if not isinstance(source, Source):
                raise refuse_argument(
                    "mixture", source, "one Source for each dataset", example, "a mixture holds Sources only"
                )
        object.__setattr__(self, "sources", sources)
        check_settings(self, {"temperature": "mixture.temperature"})


Data = str | os.PathLike[str] | Source | Mixture
"""The dataset or datasets that a phase reads."""


@dataclass(frozen=True)
class Phase:
    """Steps of a run that are alike: a curriculum is a list of them.

    Attributes:
        first_step: The first of them, counted in global batches from the start of the run.
        data: The dataset or mixture; its row length may differ from the phase before.
        global_batch_rows: G; None is that of the loader.
        masking: Settings of its masks; None is that of the loader. The steps of a schedule of the rate count from the
            start of the run.
    """

    first_step: int
    data: Data
    global_batch_rows: int | None = None
    masking: Masking | None = None

    def __post_init__(self) -> None:
        names = {name: name for name in ("first_step", "global_batch_rows")}
        check_settings(self, names)
        object.__setattr__(self, "masking", check("masking or none", self.masking, called="masking"))
        if not isinstance(self.data, (Source, Mixture)):
            check("data", self.data)


@dataclass(frozen=True)
class MixedPhase:
    """A phase as the loader goes by it: its data is a mixture, perhaps of one."""

    first_step: int
    mixture: Mixture
    global_batch_rows: int | None
    masking: Masking | None = None


def list_phases(data: Data | Sequence[Phase]) -> list[MixedPhase]:
    """What was given, as phases with mixtures of datasets at absolute places.

    Raises:
        ConfigError: The phases do not begin at 0 and ascend, or a mixture is invalid.
    """
    given = data if isinstance(data, Sequence) and not isinstance(data, str) else [Phase(0, data)]
    phases = []
    for phase in given:
        if not isinstance(phase, Phase):
            raise ConfigError(
                "a list of data is a list of Phases",
                path="phases",
                expected="Phases",
                found=show_value(phase),
                action="write Phase(first_step, data) for each; several datasets at once are a Mixture",
            )
        phases.append(MixedPhase(phase.first_step, _as_mixture(phase.data), phase.global_batch_rows, phase.masking))
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
    mixture = (
        data
        if isinstance(data, Mixture)
        else Mixture((data if isinstance(data, Source) else Source(check("data", data)),))
    )
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
