"""torchdata's protocol of state: saved and restored inside each worker, a `StatefulDataLoader` goes on exactly."""

from __future__ import annotations

import json

import pytest
from torch.utils.data import get_worker_info

from maskmill.pipeline.loader import MaskedBatches
from tests.loader.streams import equal_batches, open_loader

stateful_dataloader = pytest.importorskip("torchdata.stateful_dataloader")
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

SETTINGS = {"global_batch_rows": 48, "partitions": 3, "micro_batch_rows": 16}
EPOCHS = 2


@pytest.fixture(scope="module")
def every(dataset):
    return list(open_bounded(dataset))


def open_bounded(url: str) -> MaskedBatches:
    return open_loader(url, **SETTINGS).epochs(EPOCHS)


def open_stateful(batches: MaskedBatches, num_workers: int, interval: int = 1, **settings):
    return stateful_dataloader.StatefulDataLoader(
        batches, batch_size=None, num_workers=num_workers, snapshot_every_n_steps=interval, **settings
    )


def assert_same(found, expected):
    assert len(found) == len(expected)
    assert all(map(equal_batches, found, expected))


@pytest.mark.long
@pytest.mark.parametrize(
    ("num_workers", "interval", "places"),
    [
        (0, 1, range(25)), (0, 4, (0, 1, 7, 24)), (1, 1, (0, 1, 9)), (1, 3, (2, 4)), (2, 1, (0, 1, 2, 5)),
        (2, 5, (1, 7, 11)), (3, 1, (1, 4)), (3, 2, (3, 8)), (4, 1, (2, 5, 13)), (4, 7, (6, 10)),
    ],
)  # fmt: skip
def test_a_loaders_own_state_goes_on_exactly(dataset, every, num_workers, interval, places):
    """Snapshots every few steps are replayed from; places before the first of them, and in the second epoch too."""
    for done in (place for place in places if place < len(every)):
        loader = open_stateful(open_bounded(dataset), num_workers, interval)
        stream = iter(loader)
        assert_same([next(stream) for _ in range(done)], every[:done])
        saved = json.loads(json.dumps(loader.state_dict()))
        del stream
        resumed = open_stateful(open_bounded(dataset), num_workers, interval)
        resumed.load_state_dict(saved)
        assert_same(list(resumed), every[done:])


@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0), (3, 2), (1, 4)])
def test_another_number_of_workers_goes_on_from_the_state_of_a_batch(dataset, every, before, after):
    stream = iter(open_stateful(open_bounded(dataset), before, 3))
    done = 5
    batch = [next(stream) for _ in range(done)][-1]
    del stream
    resumed = open_bounded(dataset)
    resumed.load_state_dict(batch.state)
    loader = open_stateful(resumed, after, 3)
    stream = iter(loader)
    assert_same([next(stream) for _ in range(3)], every[done : done + 3])
    saved = loader.state_dict()  # of a loader that did not begin at the start
    again = open_stateful(open_bounded(dataset), after, 3)
    again.load_state_dict(saved)
    assert_same(list(again), every[done + 3 :])


def test_torchdata_itself_refuses_another_number_of_workers(dataset):
    loader = open_stateful(open_bounded(dataset), 2)
    next(iter(loader))
    other = open_stateful(open_bounded(dataset), 3)
    other.load_state_dict(loader.state_dict())
    with pytest.raises(AssertionError):
        next(iter(other))


def test_persistent_workers_save_where_they_stand_in_a_second_pass(dataset, every):
    """A pass begins where the loader was loaded; a state before its first batch is not the end of the one before."""
    loader = open_stateful(open_bounded(dataset), 2, persistent_workers=True)
    assert_same(list(loader), every)
    for done in (0, 1):
        stream = iter(loader)
        assert_same([next(stream) for _ in range(done)], every[:done])
        resumed = open_stateful(open_bounded(dataset), 2)
        resumed.load_state_dict(loader.state_dict())
        assert_same(list(resumed), every[done:])


def test_a_stream_asked_for_stands_at_its_beginning(dataset, every):
    batches = open_bounded(dataset)
    begin = batches.state_dict()
    list(batches)
    assert batches.state_dict() == every[-1].state
    iter(batches)
    assert batches.state_dict() == begin
    batches.load_state_dict(every[3].state)
    iter(batches)
    assert batches.state_dict() == every[3].state


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_the_state_of_a_worker_is_the_round_it_goes_on_with(dataset, every, workers, monkeypatch):
    """By hand: worker w of n, begun at b, gives batches b + w, b + w + n, ...; its state goes on in worker w."""

    class Worker:
        num_workers = workers

        def __init__(self, number):
            self.id = number

    begun = 2
    for number in range(workers):
        monkeypatch.setattr(
            "maskmill.pipeline.loader.masked_batches.get_worker_info", lambda number=number: Worker(number)
        )
        assert get_worker_info() is None  # torch's own is untouched
        batches = open_bounded(dataset)
        batches.load_state_dict(every[begun - 1].state)
        own = range(begun + number, len(every), workers)
        for count, (turn, batch) in enumerate(zip(own, batches, strict=True)):
            assert equal_batches(batch, every[turn])
            saved = batches.state_dict()
            assert saved == (
                every[begun + workers * (count + 1) - 1].state if begun + workers * (count + 1) <= len(every) else saved
            )
            if count < 3:
                resumed = open_bounded(dataset)
                resumed.load_state_dict(saved)
                assert_same(list(resumed), every[turn + workers :: workers])
