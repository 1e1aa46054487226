"""The tensors of a batch in one storage: what is sent to another process is one file descriptor, and one copy.

A process that holds tensors of a `DataLoader`'s worker holds a descriptor for every storage of theirs, of 1,024 that it
may usually have. With one storage for each tensor of a batch an optimizer step of 128 micro-batches needed them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch.utils.data import get_worker_info

_ALIGNMENT_BYTES = 64


class Place(NamedTuple):
    """Where a tensor lies in the bytes of a storage."""

    start_bytes: int
    shape: tuple[int, ...]
    dtype: torch.dtype


def pack(tensors: Mapping[str, torch.Tensor], *, pin_memory: bool = False) -> tuple[torch.Tensor, dict[str, Place]]:
    """Tensors in host memory as one run of bytes.

    Args:
        tensors: By name.
        pin_memory: Into page-locked memory.

    Returns:
        uint8, and where each tensor lies in it; without a copy where they have a storage to themselves already.
    """
    found = find_packed(tensors)
    if found is not None and not pin_memory:
        return found
    places: dict[str, Place] = {}
    stop = 0
    for name, tensor in tensors.items():
        start = -(-stop // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        places[name] = Place(start, tuple(tensor.shape), tensor.dtype)
        stop = start + tensor.nbytes
    packed = _allocate(stop, pin_memory)
    for name, place in unpack(packed, places).items():
        place.copy_(tensors[name])
    return packed, places


def pack_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """A dictionary with its tensors, and those of dictionaries in it, in one storage; other values stay."""
    flat = {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}
    for name, inner in values.items():
        if isinstance(inner, Mapping):
            flat |= {f"{name}/{key}": value for key, value in inner.items() if isinstance(value, torch.Tensor)}
    packed = unpack(*pack(flat))
    return {
        name: {key: packed.get(f"{name}/{key}", inner) for key, inner in value.items()}
        if isinstance(value, Mapping)
        else packed.get(name, value)
        for name, value in values.items()
    }


def find_packed(tensors: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, Place]] | None:
    """The same of tensors that are in one storage and nearly fill it; `None` of others."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in tensors.values()}
    wanted = sum(tensor.nbytes + _ALIGNMENT_BYTES for tensor in tensors.values())
    if len(storages) != 1 or not all(tensor.is_contiguous() for tensor in tensors.values()):
        return None
    (storage,) = storages.values()
    if storage.nbytes() > wanted:
        return None
    packed = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
    return packed, {
        name: Place(int(tensor.storage_offset()) * tensor.itemsize, tuple(tensor.shape), tensor.dtype)
        for name, tensor in tensors.items()
    }


def unpack(packed: torch.Tensor, places: Mapping[str, Place]) -> dict[str, torch.Tensor]:
    """The tensors that lie in some bytes.

    Each is a tensor of its own on the shared storage, not a view: autograd would count a change of one view in place
    as a change of all.
    """
    storage, first = packed.untyped_storage(), int(packed.storage_offset())
    tensors = {}
    for name, place in places.items():
        start = (first + place.start_bytes) // place.dtype.itemsize
        stride = torch.empty(place.shape, device="meta").stride()
        tensors[name] = torch.empty(0, dtype=place.dtype, device=packed.device).set_(
            storage, start, place.shape, stride
        )
    return tensors


def _allocate(num_bytes: int, pin_memory: bool) -> torch.Tensor:
    if get_worker_info() is None or pin_memory:
        return torch.empty(num_bytes, dtype=torch.uint8, device="cpu", pin_memory=pin_memory)
    # A worker of a DataLoader will send it: written to shared memory directly, it is not copied there later.
    storage = torch.UntypedStorage._new_shared(num_bytes, device="cpu")  # type: ignore[no-untyped-call]  # noqa: SLF001  # as torch's collate
    return torch.empty(0, dtype=torch.uint8).set_(storage)
