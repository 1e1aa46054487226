"""`MaskedBatches` on a device: the same batches, masked there, the next one copied while a model works.

    host       | write rows n+1 | wait until buffer is free | write rows n+2 | ...
    copy stream         | copy n+1 | mask, number positions n+1 |     | copy n+2 | ...
    model      | step n ........................................ | step n+1 ..........

Two host buffers are allocated for an iteration and take turns. A row travels as it is stored: 1 KB for 512 ids, where
the fields that are made of it are 14 KB.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, Protocol

import torch
from torch.utils.data import IterableDataset, get_worker_info

from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.pipeline.loader.batches.lasting_failure import LastingFailure
from maskmill.pipeline.loader.batches.loss_weights import Weigher
from maskmill.pipeline.loader.device.copy_stream import CopyStream, CudaCopyStream, PendingBatch
from maskmill.pipeline.loader.device.device_fields import BatchMaker
from maskmill.pipeline.loader.device.find_device import find_device
from maskmill.pipeline.loader.device.gather_masked import gather_masked
from maskmill.pipeline.loader.resume.loader_state import copy_state
from maskmill.pipeline.loader.rows.row_batch import RowBatch
from maskmill.schemas.errors import ConfigError, MaskmillError
from maskmill.schemas.manifest import PackedManifest


class RowSource(Protocol):
    """What `DeviceBatches` needs of a loader."""

    def most_predicted(self, seq_len: int) -> int:
        """C, the most predicted positions of a row of `seq_len` tokens, by any mask, dynamic or stored."""

    @property
    def weigher(self) -> Weigher:
        """Gives batches their `loss_weights`."""

    @property
    def manifest(self) -> PackedManifest:
        """Of the first dataset."""

    def iter_rows(self) -> Iterator[RowBatch]:
        """Batches before they are masked, each valid until the next is asked for."""

    def __iter__(self) -> Iterator[Batch]:
        """The same batches, masked."""

    def __len__(self) -> int:
        """How many batches a whole pass has."""

    def state_dict(self) -> dict[str, Any]:
        """The state after the last batch given out."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin the next pass at a state."""


class DeviceBatches(IterableDataset[Batch]):
    """The batches of a loader on a device, row for row and bit for bit, with `masked_positions` and `masked_labels`.

    On a GPU a batch may be used on the stream that was current when it was asked for; nothing has to be waited for.
    One batch is made ahead, so the loader itself is one batch ahead of what was given out: take the state from
    here or from the batch. On the CPU the loader's own batches are given out: compiled loops are quicker there than
    tensor operations.

    It is all that a trainer needs around a loader. A `DataLoader(..., batch_size=None)` without workers takes it; one
    with workers takes the loader itself, since a device belongs to the trainer's own process.

    Args:
        batches: The loader; not to be iterated by anyone else meanwhile.
        device: `cpu`, or a CUDA device.

    Raises:
        ConfigError: There is no such device here, or it is of a kind that maskmill does not run on.
    """

    def __init__(self, batches: RowSource, device: torch.device | str) -> None:
        self.device = find_device(
            device, "to_device", action="name another device, or move each batch of the loader with batch.to(device)"
        )
        self._batches = batches
        self._maker = BatchMaker(
            batches.weigher, batches.most_predicted, batches.manifest.vocabulary.pad_id, self.device
        )
        self._given: dict[str, Any] | None = None  # the state after the last batch that was returned

    def state_dict(self) -> dict[str, Any]:
        """The state after the last batch that was given out."""
        return self._batches.state_dict() if self._given is None else copy_state(self._given)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin the next pass at a state; see `MaskedBatches.load_state_dict`."""
        self._batches.load_state_dict(state)
        self._given = None

    def __len__(self) -> int:
        """How many batches a whole pass has; see `MaskedBatches`."""
        return len(self._batches)

    def __bool__(self) -> bool:
        return True  # Python would ask for the length, which an endless loader does not have

    def __iter__(self) -> Iterator[Batch]:
        if get_worker_info() is not None:
            raise ConfigError(
                "batches on a device cannot be made in a worker of a DataLoader",
                path="to_device",
                expected="the trainer's own process",
                found="a DataLoader with workers around to_device",
                action="iterate to_device itself, or give the loader to the DataLoader and move batches with batch.to",
            )
        self._given = None  # now, as in the loader: a state requested in between is not an earlier iteration's
        if self.device.type == "cpu":
            return LastingFailure(self._iter_given(self._iter_on_host(iter(self._batches))))
        ahead = iter_ahead(self._batches.iter_rows(), self._maker, CudaCopyStream(self.device))
        return LastingFailure(self._iter_given(ahead))

    def _iter_given(self, batches: Iterator[Batch]) -> Generator[Batch]:
        for batch in batches:
            self._given = copy_state(batch.state)
            yield batch

    def _iter_on_host(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            yield gather_masked(batch, self._batches.most_predicted(batch.labels.shape[1]))


def iter_ahead(rows: Iterator[RowBatch], maker: BatchMaker, stream: CopyStream) -> Iterator[Batch]:
    """Make batches of rows on a stream, one ahead of the one that is given out.

    Args:
        rows: Each is written to a buffer before the next is asked for.
        maker: Makes them.
        stream: To the maker's device.

    Raises:
        MaskmillError: The rows end with it; batches before it are given out first.
    """
    buffers = _Buffers(stream)
    ahead, failure = _start_next(rows, maker, buffers)
    while ahead is not None:
        pending = ahead
        ahead, failure = _start_next(rows, maker, buffers)
        yield pending.take()
    if failure is not None:
        raise failure


def _start_next(
    rows: Iterator[RowBatch], maker: BatchMaker, buffers: _Buffers
) -> tuple[PendingBatch | None, MaskmillError | None]:
    try:
        batch = next(rows, None)
    except MaskmillError as error:
        return None, error
    return (None if batch is None else buffers.start(batch, maker)), None


class _Buffers:
    """Two host buffers used in turn, each reused once the device has read it."""

    def __init__(self, stream: CopyStream) -> None:
        self._stream = stream
        self._buffers = [torch.empty(0, dtype=torch.uint8, device="cpu") for _ in range(2)]
        self._pending: list[PendingBatch | None] = [None, None]
        self._turn = 0

    def start(self, batch: RowBatch, maker: BatchMaker) -> PendingBatch:
        turn, self._turn = self._turn, 1 - self._turn
        last = self._pending[turn]
        if last is not None:
            last.wait_copied()
        capacity = maker.lay_out(batch).capacity_bytes
        if len(self._buffers[turn]) < capacity:
            self._buffers[turn] = self._stream.allocate(capacity)
        num_bytes, make = maker.write(batch, self._buffers[turn])
        pending = self._stream.start(self._buffers[turn][:num_bytes], make)
        self._pending[turn] = pending
        return pending
