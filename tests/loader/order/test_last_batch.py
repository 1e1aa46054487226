"""The end of an epoch: every rank has as many batches, and what is left out or served twice is counted."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from maskmill.schemas.errors import ConfigError
from tests.loader.datasets import NUM_ROWS
from tests.loader.streams import equal_batches, hash_steps, join_ranks, open_loader

DIVISIONS = [(8, None), (8, 1), (12, 4), (24, 3), (1, 1), (NUM_ROWS, 1), (41, 41), (100, 20)]


@pytest.mark.parametrize(("rows", "partitions"), DIVISIONS)
def test_wrap_serves_every_row_and_fewer_than_a_global_batch_again(dataset, stored, rows, partitions):
    loader = open_loader(dataset, global_batch_rows=rows, partitions=partitions, last_batch="wrap")
    assert loader.steps_per_epoch == -(-NUM_ROWS // rows)
    for epoch in range(2):
        steps = [batch for batch in loader.epochs(epoch + 1) if batch.epoch == epoch]
        times = Counter(row for batch in steps for row in batch.row_ids.tolist())
        assert set(times) == set(stored)
        assert max(times.values()) <= 2
        assert sum(times.values()) - NUM_ROWS == loader.state_dict()["rows_repeated"][0] < rows
    assert loader.state_dict()["rows_dropped"] == [0]


@pytest.mark.parametrize(("rows", "partitions"), DIVISIONS)
def test_drop_counts_what_it_leaves_out(dataset, rows, partitions):
    loader = open_loader(dataset, global_batch_rows=rows, partitions=partitions)
    served = sum(len(batch.row_ids) for batch in loader.epochs(1))
    assert NUM_ROWS - served == loader.state_dict()["rows_dropped"][0]
    assert loader.state_dict()["rows_repeated"] == [0]


def test_ranks_have_as_many_batches_each_and_the_same_global_batches(dataset):
    settings = {"global_batch_rows": 24, "last_batch": "wrap"}
    expected = hash_steps(open_loader(dataset, **settings).epochs(2))
    for world_size in (2, 3, 8):
        ranks = [open_loader(dataset, **settings, rank=r, world_size=world_size).epochs(2) for r in range(world_size)]
        assert len({len(list(rank)) for rank in ranks}) == 1
        assert join_ranks(ranks) == expected


def test_a_wrapped_epoch_is_resumed_anywhere(dataset):
    settings = {"global_batch_rows": 24, "partitions": 6, "last_batch": "wrap"}
    every = list(open_loader(dataset, **settings).epochs(2))
    for done, batch in enumerate(every):
        resumed = open_loader(dataset, **settings).epochs(2)
        resumed.load_state_dict(batch.state)
        assert all(map(equal_batches, resumed, every[done + 1 :]))


def test_what_is_left_out_or_repeated_is_in_the_log(dataset, caplog):
    with caplog.at_level(logging.INFO, "maskmill.loader"):
        open_loader(dataset, global_batch_rows=24, last_batch="wrap")
        open_loader(dataset, global_batch_rows=24)
    assert "an epoch serves 144 rows, leaves out 0 and repeats 21" in caplog.text
    assert "an epoch serves 120 rows, leaves out 3 and repeats 0" in caplog.text


def test_there_are_two_ways_to_end_an_epoch(dataset):
    with pytest.raises(ConfigError, match="last_batch"):
        open_loader(dataset, last_batch="pad")


@pytest.mark.parametrize("last_batch", ["drop", "wrap"])
@pytest.mark.parametrize("micro", [None, 8])
def test_a_loader_begins_at_any_step_and_skips_any_number_of_batches(dataset, last_batch, micro):
    settings = {"global_batch_rows": 24, "micro_batch_rows": micro, "last_batch": last_batch}
    loader = open_loader(dataset, **settings)
    every = list(loader.epochs(2))
    for count in range(len(every)):
        assert equal_batches(next(iter(loader.skip(count))), every[count])
        assert equal_batches(next(iter(loader.skip(count // 2).skip(count - count // 2))), every[count])
    for epoch in range(2):
        for step in range(loader.steps_per_epoch):
            first = next(batch for batch in every if (batch.epoch, batch.step) == (epoch, step))
            assert equal_batches(next(iter(loader.at(step, epoch))), first)
    assert equal_batches(next(iter(loader)), every[0])  # looking elsewhere moved nothing
    assert equal_batches(next(iter(loader.skip(5).skip(-2))), every[3])
    for nowhere, name in (
        (lambda: loader.at(loader.steps_per_epoch), "step"),
        (lambda: loader.at(-1), "step"),
        (lambda: loader.at(2.5), "step"),
        (lambda: loader.at(0, -1), "epoch"),
        (lambda: loader.at(0, 10**30), "epoch"),
        (lambda: loader.skip(-1), "number of batches"),
        (lambda: loader.skip(2).skip(-3), "number of batches"),
        (lambda: loader.steps(2.5), "number of steps"),
        (lambda: loader.steps(None), "number of steps"),
        (lambda: loader.epochs(-1), "number of epochs"),
    ):
        with pytest.raises(ConfigError, match=f"no such {name}"):
            nowhere()
