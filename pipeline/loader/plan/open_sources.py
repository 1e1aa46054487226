"""Opening what a run reads: its datasets, each once, the plan of its steps, and what does not fit together."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskmill.pipeline.loader.blocks.packed_dataset import PackedDataset
from maskmill.pipeline.loader.blocks.shard_files import ShardFiles
from maskmill.pipeline.loader.cache.cache_settings import Cache
from maskmill.pipeline.loader.order.epoch_order import (
    MAX_DEFAULT_PARTITIONS,
    EpochLength,
    LastBatch,
    OrderSettings,
    default_partitions,
    measure_epoch,
    measure_flowing_epoch,
)
from maskmill.pipeline.loader.order.serving_plan import PATTERN_ROWS, RowSupply, ServingPlan, WeightedPhase, apportion
from maskmill.pipeline.loader.plan.check_fit import check_one_kind, check_one_length, check_one_tokenizer
from maskmill.pipeline.loader.plan.mixture import MixedPhase, weigh
from maskmill.pipeline.storage.datasets import check_same_blocks
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.manifest import PackedManifest
from maskmill.schemas.masking import Masking
from maskmill.schemas.printable import make_printable

_LOG = logging.getLogger("maskmill.loader")


@dataclass(frozen=True)
class Order:
    """How a loader wants its rows ordered.

    Attributes:
        seed: Of every permutation.
        partitions: P; None chooses it.
        shuffle_blocks: Consecutive blocks whose rows are shuffled among themselves.
        last_batch: What becomes of an epoch's rest.
    """

    seed: int
    partitions: int | None
    shuffle_blocks: int
    last_batch: LastBatch


@dataclass(frozen=True)
class SourcePlan:
    """One dataset of a run.

    Attributes:
        url: Its folder.
        shown_url: The same for people, without user info.
        manifest: What was written.
        settings: What decides its order.
        epoch: How much an epoch of it serves.
        max_epochs: How often it may be read.
        max_batch_rows: The most rows of it that one global batch may take.
    """

    url: str
    shown_url: str
    manifest: PackedManifest
    settings: OrderSettings
    epoch: EpochLength
    max_epochs: int | None
    max_batch_rows: int

    def open(self, storage_options: dict[str, Any] | None, cache: Cache | None, files: ShardFiles) -> PackedDataset:
        """Open the dataset to read from it; its shards, if they are local, among others that are open.

        Raises:
            StaleArtifactError: It was replaced since the plan was made.
        """
        dataset = PackedDataset(self.url, storage_options, cache, files)
        check_same_blocks(dataset.store, self.manifest, dataset.manifest)
        return dataset


@dataclass(frozen=True)
class RunPlan:
    """Every step of a run.

    Attributes:
        sources: Its datasets, by their numbers.
        phases: Its phases, with weights.
        phase_maskings: Settings of masks that phases have of their own, one for each; None where it is the loader's.
        serving: Which rows of which dataset each step takes.
        steps_per_epoch: Where one dataset is read in whole global batches; None where epochs end inside them.
    """

    sources: tuple[SourcePlan, ...]
    phases: tuple[WeightedPhase, ...]
    phase_maskings: tuple[Masking | None, ...]
    serving: ServingPlan
    steps_per_epoch: int | None


def plan_run(
    phases: Sequence[MixedPhase],
    global_batch_rows: int | None,
    order: Order,
    storage_options: dict[str, Any] | None,
    cache: Cache | None,
) -> RunPlan:
    """Open every dataset once and plan the run.

    Raises:
        ConfigError: Datasets do not fit together, a number is out of range, or a dataset is too small or missing.
        ShardCorruptError: A manifest or a table of shards is damaged.
    """
    datasets: dict[str, PackedDataset] = {}
    caps: dict[str, int | None] = {}
    for phase in phases:
        for source in phase.mixture.sources:
            if source.url not in datasets:
                datasets[source.url] = PackedDataset(source.url, storage_options, cache)
            if caps.setdefault(source.url, source.max_epochs) != source.max_epochs:
                raise ConfigError(
                    "phases give a dataset different max_epochs",
                    path=source.url,
                    action="give it the same in every phase: it counts over the whole run",
                )
    urls = list(datasets)
    weighted = tuple(_weigh_phase(phase, global_batch_rows, datasets) for phase in phases)
    _check_fit(phases, datasets)
    alone = len(urls) == len(weighted) == 1
    sources = tuple(
        _plan_source(url, number, datasets[url], weighted, order, alone=alone, cap=caps[url])
        for number, url in enumerate(urls)
    )
    supplies = [RowSupply(source.settings.partitions, source.epoch.rows, source.max_epochs) for source in sources]
    for dataset in datasets.values():
        dataset.close()
    steps = sources[0].epoch.rows // weighted[0].global_batch_rows if alone else None
    serving = ServingPlan(weighted, supplies, order.seed)
    _refuse_unreached(serving, weighted, sources)
    return RunPlan(sources, weighted, tuple(phase.masking for phase in phases), serving, steps)


def _refuse_unreached(serving: ServingPlan, phases: Sequence[WeightedPhase], sources: Sequence[SourcePlan]) -> None:
    """Reject a run whose datasets end before its last phase begins."""
    end = serving.end_step
    unreached = [] if end is None else [phase.first_step for phase in phases if phase.first_step >= end]
    if unreached:
        rows = ", ".join(f"{source.epoch.rows} rows with max_epochs {source.max_epochs}" for source in sources)
        raise ConfigError(
            "the datasets of a phase are used up before it ends",
            path="data",
            expected=f"global batches up to step {unreached[0]}" if end else "one global batch at least",
            found=f"{end} of them, from {rows}",
            action="lower global_batch_rows, raise max_epochs, prepare more text or let the next phase begin earlier",
        )


def _weigh_phase(phase: MixedPhase, default_rows: int | None, datasets: dict[str, PackedDataset]) -> WeightedPhase:
    rows = default_rows if phase.global_batch_rows is None else phase.global_batch_rows
    mixture = phase.mixture
    if rows is None or rows < 1:
        raise ConfigError(
            "there is no global batch",
            path="data",
            expected="a positive global_batch_rows",
            found=str(rows),
            action="give global_batch_rows, or one to every phase",
        )
    weights = weigh(mixture, [datasets[source.url].num_rows for source in mixture.sources])
    numbers = [list(datasets).index(source.url) for source in mixture.sources]
    return WeightedPhase(phase.first_step, rows, {n: w for n, w in zip(numbers, weights, strict=True) if w})


def _check_fit(phases: Sequence[MixedPhase], datasets: dict[str, PackedDataset]) -> None:
    """Require one vocabulary for the whole run, and one row length and kind of pairs for each phase."""
    first = next(iter(datasets.values()))
    for phase in phases:
        inside = [datasets[source.url] for source in phase.mixture.sources]
        for dataset in inside:
            shown_url = dataset.store.display_url
            check_one_tokenizer(first.manifest, dataset.manifest, (first.store.display_url, shown_url))
            shown_urls = (inside[0].store.display_url, shown_url)
            check_one_length(inside[0].manifest, dataset.manifest, shown_urls)
            check_one_kind(inside[0].manifest, dataset.manifest, shown_urls)


def _plan_source(
    url: str,
    number: int,
    dataset: PackedDataset,
    phases: Sequence[WeightedPhase],
    order: Order,
    *,
    alone: bool,
    cap: int | None,
) -> SourcePlan:
    shares = [_share_of_batch(phase, number) for phase in phases if number in phase.weights]
    rows = phases[0].global_batch_rows
    partitions = order.partitions
    if partitions is None:
        # With fewer rows in a batch than partitions, a rank would serve different partitions in turn.
        partitions = default_partitions(rows) if alone else min(MAX_DEFAULT_PARTITIONS, min(shares, default=1))
        partitions = max(1, min(partitions, dataset.num_rows)) if not alone else partitions
    # No window is wider than a shard, so a larger value changes nothing and needs no more memory.
    width = max(1, min(order.shuffle_blocks, int(np.diff(dataset.shards.first_block).max(initial=1))))
    settings = OrderSettings(order.seed, partitions, width, order.last_batch)
    shown = dataset.store.display_url
    if alone and rows % partitions:
        raise ConfigError(
            "the partitions do not divide the global batch",
            path=shown,
            expected=f"a divisor of {rows}",
            found=str(partitions),
            action="give another number of partitions, or leave it out",
        )
    least = rows if alone else partitions
    if dataset.num_rows < least:
        raise ConfigError(
            "the dataset is smaller than one global batch" if alone else "the dataset has fewer rows than partitions",
            path=shown,
            expected=f"at least {least} rows",
            found=f"{dataset.num_rows}",
            action="lower global_batch_rows or prepare more text",
        )
    if alone:
        epoch = measure_epoch(dataset.num_rows, rows, partitions, order.last_batch)
    else:
        settings = OrderSettings(order.seed, partitions, width)
        epoch = measure_flowing_epoch(dataset.num_rows, partitions)
    _LOG.info(
        "%s: an epoch serves %d rows, leaves out %d and repeats %d",
        *(make_printable(shown), epoch.rows, epoch.dropped, epoch.repeated),
    )
    most = max(phase.global_batch_rows for phase in phases)
    return SourcePlan(url, shown, dataset.manifest, settings, epoch, cap, most)


def _share_of_batch(phase: WeightedPhase, number: int) -> int:
    """The smallest number of rows of a dataset in a global batch of a phase."""
    if len(phase.weights) == 1:
        return phase.global_batch_rows
    return phase.global_batch_rows * apportion(phase.weights)[number] // PATTERN_ROWS
