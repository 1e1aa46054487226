"""`MaskedBatches`: a packed dataset as an endless, exactly resumable stream of masked batches."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from pipeline.loader.batch import Batch
from pipeline.loader.epoch_order import OrderSettings, check_settings, count_steps, default_partitions
from pipeline.loader.fill_batch import BatchArrays, fill_batch
from pipeline.loader.loader_state import LoaderState, Position
from pipeline.loader.packed_dataset import PackedDataset
from pipeline.loader.stage_rows import PartitionCursor
from pipeline.masking.numba_masks import MaskPlan, plan_masks
from schemas.errors import ConfigError, StaleArtifactError
from schemas.masking import Masking


class MaskedBatches(IterableDataset[Batch]):
    """Masked batches of one rank, epoch after epoch.

    The sequence of global batches is a function of (seed, epoch, dataset, global_batch_rows, partitions,
    shuffle_blocks) alone; any world size that divides `global_batch_rows` sees the same.

    Every iteration begins at the state that was loaded last, or at the start: it does not matter who iterated
    before, so a `DataLoader(..., batch_size=None)` gives the same batches with any number of workers, persistent
    ones too. (Each worker reads all blocks of its rank, for its own share of the batches: one thread is usually
    enough.) Load a state before workers start.

    Args:
        url: A packed dataset on any fsspec store.
        global_batch_rows: Rows of one optimizer step over all ranks (G).
        rank: This rank, from 0.
        world_size: Ranks (W); divides G.
        seed: Of the order of rows.
        masking: Settings of dynamic masks, or `"static"` for the stored copies: epoch e reads copy e mod n.
        micro_batch_rows: Rows of a batch; divides G/W. By default the rank's whole share.
        partitions: Places of the epoch that a global batch draws from (P); divides G. By default the largest
            divisor of G up to 64.
        shuffle_blocks: Consecutive blocks (of about 256 KiB) whose rows are shuffled among themselves.
        storage_options: For the fsspec file system.

    Raises:
        ConfigError: The numbers do not divide, the dataset is too small or is no dataset.
        ShardCorruptError: While iterating: a block is not what was written. Not one of its rows is given out.
    """

    def __init__(
        self,
        url: str,
        *,
        global_batch_rows: int,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        masking: Masking | Literal["static"] = Masking(),  # noqa: B008  # frozen
        micro_batch_rows: int | None = None,
        partitions: int | None = None,
        shuffle_blocks: int = 1,
        storage_options: dict[str, Any] | None = None,
    ) -> None:
        self._url = url
        self._storage_options = storage_options
        dataset = PackedDataset(url, storage_options)
        self.manifest = dataset.manifest
        if not (isinstance(masking, Masking) or masking == "static"):
            raise ConfigError("no such masking", path="masking", expected='a Masking or "static"', found=repr(masking))
        if masking == "static" and not self.manifest.copies:
            raise ConfigError(
                "the dataset has no stored masks",
                path=dataset.store.display_url,
                action='prepare it with mask.copies > 0, or give a Masking instead of "static"',
            )
        self._masking = masking if isinstance(masking, Masking) else None
        chosen = default_partitions(global_batch_rows) if partitions is None and global_batch_rows > 0 else partitions
        self._order = OrderSettings(seed, global_batch_rows, chosen or 0, shuffle_blocks)
        check_settings(self._order, world_size, rank, dataset.num_rows, dataset.store.display_url)
        self.steps_per_epoch = count_steps(self._order, dataset.num_rows)
        self._share_rows = global_batch_rows // world_size
        self._micro_rows = self._share_rows if micro_batch_rows is None else micro_batch_rows
        if self._micro_rows < 1 or self._share_rows % self._micro_rows:
            raise ConfigError(
                "micro_batch_rows does not divide the rank's share of the global batch",
                path=dataset.store.display_url,
                expected=f"a divisor of {self._share_rows}",
                found=str(micro_batch_rows),
            )
        slots = np.arange(rank * self._share_rows, (rank + 1) * self._share_rows)
        self._partitions, self._slot_of_row = np.unique(slots // self._order.rows_per_step, return_inverse=True)
        self._place_in_step = slots % self._order.rows_per_step
        self._described = LoaderState(
            dataset=self.manifest.fingerprint,
            seed=seed,
            global_batch_rows=global_batch_rows,
            partitions=self._order.partitions,
            shuffle_blocks=shuffle_blocks,
            masking=self._masking,
            share_rows=self._share_rows,
        )
        self._progress = _Progress()
        self._stop_epoch: int | None = None

    def epochs(self, count: int) -> MaskedBatches:
        """The same loader, ending after epochs 0 to `count - 1`; the two share one state."""
        bounded = copy.copy(self)
        bounded._stop_epoch = count  # noqa: SLF001  # a copy of this very object
        return bounded

    def state_dict(self) -> dict[str, Any]:
        """The state after the last batch that this object gave out itself.

        Under a `DataLoader` with workers this object gives out none: take `batch.state` there.
        """
        return self._described.describe(self._progress.position)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin the next iteration at a state, whatever the world size then was.

        Raises:
            ConfigError: It is no state of a loader.
            StaleArtifactError: The dataset, the masking or anything that decides the order differs.
        """
        begin = self._described.resume(state, self.steps_per_epoch, self._micro_rows)
        self._progress.begin = self._progress.position = begin

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        dataset = PackedDataset(self._url, self._storage_options)
        if dataset.manifest.fingerprint != self.manifest.fingerprint:
            raise StaleArtifactError(
                "the dataset was replaced while it was read",
                path=dataset.store.display_url,
                expected=f"fingerprint {self.manifest.fingerprint}",
                found=dataset.manifest.fingerprint,
            )
        self._progress.position = self._progress.begin
        try:
            yield from self._iter_turns(dataset, self._count_turns(self._progress.begin) + number, workers)
        finally:
            dataset.close()

    def _iter_turns(self, dataset: PackedDataset, turn: int, stride: int) -> Iterator[Batch]:
        """Every `stride`-th batch from `turn` on, counted in batches of this rank since epoch 0."""
        cursor = PartitionCursor(dataset, self._order, self._partitions, static=self._masking is None)
        plan: MaskPlan | None = None
        planned_epoch = -1
        position = self._locate_turn(turn)
        while self._stop_epoch is None or position.epoch < self._stop_epoch:
            epoch, step, served = position
            turn += stride
            next_here = self._locate_turn(turn)
            starts = cursor.move_to(epoch, step, next_here.step if next_here.epoch == epoch else None)
            if self._masking is not None and planned_epoch != epoch:
                plan = plan_masks(self._masking, dataset.tables, epoch)
                planned_epoch = epoch
            slots = self._slot_of_row[served : served + self._micro_rows]
            places = starts[slots] + self._place_in_step[served : served + self._micro_rows]
            arrays = fill_batch(cursor.staged, slots, places, plan)
            self._progress.position = next_here if stride == 1 else self._locate_turn(turn - stride + 1)
            state = self._described.describe(self._progress.position)
            yield to_batch(arrays, epoch, step, state, self.manifest.vocabulary.pad_id)
            position = next_here

    def _locate_turn(self, turn: int) -> Position:
        step, served = divmod(turn * self._micro_rows, self._share_rows)
        return Position(*divmod(step, self.steps_per_epoch), served)

    def _count_turns(self, position: Position) -> int:
        steps = position.epoch * self.steps_per_epoch + position.step
        return (steps * self._share_rows + position.rows_served) // self._micro_rows


@dataclass
class _Progress:
    """Where iterations begin, and where the last one stands."""

    begin: Position = field(default_factory=Position)
    position: Position = field(default_factory=Position)


def to_batch(arrays: BatchArrays, epoch: int, step: int, state: dict[str, Any], pad_id: int) -> Batch:
    """Arrays as tensors, without a copy."""
    return Batch(
        input_ids=torch.from_numpy(arrays.input_ids),
        labels=torch.from_numpy(arrays.labels),
        position_ids=torch.from_numpy(arrays.position_ids),
        segment_ids=torch.from_numpy(arrays.segment_ids),
        cu_seqlens=torch.from_numpy(arrays.cu_seqlens),
        max_seqlen=arrays.max_seqlen,
        row_ids=torch.from_numpy(arrays.row_ids.view(np.int64)),
        epoch=epoch,
        step=step,
        state=state,
        pad_id=pad_id,
    )
