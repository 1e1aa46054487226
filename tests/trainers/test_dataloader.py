"""torch's own `DataLoader`: any number of workers, started any way, gives the batches of one process in their order."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from tests.loader.streams import equal_batches, open_loader

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

SETTINGS = {"global_batch_rows": 64, "micro_batch_rows": 16, "world_size": 2, "rank": 1}
EPOCHS = 2


@pytest.fixture(scope="module")
def every(dataset):
    return list(open_loader(dataset, **SETTINGS).epochs(EPOCHS))


def assert_same(found, expected):
    assert len(found) == len(expected)
    assert all(map(equal_batches, found, expected))
    for epoch in range(EPOCHS):
        rows = torch.cat([batch.row_ids for batch in found if batch.epoch == epoch])
        assert len(rows.unique()) == len(rows)


@pytest.mark.parametrize(
    ("workers", "persistent"), [(0, False), *((workers, kept) for workers in (1, 2, 3, 4) for kept in (False, True))]
)
def test_forked_workers_give_the_batches_of_one_process(dataset, every, workers, persistent):
    batches = open_loader(dataset, **SETTINGS).epochs(EPOCHS)
    loader = DataLoader(
        batches,
        batch_size=None,
        num_workers=workers,
        persistent_workers=persistent,
        prefetch_factor=3 if workers else None,
    )
    for _ in range(2):  # the second time from the start again, by the same processes or by others
        assert_same(list(loader), every)


@pytest.mark.long
def test_spawned_workers_give_the_batches_of_one_process(dataset, every):
    batches = open_loader(dataset, **SETTINGS).epochs(EPOCHS)
    batches.load_state_dict(every[2].state)  # not a multiple of the workers: a worker's share begins anywhere
    loader = DataLoader(batches, batch_size=None, num_workers=2, multiprocessing_context="spawn")
    assert_same(list(loader), every[3:])


@pytest.mark.parametrize(("before", "after"), [(0, 3), (2, 1), (3, 4), (4, 0)])
def test_another_number_of_workers_goes_on_with_the_next_row(dataset, every, before, after):
    stream = iter(DataLoader(open_loader(dataset, **SETTINGS).epochs(EPOCHS), batch_size=None, num_workers=before))
    done = 5
    states = [next(stream).state for _ in range(done)]
    del stream
    resumed = open_loader(dataset, **SETTINGS).epochs(EPOCHS)
    resumed.load_state_dict(states[-1])
    assert_same(list(DataLoader(resumed, batch_size=None, num_workers=after)), every[done:])
