"""Law 7: a loader resumed anywhere goes on exactly, and refuses by name what would make it go on otherwise."""

from __future__ import annotations

import json
from itertools import islice

import numpy as np
import pytest

from maskmill.pipeline.loader import Masking
from maskmill.pipeline.loader.order.epoch_order import OrderSettings
from maskmill.pipeline.loader.order.simulate_order import list_epoch
from maskmill.schemas.errors import ConfigError, StaleArtifactError
from tests.loader.datasets import BLOCK_ROWS, write_dataset
from tests.loader.streams import MASKING, equal_batches, hash_steps, join_ranks, open_loader

SETTINGS = {"global_batch_rows": 24, "partitions": 3, "shuffle_blocks": 2}


@pytest.mark.parametrize("masking", [MASKING, "static"])
@pytest.mark.parametrize("micro", [None, 8])
def test_every_state_goes_on_exactly(dataset, masking, micro):
    settings = SETTINGS | {"masking": masking, "micro_batch_rows": micro}
    every = list(open_loader(dataset, **settings).epochs(3))
    for done, batch in enumerate(every):
        resumed = open_loader(dataset, **settings).epochs(3)
        resumed.load_state_dict(json.loads(json.dumps(batch.state)))
        rest = list(resumed)
        assert len(rest) == len(every) - done - 1
        assert all(map(equal_batches, rest, every[done + 1 :]))


def test_any_step_of_many_epochs_of_a_larger_dataset_is_resumed_exactly(tmp_path):
    shard_rows = (300, 211, 0, 64, 517)
    write_dataset(str(tmp_path), shard_rows=shard_rows)
    first_rows = np.concatenate([[0], np.cumsum(shard_rows)])
    settings = {"global_batch_rows": 16, "partitions": 8, "shuffle_blocks": 3, "seed": 6}
    random = np.random.default_rng(0)
    for epoch, step, world_size in zip(
        random.integers(0, 10**6, 12).tolist(), random.integers(0, 67, 12).tolist(), [1, 2, 4] * 4, strict=True
    ):
        order = OrderSettings(6, 8, 3)
        expected = list_epoch(np.array(shard_rows), BLOCK_ROWS, order, epoch, 16)[step : step + 3]
        ranks = []
        for rank in range(world_size):
            loader = open_loader(str(tmp_path), **settings, rank=rank, world_size=world_size)
            loader.load_state_dict(loader.state_dict() | {"epoch": epoch, "step": step})
            ids = [batch.row_ids.numpy() for batch in islice(loader, len(expected))]
            ranks.append([first_rows[rows >> 32] + (rows & 0xFFFFFFFF) for rows in ids])
        assert [np.concatenate(parts).tolist() for parts in zip(*ranks, strict=True)] == expected.tolist()


@pytest.mark.parametrize(("world_size", "micro"), [(2, None), (4, 3), (8, 1), (24, None)])
def test_a_state_goes_on_at_another_world_size(dataset, world_size, micro):
    alone = list(open_loader(dataset, **SETTINGS).epochs(2))
    for done in (0, 3, 4, 7):
        ranks = []
        for rank in range(world_size):
            resumed = open_loader(dataset, **SETTINGS, rank=rank, world_size=world_size, micro_batch_rows=micro).epochs(
                2
            )
            resumed.load_state_dict(alone[done].state)
            ranks.append(resumed)
        assert join_ranks(ranks) == hash_steps(alone[done + 1 :])
        # and back again, from a state of one of many ranks
        first = next(iter(open_loader(dataset, **SETTINGS, rank=1, world_size=world_size)))
        back = open_loader(dataset, **SETTINGS).epochs(2)
        back.load_state_dict(first.state)
        assert hash_steps(back) == hash_steps(alone[1:])


def test_the_states_of_all_ranks_are_equal_but_for_their_share(dataset):
    states = [next(iter(open_loader(dataset, **SETTINGS, rank=rank, world_size=4))).state for rank in range(4)]
    alone = next(iter(open_loader(dataset, **SETTINGS))).state
    assert all(state == states[0] for state in states)
    assert {**alone, "share_rows": 6} == states[0]


def test_a_state_inside_a_global_batch_fits_only_its_own_share(dataset):
    inside = next(iter(open_loader(dataset, **SETTINGS, micro_batch_rows=8))).state
    for settings in ({"world_size": 2, "micro_batch_rows": 4}, {"world_size": 3}, {"micro_batch_rows": 3}):
        with pytest.raises(StaleArtifactError, match="inside a global batch"):
            open_loader(dataset, **SETTINGS, **settings).load_state_dict(inside)
    finer = open_loader(dataset, **SETTINGS, micro_batch_rows=4)
    finer.load_state_dict(inside)
    rest = open_loader(dataset, **SETTINGS, micro_batch_rows=8)
    rest.load_state_dict(inside)
    assert hash_steps(finer.epochs(1)) == hash_steps(rest.epochs(1))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("seed", {"seed": 2}),
        ("global_batch_rows", {"global_batch_rows": 12}),
        ("partitions", {"partitions": 6}),
        ("shuffle_blocks", {"shuffle_blocks": 3}),
        ("masking", {"masking": Masking(rate=0.2, seed=3)}),
        ("masking", {"masking": "static"}),
        ("last_batch, rows_dropped, rows_repeated", {"last_batch": "wrap"}),
    ],
)
def test_a_difference_is_refused_by_name(dataset, name, change):
    state = next(iter(open_loader(dataset, **SETTINGS))).state
    with pytest.raises(StaleArtifactError, match=f"another {name};"):
        open_loader(dataset, **SETTINGS | change).load_state_dict(state)


def test_every_difference_is_named_and_another_dataset_is_one(dataset, tmp_path):
    write_dataset(str(tmp_path), seed=6)
    state = next(iter(open_loader(dataset, **SETTINGS))).state
    with pytest.raises(StaleArtifactError, match="another dataset, seed;"):
        open_loader(str(tmp_path), **SETTINGS | {"seed": 8}).load_state_dict(state)


@pytest.mark.parametrize(
    "change",
    [{"version": 1}, {"step": -1}, {"epoch": -1}, {"step": 5}, {"rows_served": 24}, {"rows_served": -8},
     {"share_rows": -1}, {"seed": "one"}, {"unknown": 1}],
)  # fmt: skip
def test_what_is_no_state_is_refused(dataset, change):
    loader = open_loader(dataset, **SETTINGS)
    assert loader.steps_per_epoch == 5
    state = next(iter(loader)).state
    with pytest.raises(ConfigError, match="not a state of this loader"):
        loader.load_state_dict(state | change)
    with pytest.raises(ConfigError, match="not a state of this loader"):
        loader.load_state_dict({})


@pytest.mark.parametrize("name", ["version", "epoch", "step", "rows_served", "share_rows"])
def test_a_state_without_its_place_is_refused(dataset, name):
    """A default in its place would begin the training anew."""
    loader = open_loader(dataset, **SETTINGS)
    state = loader.state_dict()
    del state[name]
    with pytest.raises(ConfigError, match=f"not a state of this loader; .*without {name}"):
        loader.load_state_dict(state)
    for wrong in ([], None, "state"):
        with pytest.raises(ConfigError, match="not a state of this loader"):
            loader.load_state_dict(wrong)


def test_numbers_of_numpy_give_states_that_are_json(dataset):
    numbers = {name: np.int64(value) for name, value in SETTINGS.items()} | {"rank": np.int32(0)}
    numbers |= {"world_size": np.uint8(1), "seed": np.uint64(1), "micro_batch_rows": np.int16(8)}
    loader = open_loader(dataset, **numbers)
    plain = open_loader(dataset, **SETTINGS, micro_batch_rows=8)
    for ours, theirs in (
        (loader, plain),
        (loader.at(np.int64(2)), plain.at(2)),
        (loader.skip(np.int64(5)), plain.skip(5)),
    ):
        batch, expected = next(iter(ours)), next(iter(theirs))
        assert equal_batches(batch, expected)
        plain.load_state_dict(json.loads(json.dumps(batch.state)))
        plain.load_state_dict(json.loads(json.dumps(ours.state_dict())))
    assert len(list(loader.epochs(np.int64(1)))) == len(list(plain.at(0).epochs(1)))


def test_a_window_wider_than_any_shard_is_a_shard(dataset):
    whole, wide = (list(open_loader(dataset, shuffle_blocks=width).epochs(1)) for width in (1000, 10**9))
    assert [batch.row_ids.tolist() for batch in whole] == [batch.row_ids.tolist() for batch in wide]


def test_state_dict_is_the_state_of_the_last_batch(dataset):
    loader = open_loader(dataset, **SETTINGS)
    start = loader.state_dict()
    assert (start["epoch"], start["step"], start["rows_served"]) == (0, 0, 0)
    bounded = loader.epochs(2)  # shares the state: whoever holds `loader` need not know of it
    for batch in bounded:
        assert loader.state_dict() == bounded.state_dict() == batch.state
    assert (batch.state["epoch"], batch.state["step"]) == (2, 0)


def test_the_next_iteration_begins_where_the_loader_was_loaded(dataset):
    loader = open_loader(dataset, **SETTINGS)
    stream = iter(loader)
    first, second = next(stream), next(stream)
    assert equal_batches(next(iter(loader)), first)
    loader.load_state_dict(first.state)
    assert loader.state_dict() == first.state
    assert equal_batches(next(iter(loader)), second)
    assert equal_batches(next(iter(loader)), first)  # a loaded state counts once


def test_a_bounded_loader_past_its_end_gives_nothing(dataset):
    loader = open_loader(dataset, **SETTINGS)
    *_, last = loader.epochs(1)
    resumed = open_loader(dataset, **SETTINGS)
    resumed.load_state_dict(last.state)
    assert list(resumed.epochs(1)) == []
    resumed.load_state_dict(last.state)
    assert next(iter(resumed)).epoch == 1


def test_a_dataset_replaced_before_reading_is_refused(tmp_path):
    write_dataset(str(tmp_path))
    loader = open_loader(str(tmp_path))
    write_dataset(str(tmp_path), seed=6)
    with pytest.raises(StaleArtifactError, match="replaced"):
        next(iter(loader))
