"""Mixtures and curricula are as exact as one dataset: the documented rows, on any world size, from any step on."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from maskmill.pipeline.loader import Mixture, Phase, Source
from maskmill.schemas.errors import ConfigError, StaleArtifactError
from tests.loader.datasets import BLOCK_ROWS, COPIES, SEQ_LEN, SHARD_ROWS, write_dataset
from tests.loader.plan.mixture_oracle import Stored, iter_steps
from tests.loader.streams import equal_batches, hash_steps, join_ranks, open_loader

SHORT_SHARDS, LARGE_SHARDS = (30, 20, 7), (120, 90)
G = 24


@pytest.fixture(scope="module")
def urls(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixture")
    others = {"short": SHORT_SHARDS, "large": LARGE_SHARDS}
    for seed, (name, shards) in enumerate(others.items()):
        write_dataset(f"{folder}/{name}", shard_rows=shards, seed=20 + seed)
    write_dataset(f"{folder}/long", shard_rows=LARGE_SHARDS, seq_len=2 * SEQ_LEN, seed=30)
    return {"own": dataset} | {name: f"{folder}/{name}" for name in (*others, "long")}


def mix(urls, own=3, short=1, large=6, **settings):
    return Mixture((Source(urls["own"], own), Source(urls["short"], short), Source(urls["large"], large)), **settings)


def served(batches):
    return [list(zip(b.datasets.tolist(), b.row_epochs.tolist(), b.row_ids.tolist(), strict=True)) for b in batches]


def stored_as(loader):
    """The oracle's datasets, with the partitions that the loader chose."""
    partitions = loader.state_dict()["partitions"]
    return [Stored(rows, p) for rows, p in zip((SHARD_ROWS, SHORT_SHARDS, LARGE_SHARDS), partitions, strict=True)]


@pytest.mark.parametrize("partitions", [None, 1, 5])
def test_a_mixture_serves_the_documented_rows(urls, partitions):
    loader = open_loader(mix(urls), global_batch_rows=G, partitions=partitions, seed=1234)
    expected = iter_steps([(0, G, (300, 100, 600))], stored_as(loader), BLOCK_ROWS, 1234)
    assert served(loader.steps(120)) == list(islice(expected, 120))


def test_any_thousand_rows_hold_every_dataset_as_often_as_its_weight(urls):
    rows = [dataset for step in served(open_loader(mix(urls), global_batch_rows=G).steps(130)) for dataset, *_ in step]
    for start in range(0, len(rows) - 1000, 11):
        assert Counter(rows[start : start + 1000]) == {0: 300, 1: 100, 2: 600}


def test_every_dataset_goes_through_its_own_epochs(urls):
    steps = served(open_loader(mix(urls), global_batch_rows=G).steps(200))
    times = Counter(row for step in steps for row in step)
    assert set(times.values()) == {1}  # no row twice in an epoch of its dataset
    epochs = [max(epoch for dataset, epoch, _ in times if dataset == number) for number in range(3)]
    assert epochs == [12, 8, 13]  # 1,440, 480 and 2,880 rows of 119, 56 and 210 an epoch


@pytest.mark.parametrize(("world_size", "micro"), [(2, None), (3, 4), (8, 1)])
def test_ranks_cut_a_mixture_into_the_same_global_batches(urls, world_size, micro):
    expected = hash_steps(open_loader(mix(urls), global_batch_rows=G).steps(60))
    ranks = [
        open_loader(mix(urls), global_batch_rows=G, rank=r, world_size=world_size, micro_batch_rows=micro).steps(60)
        for r in range(world_size)
    ]
    assert join_ranks(ranks) == expected


def make_curriculum(urls):
    return [
        Phase(0, urls["long"], 2 * G),
        Phase(3, mix(urls), G),
        Phase(9, mix(urls, own=0, short=5), 3 * G),
        Phase(14, Source(urls["large"])),
    ]


@pytest.mark.parametrize("micro", [None, pytest.param(4, marks=pytest.mark.long)])
def test_every_state_of_a_curriculum_goes_on_exactly_on_any_world_size(urls, micro):
    settings = {"global_batch_rows": G, "micro_batch_rows": micro}
    every = list(open_loader(make_curriculum(urls), **settings).steps(18))
    assert {tuple(b.input_ids.shape[1:]) for b in every if b.step < 3} == {(2 * SEQ_LEN,)}
    assert {tuple(b.input_ids.shape[1:]) for b in every if b.step >= 3} == {(SEQ_LEN,)}
    whole_rests = len(every) // 20 + 1  # of the others the next 20: each has its own state, where the next goes on
    for done, batch in enumerate(every):
        stop = len(every) if done % whole_rests == 0 else min(len(every), done + 21)
        resumed = open_loader(make_curriculum(urls), **settings).steps(18)
        resumed.load_state_dict(json.loads(json.dumps(batch.state)))
        rest = list(islice(resumed, None if stop == len(every) else stop - done - 1))
        assert len(rest) == stop - done - 1
        assert all(map(equal_batches, rest, every[done + 1 : stop]))
    whole = open_loader(make_curriculum(urls), global_batch_rows=G)
    ranks = [open_loader(make_curriculum(urls), global_batch_rows=G, rank=r, world_size=4) for r in range(4)]
    state = [batch for batch in every if batch.state["step"] == 8 and not batch.state["rows_served"]][-1].state
    for loader in (whole, *ranks):
        loader.load_state_dict(state)
    assert join_ranks([rank.steps(16) for rank in ranks]) == hash_steps(whole.steps(16))


def test_a_curriculum_takes_up_a_dataset_where_the_phase_before_left_it(urls):
    steps = served(open_loader(make_curriculum(urls), global_batch_rows=G).steps(40))
    large = Counter(row for step in steps[3:14] for row in step if row[0] == 3)
    large.update((3, *row[1:]) for step in steps[14:] for row in step)
    assert {dataset for step in steps[14:] for dataset, *_ in step} == {3}
    assert set(large.values()) == {1}


def test_worker_processes_change_nothing_in_a_curriculum(urls):
    expected = list(open_loader(make_curriculum(urls), global_batch_rows=G, micro_batch_rows=8).steps(16))
    loader = open_loader(make_curriculum(urls), global_batch_rows=G, micro_batch_rows=8).steps(16)
    assert all(map(equal_batches, DataLoader(loader, batch_size=None, num_workers=3), expected))


def test_a_cap_ends_a_datasets_part_and_all_caps_the_run(urls):
    capped = Mixture((Source(urls["own"], 1, max_epochs=1), Source(urls["short"], 1, max_epochs=2)))
    steps = served(open_loader(capped, global_batch_rows=8))
    rows = [row for step in steps for row in step]
    assert len(set(rows)) == len(rows)
    assert max(epoch for dataset, epoch, _ in rows if dataset == 0) == 0
    assert max(epoch for dataset, epoch, _ in rows if dataset == 1) == 1
    # own: 23 * 5 + 8 = 123 rows, 4 partitions: 120; short: 57 rows, 56 an epoch, 112 in two
    assert [sum(row[0] == number for row in rows) for number in range(2)] == [120, 112]
    assert {row[0] for row in steps[-1]} == {0}


def test_static_masks_of_a_mixture_are_those_of_each_rows_own_epoch(urls):
    dynamic = {}
    for number, name in enumerate(("own", "short", "large")):
        for batch in open_loader(urls[name], masking="static").epochs(COPIES):
            for row, epoch, labels in zip(batch.row_ids.tolist(), batch.row_epochs.tolist(), batch.labels, strict=True):
                dynamic[number, epoch % COPIES, row] = labels
    compared = 0
    for batch in open_loader(mix(urls), global_batch_rows=G, masking="static").steps(60):
        places = zip(batch.datasets.tolist(), batch.row_epochs.tolist(), batch.row_ids.tolist(), strict=True)
        for (dataset, epoch, row), labels in zip(places, batch.labels, strict=True):
            if (expected := dynamic.get((dataset, epoch % COPIES, row))) is not None:
                assert torch.equal(labels, expected)
                compared += 1
    assert compared > 1000


def test_temperature_weighs_by_rows(urls):
    # 123, 57 and 210 rows, of 390; square roots 11.1, 7.5 and 14.5, of 33.1
    shares = {None: (333, 333, 334), 1: (315, 146, 539), 2: (335, 228, 437)}
    for temperature, expected in shares.items():
        loader = open_loader(mix(urls, 1, 1, 1, temperature=temperature), global_batch_rows=1000)
        (step,) = served(loader.steps(1))
        found = Counter(dataset for dataset, *_ in step)
        assert all(abs(found[number] - expected[number]) <= 1 for number in range(3))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"own": 4}, "weights"),
        ({"temperature": 2.0}, "weights"),
    ],
)
def test_another_mixture_is_refused_by_name(urls, change, name):
    state = next(iter(open_loader(mix(urls), global_batch_rows=G))).state
    with pytest.raises(StaleArtifactError, match=f"another {name}"):
        open_loader(mix(urls, **change), global_batch_rows=G).load_state_dict(state)


def test_other_phases_and_caps_are_refused_by_name(urls):
    state = next(iter(open_loader(make_curriculum(urls), global_batch_rows=G))).state
    later = make_curriculum(urls)
    later[2] = Phase(10, later[2].data, 3 * G)
    with pytest.raises(StaleArtifactError, match="another first_steps;"):
        open_loader(later, global_batch_rows=G).load_state_dict(state)
    capped = Mixture((Source(urls["own"], max_epochs=3), Source(urls["short"])))
    state = next(iter(open_loader(capped, global_batch_rows=G))).state
    uncapped = Mixture((Source(urls["own"]), Source(urls["short"])))
    with pytest.raises(StaleArtifactError, match="another max_epochs;"):
        open_loader(uncapped, global_batch_rows=G).load_state_dict(state)


def test_a_dataset_is_the_same_by_any_of_its_names(urls, monkeypatch):
    folder = Path(urls["own"])
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("HOME", str(folder.parent))
    names = [folder, f"{folder}/", f"file://{folder}", f"./{folder.name}", f"~/{folder.name}"]
    expected = hash_steps(open_loader(urls["own"]).steps(3))
    for name in names:
        loader = open_loader(name)
        monkeypatch.chdir("/")  # after it was opened
        assert hash_steps(loader.steps(3)) == expected
        monkeypatch.chdir(folder.parent)
        with pytest.raises(ConfigError, match="names each dataset once"):
            open_loader(Mixture((Source(urls["own"]), Source(name))))
        with pytest.raises(ConfigError, match="different max_epochs"):
            open_loader([Phase(0, Source(urls["own"], max_epochs=1)), Phase(5, name)])


def test_what_does_not_fit_together_is_refused(urls, tmp_path):
    def refused(match, data, **settings):
        with pytest.raises(ConfigError, match=match):
            open_loader(data() if callable(data) else data, **{"global_batch_rows": G} | settings)

    write_dataset(f"{tmp_path}/other", tokenizer_checksum="1" * 32)
    refused("another tokenizer_checksum", Mixture((Source(urls["own"]), Source(f"{tmp_path}/other"))))
    refused("another seq_len", Mixture((Source(urls["own"]), Source(urls["long"]))))
    refused("names each dataset once", Mixture((Source(urls["own"]), Source(urls["own"]))))
    refused("names each dataset once", Mixture(()))
    refused("no dataset of the mixture has a weight", mix(urls, 0, 0, 0))
    refused("no such weight", lambda: mix(urls, -1))
    refused("no such temperature", lambda: mix(urls, temperature=0.0))
    refused("no such temperature", lambda: mix(urls, temperature=0.001))
    refused("no such temperature", lambda: mix(urls, temperature=float("nan")))
    refused("no such weight", lambda: mix(urls, float("inf")))
    refused("more datasets than", Mixture(tuple(Source(f"{tmp_path}/{number}") for number in range(1001))))
    capped = Mixture((Source(urls["own"], max_epochs=1), Source(urls["short"], max_epochs=1)))
    refused("used up before it ends; expected one global batch at least", capped, global_batch_rows=4096)
    short = [Phase(0, Source(urls["own"], max_epochs=1)), Phase(50, urls["short"])]
    refused(r"used up before it ends; expected global batches up to step 50; found \d+ of them", short)
    refused("no such first_step", lambda: [Phase(0, urls["own"]), Phase(2.5, urls["own"])])
    refused("a list of Phases", [urls["own"], urls["short"]])
    refused("a mixture holds Sources only", lambda: Mixture((urls["own"], urls["short"])))
    refused("no such weight", lambda: mix(urls, "1"))
    refused("no such temperature", lambda: mix(urls, temperature="a"))
    refused("names no dataset", 5)
    refused("names no dataset", lambda: Source(None))
    refused("no such max_epochs", lambda: Mixture((Source(urls["own"], max_epochs=0),)))
    refused("phases do not ascend", [Phase(1, urls["own"])])
    refused("phases do not ascend", [Phase(0, urls["own"]), Phase(0, urls["own"])])
    refused("phases do not ascend", [])
    refused("different max_epochs", [Phase(0, Source(urls["own"], max_epochs=1)), Phase(5, urls["own"])])
    refused("no global batch", urls["own"], global_batch_rows=None)
    refused("world size does not divide", [Phase(0, urls["own"], 24), Phase(5, urls["own"], 25)], world_size=2)
    with pytest.raises(ConfigError, match="has no epochs"):
        open_loader(mix(urls), global_batch_rows=G).epochs(1)
