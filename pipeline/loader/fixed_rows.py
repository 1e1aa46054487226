"""Every row of a dataset once, in stored order, under one fixed mask: what an evaluation reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.loader.batch import Batch
from pipeline.loader.fill_batch import fill_batch
from pipeline.loader.found_rows import FoundRows
from pipeline.loader.packed_dataset import PackedDataset
from pipeline.loader.stage_rows import StagedRows
from pipeline.loader.to_batch import to_batch
from pipeline.masking.numba_masks import plan_masks
from schemas.errors import ConfigError
from schemas.masking import Masking


def iter_fixed_batches(
    url: str, masking: Masking, batch_rows: int, epoch: int = 0, storage_options: dict[str, Any] | None = None
) -> Iterator[Batch]:
    """Batches over all rows in stored order; the last may be smaller. They carry no state to resume from.

    Args:
        url: A packed dataset.
        masking: Settings of the mask.
        batch_rows: Rows in a batch.
        epoch: Which mask of those settings: the same one at every evaluation.
        storage_options: For the fsspec file system.

    Raises:
        ConfigError: `batch_rows` is not positive, or there is no dataset.
        ShardCorruptError: A block is not what was written.
    """
    dataset = PackedDataset(url, storage_options)
    if batch_rows < 1:
        path = dataset.store.display_url
        raise ConfigError(
            "batch_rows is not positive",
            path=path,
            expected="at least 1",
            found=str(batch_rows),
            action="give another number of rows",
        )
    try:
        yield from _iter_batches(dataset, masking, batch_rows, epoch)
    finally:
        dataset.close()


def _iter_batches(dataset: PackedDataset, masking: Masking, batch_rows: int, epoch: int) -> Iterator[Batch]:
    manifest, block_rows = dataset.manifest, dataset.manifest.block_rows
    plans = {epoch: plan_masks(masking, dataset.tables, epoch)}
    staged = StagedRows.allocate(manifest, num_slots=1, capacity=block_rows + batch_rows, static=False)
    held = step = 0

    def take(start: int, stop: int) -> Batch:
        places = np.arange(start, stop)
        slots, epochs, datasets = np.zeros_like(places), np.full_like(places, epoch), np.zeros_like(places)
        found = FoundRows(staged, slots, places, epochs, datasets, [epoch], epoch, step)
        return to_batch(fill_batch(found, plans), found, manifest.vocabulary.pad_id)

    dataset.fetch_ahead((shard, [block]) for shard, block in _iter_blocks(dataset))
    for shard, block in _iter_blocks(dataset):
        rows = min(block_rows, int(dataset.shards.rows[shard]) - block * block_rows)
        staged.copy(dataset, 0, held, shard, np.array([block]), np.arange(rows), epoch)
        held += rows
        start = 0
        while held - start >= batch_rows:
            yield take(start, start + batch_rows)
            start, step = start + batch_rows, step + 1
        held -= start
        staged.move_to_front(0, start, held)
    if held:
        yield take(0, held)


def _iter_blocks(dataset: PackedDataset) -> Iterator[tuple[int, int]]:
    """Every (shard, block) in stored order."""
    for shard, num_blocks in enumerate(np.diff(dataset.shards.first_block).tolist()):
        for block in range(num_blocks):
            yield shard, block
