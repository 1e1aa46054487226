"""Every row of a dataset once, in stored order, under one fixed mask: what an evaluation reads."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.pipeline.loader.batches.fill_batch import fill_batch
from maskmill.pipeline.loader.batches.lasting_failure import LastingFailure
from maskmill.pipeline.loader.batches.loss_weights import weigh_labels
from maskmill.pipeline.loader.blocks.packed_dataset import PackedDataset
from maskmill.pipeline.loader.check_arguments import check, check_between
from maskmill.pipeline.loader.resume.batch_place import BatchPlace
from maskmill.pipeline.loader.rows.row_batch import RowBatch
from maskmill.pipeline.loader.rows.stage_rows import StagedRows
from maskmill.pipeline.masking.mask_plan import MaskPlan
from maskmill.pipeline.masking.plan_masks import plan_masks
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.masking import Masking


@dataclass(frozen=True)
class _Piece:
    """Rows `first` to `stop` of one block, excluding `stop`."""

    shard: int
    block: int
    first: int
    stop: int


def iter_fixed_batches(
    url: str,
    masking: Masking,
    batch_rows: int,
    epoch: int = 0,
    storage_options: dict[str, Any] | None = None,
    *,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Batch]:
    """Batches over all rows in stored order, each row once over the ranks. They carry no state to resume from.

    A rank reads neighbouring rows, as many as every other or one more, and only their blocks. The last batch may be
    smaller, and the one before it where others have a row more: every rank gets as many batches as the others, so
    that collectives do not hang, unless there are fewer rows than ranks; then some get none. A row's mask depends on
    neither number: sums of losses and of labels over all ranks are those of one process.

    Args:
        url: A packed dataset.
        masking: Settings of the mask. With `per_sequence_rate` batches have `loss_weights`, as those of a loader.
        batch_rows: Rows in a batch.
        epoch: Which mask of those settings: the same one at every evaluation.
        storage_options: For the fsspec file system.
        rank: This rank, from 0.
        world_size: Ranks that share the rows.

    Raises:
        ConfigError: A number is out of range, or there is no dataset.
        ShardCorruptError: While iterating: a block is not what was written.
    """
    masking, batch_rows, epoch = check("masking", masking), check("batch_rows", batch_rows), check("epoch", epoch)
    if masking.schedule is not None:
        raise ConfigError(
            "an evaluation has one rate of masks",
            path="masking.rate",
            expected="a number",
            found="a schedule",
            action="give the masking of a step, masking.at(step), or another rate",
        )
    world_size = check("world_size", world_size)
    rank = check_between("rank", rank, 0, world_size - 1)
    dataset = PackedDataset(check("data", url), check("storage_options", storage_options))
    plan = plan_masks(masking, dataset.make_tables(masking), epoch)
    first, stop = (number * dataset.num_rows // world_size for number in (rank, rank + 1))
    largest_share = -(-dataset.num_rows // world_size)
    sizes = _cut_share(stop - first, batch_rows, -(-largest_share // batch_rows))
    batches = _iter_batches(dataset, masking, plan, epoch, (first, stop), sizes)
    return LastingFailure(batches)


def _cut_share(rows: int, batch_rows: int, num_batches: int) -> list[int]:
    """Rows of each batch of a share: full ones, but so that the last of them have a row each."""
    sizes: list[int] = []
    while rows:
        sizes.append(min(batch_rows, rows - max(0, num_batches - len(sizes) - 1)))
        rows -= sizes[-1]
    return sizes


def _iter_batches(
    dataset: PackedDataset, masking: Masking, plan: MaskPlan, epoch: int, share: tuple[int, int], sizes: list[int]
) -> Generator[Batch]:
    capacity = dataset.manifest.block_rows + max(sizes, default=0)
    vocabulary = dataset.manifest.vocabulary
    staged = StagedRows.allocate(dataset.manifest, num_slots=1, capacity=capacity, static=False)
    pieces = _iter_pieces(dataset, *share)
    start = held = 0
    try:
        dataset.fetch_ahead((piece.shard, [piece.block]) for piece in _iter_pieces(dataset, *share))
        for step, size in enumerate(sizes):
            while held - start < size:
                held -= start
                staged.move_to_front(0, start, held)
                piece, start = next(pieces), 0
                rows = np.arange(piece.first, piece.stop)
                staged.copy(dataset, 0, held, piece.shard, np.array([piece.block]), rows, epoch)
                held += len(rows)
            places = np.arange(start, start + size)
            start += size
            slots, epochs, datasets = np.zeros_like(places), np.full_like(places, epoch), np.zeros_like(places)
            place = BatchPlace(epoch=epoch, step=step)
            chosen = RowBatch(staged, slots, places, epochs, datasets, [epoch], place=place)
            yield weigh_labels(fill_batch(chosen, {epoch: plan}, vocabulary.pad_id), masking, vocabulary.cls_id)
    finally:
        dataset.close()


def _iter_pieces(dataset: PackedDataset, first: int, stop: int) -> Iterator[_Piece]:
    """Rows `first` to `stop` of a dataset, excluding `stop`, in stored order, block by block."""
    block_rows = dataset.manifest.block_rows
    ends = np.cumsum(dataset.shards.rows)
    shard = int(np.searchsorted(ends, first, side="right"))
    while first < stop:
        shard_start, shard_end = int(ends[shard] - dataset.shards.rows[shard]), int(ends[shard])
        while first < min(stop, shard_end):
            block, inside = divmod(first - shard_start, block_rows)
            count = min(block_rows - inside, min(stop, shard_end) - first)
            yield _Piece(shard, block, inside, inside + count)
            first += count
        shard += 1
