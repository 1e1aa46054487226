"""Copying batches to a device, and making them there, while the device works on something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from maskmill.pipeline.loader.batches.batch import Batch

_FIRST = -1
"""The priority of a stream whose blocks are scheduled before those of others; the usual one is 0."""


class PendingBatch(Protocol):
    """A batch that is being copied or made."""

    def wait_copied(self) -> None:
        """Return once the host buffer was read and may be written again."""

    def take(self) -> Batch:
        """The batch, for work that is issued from here on."""


class CopyStream(Protocol):
    """What copies batches to a device."""

    def allocate(self, num_bytes: int) -> torch.Tensor:
        """A host buffer to copy from, uint8."""

    def start(self, buffer: torch.Tensor, make: Callable[[torch.Tensor], Batch]) -> PendingBatch:
        """Copy a host buffer to the device and make a batch of the copy, without waiting for either.

        Args:
            buffer: uint8 from `allocate`, or the front of one; not to be written before `PendingBatch.wait_copied`.
            make: Makes the batch of the copy, uint8 on the device.
        """


class CudaCopyStream:
    """A CUDA stream of its own, fed from page-locked memory.

    Args:
        device: With its index.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        # A batch needs some 70 short kernels. Queued behind a model's large ones, they would finish only after those,
        # and the next step would wait for them.
        self._stream = torch.cuda.Stream(device, priority=_FIRST)  # type: ignore[no-untyped-call]

    def allocate(self, num_bytes: int) -> torch.Tensor:
        """A page-locked host buffer, uint8: only such memory is copied while the host goes on."""
        return torch.empty(num_bytes, dtype=torch.uint8, device="cpu", pin_memory=True)

    def start(self, buffer: torch.Tensor, make: Callable[[torch.Tensor], Batch]) -> PendingBatch:
        """Copy and make in order on the stream; see `CopyStream.start`."""
        # A host that runs ahead of its device sleeps here instead of spinning.
        copied = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        made = torch.cuda.Event()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._stream):
            sent = buffer.to(self._device, non_blocking=True)
            copied.record(self._stream)
            batch = make(sent)
            made.record(self._stream)
        return _CudaPending(batch, copied, made, self._device)


class _CudaPending:
    def __init__(self, batch: Batch, copied: torch.cuda.Event, made: torch.cuda.Event, device: torch.device) -> None:
        self._batch = batch
        self._copied = copied
        self._made = made
        self._device = device

    def wait_copied(self) -> None:
        self._copied.synchronize()

    def take(self) -> Batch:
        current = torch.cuda.current_stream(self._device)
        current.wait_event(self._made)
        for value in vars(self._batch).values():
            if isinstance(value, torch.Tensor):
                # The memory belongs to the other stream, which must not reuse it before this one is done.
                value.record_stream(current)
        return self._batch
