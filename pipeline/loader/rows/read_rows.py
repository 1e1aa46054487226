"""Reading the rows of any batch of a run: one reader for an iteration, with a cursor in every dataset."""

from __future__ import annotations

from typing import Any

import numpy as np

from maskmill.pipeline.loader.blocks.packed_dataset import PackedDataset
from maskmill.pipeline.loader.blocks.shard_files import ShardFiles
from maskmill.pipeline.loader.cache.cache_settings import Cache
from maskmill.pipeline.loader.order.serving_plan import Share
from maskmill.pipeline.loader.plan.open_sources import RunPlan, SourcePlan
from maskmill.pipeline.loader.rows.partition_cursor import PartitionCursor
from maskmill.pipeline.loader.rows.row_batch import RowBatch
from maskmill.pipeline.loader.rows.stage_rows import StagedRows
from maskmill.schemas.rows import id_type


class RowReader:
    """Reads rows of batches, in any order of batches; quickest in theirs.

    Args:
        plan: The run.
        storage_options: For the fsspec file systems.
        cache: Of remote datasets.
        world_size: Ranks that share each global batch.
        static: Whether stored masks are read too.
        stop_epoch: Where one dataset is read in whole global batches, the epoch at which reading ends.

    Attributes:
        waited_seconds: How long storage was waited for so far.
    """

    def __init__(
        self,
        plan: RunPlan,
        storage_options: dict[str, Any] | None,
        cache: Cache | None,
        world_size: int,
        static: bool,
        stop_epoch: int | None,
    ) -> None:
        self._plan = plan
        self._storage_options = storage_options
        self._cache = cache
        self._world_size = world_size
        self._static = static
        self._has_words = any(source.manifest.has_word_starts for source in plan.sources)  # then all have to say it
        self._stop_epoch = stop_epoch
        self._files = ShardFiles()
        self._datasets: dict[int, PackedDataset] = {}
        self._cursors: dict[int, PartitionCursor] = {}
        self._gathered: StagedRows | None = None
        self.waited_seconds = 0.0

    @property
    def fetched_bytes(self) -> int:
        """What was downloaded so far."""
        return sum(dataset.fetched_bytes for dataset in self._datasets.values())

    def read(self, step: int, first_slot: int, stop_slot: int) -> RowBatch:
        """The rows of some slots of a global batch, until the next call.

        Args:
            step: Counted from the start of the run.
            first_slot: The first of them.
            stop_slot: Behind the last one.

        Raises:
            ShardCorruptError: A block is not what was written.
            TransientStorageError: The store failed every attempt.
        """
        shares = self._plan.serving.take(step, first_slot, stop_slot)
        if len(shares) == 1:
            (share,) = shares
            source, cursor = self._plan.sources[share.dataset], self._open(share.dataset)
            num_rows = len(share.numbers)
            slots, places, epochs, datasets = np.empty((4, num_rows), np.int64)
            datasets.fill(share.dataset)  # `np.full` takes ten times as long
            found = RowBatch(cursor.staged, slots, places, epochs, datasets, [])
            first = cursor.find(share.numbers, source.epoch.rows, slots, places, epochs)
            if first >= 0:  # nearly always all of them are staged and in one epoch
                found.distinct_epochs.append(first)
                return found
        rows = self._stage(shares, first_slot, stop_slot - first_slot)
        self.waited_seconds = sum(dataset.waited_seconds for dataset in self._datasets.values())
        return rows

    def _stage(self, shares: list[Share], first_slot: int, num_rows: int) -> RowBatch:
        """Stage what is missing; rows of several datasets or epochs are gathered in one slot."""
        parts = []
        for share in shares:
            source, cursor = self._plan.sources[share.dataset], self._open(share.dataset)
            epochs, places = np.divmod(share.numbers, source.epoch.rows)
            offsets, partitions = np.divmod(places, source.settings.partitions)
            for epoch in np.unique(epochs).tolist():
                here = np.flatnonzero(epochs == epoch)
                parts.append((share.dataset, cursor, epoch, partitions[here], offsets[here], share.slots[here]))
        if len(parts) == 1:
            ((dataset, cursor, epoch, partitions, offsets, _),) = parts
            places = cursor.stage(epoch, partitions, offsets)
            of_epoch, of_dataset = np.full(num_rows, epoch), np.full(num_rows, dataset)
            return RowBatch(cursor.staged, partitions, places, of_epoch, of_dataset, [epoch])
        gathered = self._allocate_gathered(num_rows, [dataset for dataset, *_ in parts])
        found_epochs, datasets = np.empty((2, num_rows), np.int64)
        for dataset, cursor, epoch, partitions, offsets, slots in parts:
            targets = slots - first_slot
            gathered.take_rows(cursor.staged, partitions, cursor.stage(epoch, partitions, offsets), targets)
            found_epochs[targets], datasets[targets] = epoch, dataset
        only_slot = np.zeros(num_rows, np.int64)
        distinct = sorted({epoch for _, _, epoch, *_ in parts})
        return RowBatch(gathered, only_slot, np.arange(num_rows), found_epochs, datasets, distinct)

    def _open(self, number: int) -> PartitionCursor:
        if number not in self._cursors:
            source = self._plan.sources[number]
            dataset = self._datasets[number] = source.open(self._storage_options, self._cache, self._files)
            partitions = source.settings.partitions
            served = min(partitions, -(-partitions // self._world_size) + 1)
            dataset.require_capacity(served * source.settings.shuffle_blocks)
            self._cursors[number] = PartitionCursor(
                dataset,
                source.settings,
                source.epoch.rows_per_partition,
                max_rows=-(-source.max_batch_rows // partitions) + 1,
                static=self._static,
                has_words=self._has_words,
                stop_epoch=self._stop_of(source),
            )
        return self._cursors[number]

    def _stop_of(self, source: SourcePlan) -> int | None:
        stops = [stop for stop in (self._stop_epoch, source.max_epochs) if stop is not None]
        return min(stops, default=None)

    def _allocate_gathered(self, num_rows: int, datasets: list[int]) -> StagedRows:
        manifests = [self._plan.sources[dataset].manifest for dataset in datasets]
        seq_len = manifests[0].seq_len
        masked = max(m.masking.most_predicted(seq_len) for m in manifests) if self._static else 0
        has_pairs = manifests[0].pairs is not None  # in one phase all have the same
        wanted = (num_rows, seq_len, masked, has_pairs)
        gathered = self._gathered
        if gathered is None or (*gathered.rows.shape[1:], gathered.num_masked, gathered.has_pairs) != wanted:
            ids = id_type(manifests[0].vocabulary.vocab_size).to_pandas_dtype()
            gathered = self._gathered = StagedRows(
                1, num_rows, seq_len, ids, masked, has_pairs=has_pairs, has_words=self._has_words
            )
        return gathered

    def close(self) -> None:
        """End what was begun ahead, and close what is open."""
        for dataset in self._datasets.values():
            dataset.close()
