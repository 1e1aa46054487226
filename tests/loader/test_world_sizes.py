"""Law 7: ranks, workers and micro-batches cut one sequence of global batches; none of them changes it."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from tests.loader.streams import MASKING, equal_batches, hash_steps, join_ranks, open_loader

G = 24


@pytest.mark.parametrize("partitions", [1, 2, 3, 8, G])
@pytest.mark.parametrize("masking", [MASKING, "static"])
def test_any_world_size_sees_the_same_global_batches(dataset, partitions, masking):
    def streams(world_size, micro=None):
        return [
            open_loader(
                dataset, global_batch_rows=G, partitions=partitions, masking=masking,
                rank=rank, world_size=world_size, micro_batch_rows=micro,
            ).epochs(2)
            for rank in range(world_size)
        ]  # fmt: skip

    (alone,) = streams(1)
    expected = hash_steps(alone)
    assert len(expected) == 2 * alone.steps_per_epoch
    for world_size, micro in [(2, None), (3, 4), (4, None), (8, 1), (G, None), (1, 3)]:
        assert join_ranks(streams(world_size, micro)) == expected


def test_each_rank_serves_its_slots_alone(dataset):
    whole = [batch.row_ids for batch in open_loader(dataset, global_batch_rows=G).epochs(1)]
    for rank in range(4):
        share = open_loader(dataset, global_batch_rows=G, rank=rank, world_size=4).epochs(1)
        assert [batch.row_ids.tolist() for batch in share] == [rows[6 * rank : 6 * rank + 6].tolist() for rows in whole]


def test_micro_batches_share_the_step_of_their_global_batch(dataset):
    loader = open_loader(dataset, global_batch_rows=G, micro_batch_rows=8).epochs(2)
    places = [(batch.epoch, batch.step, len(batch.row_ids)) for batch in loader]
    assert places == [(e, s, 8) for e in range(2) for s in range(loader.steps_per_epoch) for _ in range(3)]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(
    ("workers", "context", "micro", "ahead"),
    [
        (0, None, 4, None),
        (1, "fork", None, 1),
        (2, "fork", 8, 5),
        (3, "fork", 4, 2),
        (4, "fork", 2, 3),
        pytest.param(2, "spawn", 4, 2, marks=pytest.mark.long),
    ],
)
def test_worker_processes_and_their_prefetching_change_no_batch_and_no_state(dataset, workers, context, micro, ahead):
    settings = {"global_batch_rows": G, "partitions": 3, "micro_batch_rows": micro}
    expected = list(open_loader(dataset, **settings).epochs(2))
    loader = DataLoader(
        open_loader(dataset, **settings).epochs(2),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context=context,
        prefetch_factor=ahead,
        persistent_workers=workers > 0,
    )
    for _ in range(2):  # the second time with the same processes
        served = list(loader)
        assert len(served) == len(expected)
        assert all(map(equal_batches, served, expected))


def test_workers_go_on_from_a_state(dataset):
    settings = {"global_batch_rows": G, "micro_batch_rows": 8}
    every = list(open_loader(dataset, **settings).epochs(2))
    resumed = open_loader(dataset, **settings).epochs(2)
    resumed.load_state_dict(every[4].state)
    served = list(DataLoader(resumed, batch_size=None, num_workers=2))
    assert len(served) == len(every) - 5
    assert all(map(equal_batches, served, every[5:]))


def test_the_training_process_keeps_torchs_global_generator(dataset):
    before = torch.random.get_rng_state()
    next(iter(open_loader(dataset)))
    assert torch.equal(before, torch.random.get_rng_state())
