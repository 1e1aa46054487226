"""A batch from a worker is one descriptor, and what it is made of is what was made in the worker."""

from __future__ import annotations

import copy
import functools
import os
import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.pipeline.loader.batches.one_storage import pack_values
from maskmill.pipeline.loader.for_trainers import as_inputs
from tests.loader.device.device_rows import assert_equal_batches
from tests.loader.streams import open_loader

SETTINGS = {"global_batch_rows": 16, "micro_batch_rows": 4}
NUM_IDS = 1 << 16


def storages(batch: Batch) -> set[int]:
    return {value.untyped_storage().data_ptr() for value in vars(batch).values() if isinstance(value, torch.Tensor)}


def send(batch: Batch) -> Batch:
    return pickle.loads(pickle.dumps(batch))  # noqa: S301  # our own


def without_waits(batch: Batch) -> Batch:
    return replace(batch, waited_seconds=0.0)


SPAWNED = pytest.param({"num_workers": 1, "multiprocessing_context": "spawn"}, marks=pytest.mark.long)


@pytest.mark.parametrize("settings", [{"num_workers": 1}, SPAWNED])
def test_a_batch_held_from_a_worker_costs_one_descriptor(dataset, settings: dict[str, Any]):
    batches = open_loader(dataset, **SETTINGS)
    law = list(batches.epochs(1))
    stream = iter(DataLoader(batches, batch_size=None, **settings))
    held = [next(stream)]
    before = len(os.listdir("/proc/self/fd"))
    held += [next(stream) for _ in law[1:]]
    assert len(os.listdir("/proc/self/fd")) - before <= len(held) + 8  # those on their way
    for batch, expected in zip(held, law, strict=True):
        assert_equal_batches(without_waits(batch), without_waits(expected))
        assert len(storages(batch)) == 1


def test_a_batch_survives_pickles_and_copies(dataset):
    batches = open_loader(dataset, **SETTINGS)
    for batch in (next(iter(batches)), next(iter(batches.to_device("cpu")))):
        again = send(batch)
        assert len(storages(again)) == 1
        for one in (again, send(again), copy.deepcopy(batch), copy.deepcopy(again), send(copy.deepcopy(batch))):
            assert_equal_batches(one, batch)
            assert not storages(one) & storages(batch)


def test_a_batch_in_one_storage_goes_to_a_device_in_one_copy(dataset):
    batch = send(next(iter(open_loader(dataset, **SETTINGS))))
    moved = batch.to("meta")
    assert {name: (value.shape, value.dtype) for name, value in vars(moved).items() if torch.is_tensor(value)} == {
        name: (value.shape, value.dtype) for name, value in vars(batch).items() if torch.is_tensor(value)
    }
    assert moved.input_ids.is_meta
    assert len({id(value.untyped_storage()) for value in vars(moved).values() if torch.is_tensor(value)}) == 1
    assert_equal_batches(batch.to("cpu"), batch)


def test_rows_taken_out_of_a_large_storage_do_not_drag_it_along(dataset):
    batch = next(iter(open_loader(dataset, **SETTINGS)))
    large = torch.zeros(1 << 20, dtype=torch.int64)
    names = [name for name, value in vars(batch).items() if torch.is_tensor(value) and value.dtype == torch.int64]
    views = {name: large[: getattr(batch, name).numel()].view_as(getattr(batch, name)) for name in names}
    small = {"segment_ids": large.view(torch.int32)[:4], "cu_seqlens": large.view(torch.int32)[:4]}
    assert len(pickle.dumps(replace(batch, **views, **small))) < 1 << 16


def test_a_tensor_may_be_changed_in_place_while_autograd_keeps_another(dataset):
    batch = send(next(iter(open_loader(dataset, **SETTINGS))))
    table = torch.zeros(NUM_IDS, 2, requires_grad=True)
    loss = table[batch.input_ids].sum()
    for name, value in vars(batch).items():
        if torch.is_tensor(value) and name != "input_ids":
            value.zero_()
    loss.backward()  # torch refuses where what it has saved was changed
    assert table.grad is not None
    assert int(table.grad.sum()) == 2 * batch.input_ids.numel()


@pytest.mark.parametrize("layout", ["sdpa", "padded", "varlen"])
def test_inputs_made_in_a_worker_cost_one_descriptor(dataset, layout):
    batches = open_loader(dataset, **SETTINGS).epochs(1)
    collate = functools.partial(as_inputs, layout=layout)
    stream = iter(DataLoader(batches, batch_size=None, num_workers=1, collate_fn=collate))
    held = [next(stream)]
    before = len(os.listdir("/proc/self/fd"))
    held += stream
    assert len(os.listdir("/proc/self/fd")) - before <= len(held)
    for found, batch in zip(held, batches, strict=True):
        assert_same_values(found, as_inputs(batch, layout))


def test_tensors_of_dictionaries_in_a_dictionary_are_packed_too():
    values = {"mask": {"full": torch.ones(2, 3, dtype=torch.bool), "kind": "window"}, "ids": torch.arange(5), "n": 3}
    packed = pack_values(values)
    assert_same_values(packed, values)
    assert packed["ids"].untyped_storage().data_ptr() == packed["mask"]["full"].untyped_storage().data_ptr()


def assert_same_values(found: Any, expected: Any) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, dict):
            assert_same_values(found[name], value)
        elif torch.is_tensor(value):
            assert found[name].dtype == value.dtype
            assert torch.equal(found[name], value)
        else:
            assert found[name] == value
