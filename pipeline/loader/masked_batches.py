"""`MaskedBatches`: packed datasets as an endless, exactly resumable stream of masked batches."""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Literal

import torch
from torch.utils.data import IterableDataset, get_worker_info

from maskmill.pipeline.loader.batches.another_mask import AnotherMask, open_another_mask
from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.pipeline.loader.batches.fill_batch import fill_batch
from maskmill.pipeline.loader.batches.lasting_failure import LastingFailure
from maskmill.pipeline.loader.batches.loss_weights import Weigher
from maskmill.pipeline.loader.cache.cache_settings import Cache
from maskmill.pipeline.loader.check_arguments import MAX_STEPS, check, check_between, check_instance
from maskmill.pipeline.loader.device.device_batches import DeviceBatches
from maskmill.pipeline.loader.order.epoch_order import LastBatch
from maskmill.pipeline.loader.order.rank_schedule import RankSchedule, ScheduledBatch
from maskmill.pipeline.loader.plan.check_fit import require_pairs
from maskmill.pipeline.loader.plan.choose_masks import choose_masking, open_step_masks
from maskmill.pipeline.loader.plan.describe_run import describe_run
from maskmill.pipeline.loader.plan.mixture import Data, Phase, list_phases
from maskmill.pipeline.loader.plan.open_sources import Order, plan_run
from maskmill.pipeline.loader.resume.batch_place import BatchPlace
from maskmill.pipeline.loader.resume.loader_state import LoaderState, Position, check_place, count_steps
from maskmill.pipeline.loader.resume.progress import Progress
from maskmill.pipeline.loader.rows.read_rows import RowReader
from maskmill.pipeline.loader.rows.row_batch import RowBatch
from maskmill.pipeline.masking.step_masks import EpochPlans
from maskmill.pipeline.standard_error import guard_worker
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.masking import Masking
from maskmill.schemas.pack_section import Pairs


class UnboundedError(ConfigError, TypeError):
    """The length of an endless loader was asked for; trainers expect a `TypeError` then."""


class MaskedBatches(IterableDataset[Batch]):
    """Masked batches of one rank, epoch after epoch.

    The sequence of global batches is a function of (seed, epoch, datasets, global_batch_rows, partitions,
    shuffle_blocks, last_batch) alone; any world size that divides `global_batch_rows` sees the same.

    A pass begins at the start, or at the state that was loaded since the last pass began: a loaded state is used once.
    A `DataLoader(..., batch_size=None)` gives the same batches with any number of workers, forked or spawned,
    persistent or not. (Each worker reads all blocks of its rank, for its own share of the batches: one process is
    usually enough.) After an error every further `next` raises the same error, so it cannot be mistaken for the end.

    Args:
        data: A packed dataset's folder or URL on any fsspec store, a `Mixture` of them, or the phases
            of a curriculum, each a `Phase`.
        global_batch_rows: Rows of one optimizer step over all ranks (G), where no phase says otherwise.
        rank: This rank, from 0.
        world_size: Number of ranks (W); divides G.
        seed: Seed of the order of rows.
        masking: Settings of dynamic masks, by default those that the datasets were prepared with, or `"static"` for the
            stored copies: epoch e reads copy e mod n.
        micro_batch_rows: Rows of a batch; divides G/W. By default the rank's whole share.
        partitions: Number of places of the epoch that a global batch draws from (P), for each dataset; divides G where
            there is one dataset. By default the largest divisor of G up to 64, in a mixture as many as rows of a batch.
        shuffle_blocks: Number of consecutive blocks (of about 256 KiB) whose rows are shuffled among themselves.
        last_batch: `"drop"` leaves out the rows of an epoch that fill no global batch, others each epoch; `"wrap"`
            serves all, and fewer than G of them a second time. With several datasets or phases, epochs end inside
            global batches, and fewer than P rows of each dataset are left out.
        cache: Where, and how much of, remote datasets is kept on the local disk.
        storage_options: Options of the fsspec file systems.

    Attributes:
        manifest: The manifest of the first dataset.
        masking: The settings of the masks, where a phase has none of its own; None where stored ones are read.
        masks: The masks of every step; None where stored ones are read.
        weigher: Gives batches their `loss_weights`.

    Raises:
        ConfigError: The numbers do not divide, the datasets do not fit together, one is too small, or one is missing.
        ShardCorruptError: While iterating: a block is not what was written. None of its rows is served.
    """

    def __init__(
        self,
        data: Data | Sequence[Phase],
        *,
        global_batch_rows: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        masking: Masking | Literal["static"] | None = None,
        micro_batch_rows: int | None = None,
        partitions: int | None = None,
        shuffle_blocks: int = 1,
        last_batch: LastBatch | Literal["drop", "wrap"] = LastBatch.DROP,
        cache: Cache | None = None,
        storage_options: dict[str, Any] | None = None,
    ) -> None:
        rank, world_size, seed = check("rank", rank), check("world_size", world_size), check("seed", seed)
        global_batch_rows = check("global_batch_rows", global_batch_rows)
        micro_batch_rows = check("micro_batch_rows", micro_batch_rows)
        partitions, shuffle_blocks = check("partitions", partitions), check("shuffle_blocks", shuffle_blocks)
        last_batch = check("last_batch", last_batch)
        masking = check("masking or static", masking, called="masking")
        storage_options = check("storage_options", storage_options)
        if cache is not None:
            check_instance("cache", cache, Cache, "a Cache", "give cache=Cache(folder, max_bytes=...)")
        order = Order(seed, partitions, shuffle_blocks, LastBatch(last_batch))
        self._plan = plan_run(list_phases(data), global_batch_rows, order, storage_options, cache)
        self._storage_options = storage_options
        self._cache = cache
        self._rank = rank
        self._world_size = world_size
        self._schedule = RankSchedule(self._plan.serving, rank, world_size, micro_batch_rows)
        self.manifest = self._plan.sources[0].manifest
        self.masking = choose_masking(self._plan, masking)
        self.masks = None if self.masking is None else open_step_masks(self._plan, self.masking, storage_options)
        stored = [(source.manifest.masking, source.manifest.copies) for source in self._plan.sources]
        self.weigher = Weigher(self.masks, stored, self.manifest.vocabulary.cls_id)
        self._described = describe_run(self._plan, order, self.masking)
        self._progress = Progress()
        self._stop_step = self._plan.serving.end_step

    @property
    def steps_per_epoch(self) -> int:
        """Global batches in an epoch of the one dataset that is read.

        Raises:
            ConfigError: There are several datasets or phases, and no such epochs.
        """
        if self._plan.steps_per_epoch is None:
            raise ConfigError(
                "a run of several datasets or phases has no epochs",
                path="data",
                action="count steps: batches.steps(n)",
            )
        return self._plan.steps_per_epoch

    def most_predicted(self, seq_len: int) -> int:
        """C, the most predicted positions of a row of `seq_len` tokens, by any mask, drawn or stored."""
        if self.masks is not None:
            return self.masks.most_predicted(seq_len)
        return max(source.manifest.masking.most_predicted(seq_len) for source in self._plan.sources)

    def require_pairs(self, pairs: Pairs | Literal["nsp", "sop"] | None = None) -> None:
        """Check that the sequences of every dataset are pairs with a label, for objectives that need them.

        Raises:
            ConfigError: A dataset has none, or others than `pairs`.
        """
        wanted = None if pairs is None else Pairs(check("pairs", pairs))
        for source in self._plan.sources:
            require_pairs(source.manifest, wanted, source.shown_url)

    def __len__(self) -> int:
        """How many batches this rank gets in a whole pass from the start, independent of a loaded state.

        Raises:
            UnboundedError: Passes have no end. It is also a `TypeError`, as Python requires.
        """
        if self._stop_step is None:
            raise UnboundedError(
                "the stream of batches is endless, so it has no length",
                path="len",
                action="bound it with batches.epochs(n) or batches.steps(n), or give the trainer a number of steps",
            )
        return max(0, self._schedule.count(self._stop_step, 0) - self._count_batches(self._progress.start))

    def __bool__(self) -> bool:
        return True  # Python would ask for the length, which an endless loader does not have

    def to_device(self, device: torch.device | str) -> DeviceBatches:
        """The same batches on a device: rows are sent as they are stored, and masked there.

        The batches also have `masked_positions` and `masked_labels`, with the same shape in every batch. Do not
        iterate this loader at the same time; take states from the batches.

        Raises:
            ConfigError: There is no such device here.
        """
        return DeviceBatches(self, device)

    def another_mask(self, masking: Masking) -> AnotherMask:
        """What masks batches of this loader once more, independently: RetroMAE's decoder beside its encoder.

        Args:
            masking: Settings of those masks, with another seed than this loader's and without a schedule.

        Raises:
            ConfigError: The seed is one of this loader's masks, the rate has a schedule, or the dataset lacks words or
                tokens that the settings name.
        """
        masking = check("masking", masking)
        stored = [source.manifest.masking for source in self._plan.sources] if self.masks is None else []
        used = [self.masking, *self._plan.phase_maskings, *stored]
        return open_another_mask(self._plan, masking, [one for one in used if one is not None], self._storage_options)

    def epochs(self, count: int) -> MaskedBatches:
        """The same loader, ending after epochs 0 to `count - 1`; the two share one state.

        Raises:
            ConfigError: `count` is not a number of epochs, or the run has no epochs.
        """
        return self.steps(check("number of epochs", count) * self.steps_per_epoch)

    def steps(self, count: int) -> MaskedBatches:
        """The same loader, ending after `count` global batches from the start of the run; the two share one state.

        Raises:
            ConfigError: `count` is not a number of steps.
        """
        count = check("number of steps", count)
        bounded = copy.copy(self)
        end = self._plan.serving.end_step
        bounded._stop_step = count if end is None else min(count, end)  # noqa: SLF001  # a copy of this very object
        return bounded

    def at(self, step: int, epoch: int = 0) -> MaskedBatches:
        """A loader that begins at a given global batch, to look at what is served there.

        Args:
            step: In the epoch; with several datasets or phases, since the start.
            epoch: From 0.

        Raises:
            ConfigError: There is no such place.
        """
        steps = self._plan.steps_per_epoch
        step = check_between("step", step, 0, (steps or MAX_STEPS) - 1)
        epoch = check_between("epoch", epoch, 0, MAX_STEPS // steps if steps else 0)
        position = Position(epoch, step)
        count_steps(self._describe(position), steps)
        return self._begin_at(position)

    def skip(self, count: int) -> MaskedBatches:
        """A loader that begins `count` batches of this rank later than this one would, or earlier if negative.

        Raises:
            ConfigError: That would be before the start of the run.
        """
        here = self._count_batches(self._progress.peek())
        number = here + check_between("number of batches", count, -here, MAX_STEPS - here)
        return self._begin_at(self._place(self._schedule.locate(number)))

    def _begin_at(self, position: Position) -> MaskedBatches:
        moved = copy.copy(self)
        moved._progress = Progress(position)  # noqa: SLF001  # as above
        return moved

    def state_dict(self) -> dict[str, Any]:
        """The state after the last batch that this object served itself.

        With the workers of a `DataLoader` the object in the main process serves no batches: take `batch.state` there.
        A worker's own copy returns the state with which that worker continues, if there are as many workers again;
        torchdata's `StatefulDataLoader` uses it.
        """
        return self._describe(self._progress.position).model_dump(mode="json")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin the next pass at a state, saved with any world size; later passes begin at the start again.

        With persistent workers, do not load between a later `iter` and its first batch: it may apply to that pass.

        Raises:
            ConfigError: It is not a state of a loader.
            StaleArtifactError: The dataset, the masking or anything else that decides the order differs.
        """
        found = self._described.read(state)
        here = self._schedule.locate(self._schedule.count(count_steps(found, self._plan.steps_per_epoch), 0))
        self._progress.load(check_place(found, here.share_rows, here.batch_rows))

    def iter_rows(self) -> Iterator[RowBatch]:
        """The same batches before they are masked; each is valid until the next `next`."""
        return LastingFailure(self._iter_row_batches())

    def __iter__(self) -> Iterator[Batch]:
        return LastingFailure(self._iter_masked(self._iter_row_batches()))

    def _iter_masked(self, batches: Iterator[RowBatch]) -> Generator[Batch]:
        plans = None if self.masks is None else EpochPlans(self.masks)
        for rows in batches:
            drawn = None if plans is None else plans.of(rows.run_step, rows.distinct_epochs)
            yield self.weigher.weigh(fill_batch(rows, drawn, self.manifest.vocabulary.pad_id), rows.run_step)

    def _iter_row_batches(self) -> Generator[RowBatch]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        if worker:
            guard_worker()
        # Now, not at the first batch: a state requested in between must not be that of an earlier iteration.
        return self._iter_share(self._progress.begin(), number, workers)

    def _iter_share(self, begin: Position, number: int, workers: int) -> Generator[RowBatch]:
        """The batches of one of several workers that begin together."""
        steps = self._plan.steps_per_epoch
        stop_epoch = None if steps is None or self._stop_step is None else -(-self._stop_step // steps)
        reader = RowReader(
            self._plan, self._storage_options, self._cache, self._world_size, self.masking is None, stop_epoch
        )
        try:
            yield from self._iter_batches(reader, self._count_batches(begin), number, workers)
        finally:
            reader.close()

    def _iter_batches(self, reader: RowReader, begin: int, worker: int, workers: int) -> Generator[RowBatch]:
        """Every `workers`-th batch from `begin + worker` on, numbered as `RankSchedule` numbers them."""
        number = begin + worker
        here = self._schedule.locate(number)
        position = self._place(here)
        waited_before = reader.waited_seconds
        while self._stop_step is None or here.step < self._stop_step:
            first = self._rank * here.share_rows + here.rows_served
            rows = reader.read(here.step, first, first + here.batch_rows)
            waited = reader.waited_seconds
            after = self._schedule.locate(number + 1)
            following = self._place(after)
            # Where a copy of this worker would have to begin to continue here; without workers, after this batch.
            is_last = worker == workers - 1
            self._progress.position = (
                following if is_last else self._place(self._schedule.locate(number + workers - worker))
            )
            rows.run_step = here.step
            rows.place = BatchPlace(
                epoch=position.epoch,
                step=position.step,
                rows_before=position.rows_served,
                state=self._described.describe(following, after.share_rows),
                waited_seconds=waited - waited_before,
            )
            yield rows
            waited_before = waited
            number += workers
            here = after if workers == 1 else self._schedule.locate(number)
            position = following if workers == 1 else self._place(here)

    def _place(self, batch: ScheduledBatch) -> Position:
        if self._plan.steps_per_epoch is None:
            return Position(0, batch.step, batch.rows_served)
        return Position(*divmod(batch.step, self._plan.steps_per_epoch), batch.rows_served)

    def _count_batches(self, position: Position) -> int:
        step = position.epoch * (self._plan.steps_per_epoch or 0) + position.step
        return self._schedule.count(step, position.rows_served)

    def _describe(self, position: Position) -> LoaderState:
        share = self._schedule.locate(self._count_batches(position)).share_rows
        return self._described.model_copy(update={**position._asdict(), "share_rows": share})
