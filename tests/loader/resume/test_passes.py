"""Pass after pass: a loaded state counts once, whoever iterates, and nothing that is handed out leads back inside."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import time
from contextlib import suppress
from itertools import islice
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from maskmill.pipeline.loader import MaskedBatches, Mixture, Source, iter_fixed_batches
from maskmill.pipeline.loader.for_trainers import group_steps
from maskmill.schemas.errors import ConfigError, ShardCorruptError
from tests.loader.blocks.test_bad_bytes import find_block, flip_bit
from tests.loader.datasets import NUM_ROWS, write_dataset
from tests.loader.streams import MASKING, open_loader
from tests.servers.processes import use_fork_server

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

SETTINGS = {"global_batch_rows": 24, "partitions": 3, "micro_batch_rows": 8}
WORKERS: list[dict[str, Any]] = [
    {"num_workers": 0},
    {"num_workers": 1},
    {"num_workers": 2},
    {"num_workers": 1, "persistent_workers": True},
    {"num_workers": 2, "persistent_workers": True},
]
SPAWNED_WORKERS, SERVED_WORKERS = (
    [{"num_workers": 2, **started}, {"num_workers": 2, "persistent_workers": True, **started}]
    for started in ({"multiprocessing_context": "spawn"}, {"multiprocessing_context": "forkserver"})
)
"""Both get a pickled loader and inherit nothing; a spawned process also imports torch, which takes seconds."""


@pytest.fixture(scope="module", autouse=True)
def _fork_server():
    use_fork_server(__name__)


class Plain(IterableDataset):
    """The items of a list, as simply as a dataset can keep torchdata's protocol; a loaded state counts once."""

    def __init__(self, items: list[Any]) -> None:
        self.items, self.loaded, self.position = items, None, 0

    def __iter__(self):
        info = get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        self.position, self.loaded = (number if self.loaded is None else self.loaded), None
        return self.give(self.position, workers)

    def give(self, first, workers):
        for place in range(first, len(self.items), workers):
            self.position = place + workers
            yield self.items[place]

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.loaded = self.position = state["position"]


def open_bounded(url: str, **settings: Any) -> MaskedBatches:
    return open_loader(url, **SETTINGS | settings).epochs(1)


def list_rows(batches: Any) -> list[list[int]]:
    return [batch.row_ids.tolist() for batch in batches]


@pytest.fixture(scope="module")
def every(dataset):
    return list(open_bounded(dataset))


@pytest.fixture(scope="module")
def rows(every):
    return list_rows(every)


@pytest.mark.parametrize("workers", WORKERS, ids=str)
def test_a_loaded_state_counts_for_one_pass(dataset, every, rows, workers):
    for done in (1, 4, len(rows)):
        batches = open_bounded(dataset)
        loader = DataLoader(batches, batch_size=None, **workers)
        batches.load_state_dict(every[done - 1].state)
        assert [list_rows(loader) for _ in range(3)] == [rows[done:], rows, rows]
        batches.load_state_dict(every[1].state)  # to workers that are there already, too
        assert [list_rows(loader) for _ in range(2)] == [rows[2:], rows]


@pytest.mark.long
@pytest.mark.parametrize("workers", [*SPAWNED_WORKERS, *SERVED_WORKERS], ids=str)
def test_a_loaded_state_counts_for_one_pass_of_spawned_workers(dataset, every, rows, workers):
    batches = open_bounded(dataset)
    loader = DataLoader(batches, batch_size=None, **workers)
    batches.load_state_dict(every[3].state)
    assert [list_rows(loader) for _ in range(2)] == [rows[4:], rows]
    batches.load_state_dict(every[1].state)
    assert list_rows(loader) == rows[2:]


def test_a_state_may_be_loaded_between_passes_that_are_left_early(dataset, every, rows):
    batches = open_bounded(dataset)
    for workers in WORKERS:
        loader = DataLoader(batches, batch_size=None, **workers)
        for done in (3, 5):
            batches.load_state_dict(every[done - 1].state)
            assert list_rows(islice(loader, 2)) == rows[done : done + 2]
            assert list_rows(islice(loader, 2)) == rows[:2]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_passes_before_which_torch_is_seeded_alike_are_different_passes(dataset, every, rows, workers):
    batches = open_bounded(dataset)
    batches.load_state_dict(every[3].state)
    loader = DataLoader(batches, batch_size=None, num_workers=workers)
    for expected in (rows[4:], rows, rows):
        torch.manual_seed(0)
        assert list_rows(loader) == expected


def test_one_of_several_loaders_takes_the_state(dataset, every, rows):
    batches = open_bounded(dataset)
    batches.load_state_dict(every[3].state)
    one, other = (DataLoader(batches, batch_size=None, num_workers=number) for number in (2, 3))
    assert list_rows(one) == rows[4:]
    assert list_rows(other) == list_rows(batches) == list_rows(one) == rows
    batches.load_state_dict(every[3].state)
    assert list_rows(batches) == rows[4:]
    assert list_rows(other) == list_rows(one) == rows
    assert list_rows(batches.epochs(1)) == rows  # shares the state


def test_copies_have_the_loaded_state_and_loads_of_their_own(dataset, every, rows):
    batches = open_bounded(dataset)
    batches.load_state_dict(every[3].state)
    copies = [pickle.loads(pickle.dumps(batches)), copy.deepcopy(batches)]  # noqa: S301  # our own
    assert list_rows(batches) == rows[4:]
    for one in copies:
        loader = DataLoader(one, batch_size=None, num_workers=2)
        assert [list_rows(loader) for _ in range(2)] == [rows[4:], rows]
        one.load_state_dict(every[1].state)
        assert list_rows(batches) == rows
        assert list_rows(loader) == rows[2:]
        assert list_rows(one) == rows


class Late(IterableDataset):
    """A loader whose later workers begin each pass later."""

    def __init__(self, batches: MaskedBatches) -> None:
        self.batches = batches

    def __iter__(self):
        info = get_worker_info()
        time.sleep(0.3 * info.id if info else 0)
        yield from self.batches


LATE = [*WORKERS[2:], *(pytest.param(one, marks=pytest.mark.long) for one in SERVED_WORKERS)]


@pytest.mark.parametrize("workers", LATE, ids=str)
def test_a_load_does_not_change_a_pass_whose_workers_are_starting(dataset, every, rows, workers):
    batches = open_bounded(dataset)
    loader = DataLoader(Late(batches), batch_size=None, **workers)
    running = iter(loader)
    batches.load_state_dict(every[3].state)
    assert list_rows(running) == rows
    assert [list_rows(loader) for _ in range(2)] == [rows[4:], rows]


def test_a_load_does_not_split_a_pass_of_persistent_workers(dataset, every, rows):
    batches = open_bounded(dataset)
    loader = DataLoader(Late(batches), batch_size=None, num_workers=3, persistent_workers=True)
    assert list_rows(loader) == rows
    running = iter(loader)
    first = next(running)
    batches.load_state_dict(every[3].state)  # before the last worker begins
    assert list_rows([first]) + list_rows(running) == rows
    running = iter(loader)
    first = next(running)
    batches.load_state_dict(every[1].state)
    assert list_rows([first]) + list_rows(running) == rows[4:]
    assert [list_rows(loader) for _ in range(2)] == [rows[2:], rows]


def test_slow_workers_begin_at_what_was_loaded_when_they_were_started(dataset, every, rows):
    batches = open_bounded(dataset)
    batches.load_state_dict(every[3].state)
    slow = iter(DataLoader(Late(batches), batch_size=None, num_workers=3))
    batches.load_state_dict(every[1].state)
    assert list_rows(DataLoader(batches, batch_size=None, num_workers=1)) == rows[2:]
    assert list_rows(slow) == rows[4:]
    assert list_rows(batches) == rows


def test_one_of_the_passes_that_start_together_takes_the_state(dataset, every, rows):
    batches = open_bounded(dataset)
    for _ in range(3):
        batches.load_state_dict(every[3].state)
        passes = [iter(DataLoader(batches, batch_size=None, num_workers=2)) for _ in range(3)]
        assert sorted(list_rows(one) for one in passes) == sorted([rows[4:], rows, rows])


def test_a_state_of_a_worker_replaces_the_one_loaded_before(dataset, every, rows):
    stateful_dataloader = pytest.importorskip("torchdata.stateful_dataloader")
    for workers in (WORKERS[2], WORKERS[4]):
        batches = open_bounded(dataset)
        loader = stateful_dataloader.StatefulDataLoader(batches, batch_size=None, **workers)
        list_rows(islice(loader, 5))
        state = loader.state_dict()
        batches.load_state_dict(every[0].state)
        loader = stateful_dataloader.StatefulDataLoader(batches, batch_size=None, **workers)
        loader.load_state_dict(state)
        assert [list_rows(loader) for _ in range(2)] == [rows[5:], rows]


def _train_inherited(batches: MaskedBatches, state: dict[str, Any], workers: dict[str, Any], results: Any) -> None:
    multiprocessing.set_start_method("fork", force=True)  # Python's own default on Linux, which a fork server changes
    next(iter(copy.deepcopy(batches)))  # loads the kernels: 1 s, which else each worker takes
    loader = DataLoader(batches, batch_size=None, **workers)
    passes = [list_rows(loader) for _ in range(3)]
    batches.load_state_dict(state)
    results.put(passes + [list_rows(loader) for _ in range(2)])


@pytest.mark.parametrize(
    ("method", "workers"),
    [
        *(("fork", WORKERS[at]) for at in (0, 2, 4)),
        *(pytest.param("forkserver", WORKERS[at], marks=pytest.mark.long) for at in (0, 2, 4)),
        pytest.param("spawn", WORKERS[2], marks=pytest.mark.long),
    ],
    ids=str,
)
def test_trainers_start_at_what_was_loaded_before_they_were_started(dataset, every, rows, method, workers):
    context = multiprocessing.get_context(method)
    results = context.Queue()
    batches = open_bounded(dataset)
    batches.load_state_dict(every[3].state)
    trainer = context.Process(target=_train_inherited, args=(batches, every[1].state, workers, results))
    trainer.start()
    assert list_rows(batches) == rows[4:]  # a pass of its own
    assert results.get(timeout=300) == [rows[4:], rows, rows, rows[2:], rows]
    trainer.join()
    later = context.Process(target=_train_inherited, args=(batches, every[1].state, workers, results))
    later.start()
    assert results.get(timeout=300) == [rows, rows, rows, rows[2:], rows]
    later.join()


def _train(batches: MaskedBatches, state: dict[str, Any], results: Any) -> None:
    batches.load_state_dict(state)
    loader = DataLoader(batches, batch_size=None, num_workers=0)
    results.put([state["step"], state["rows_served"], [list_rows(loader), list_rows(loader)]])


@pytest.mark.parametrize("method", ["fork", "forkserver", pytest.param("spawn", marks=pytest.mark.long)])
def test_trainers_that_share_a_loader_by_fork_load_states_of_their_own(dataset, every, rows, method):
    context = multiprocessing.get_context(method)
    batches = open_bounded(dataset)
    batches.load_state_dict(every[0].state)
    results = context.Queue()
    trainers = [context.Process(target=_train, args=(batches, every[done].state, results)) for done in (2, 4)]
    for trainer in trainers:
        trainer.start()
    found = sorted(results.get(timeout=60) for _ in trainers)
    for trainer in trainers:
        trainer.join()
    assert [passes for *_, passes in found] == [[rows[3:], rows], [rows[5:], rows]]
    assert list_rows(batches) == rows[1:]


def test_at_and_skip_say_where_every_pass_of_a_loader_begins(dataset, every, rows):
    batches = open_bounded(dataset)
    batches.load_state_dict(every[1].state)
    for moved, first in ((batches.skip(3), 5), (batches.skip(-1), 1), (batches.at(1), 3)):
        assert len(moved) == len(rows) - first
        assert [list_rows(moved) for _ in range(2)] == [rows[first:]] * 2
        moved.load_state_dict(every[6].state)
        assert [list_rows(moved) for _ in range(2)] == [rows[7:], rows[first:]]
    assert [list_rows(batches) for _ in range(2)] == [rows[2:], rows]


def test_the_length_is_that_of_a_whole_pass(dataset, every, rows):
    for world_size in (1, 3):
        for rank in range(world_size):
            ranked = {"rank": rank, "world_size": world_size, "micro_batch_rows": 4}
            for bounded in (open_loader(dataset, **SETTINGS | ranked).epochs(3), open_bounded(dataset, **ranked)):
                for batches in (bounded, bounded.steps(2), bounded.steps(0), bounded.to_device("cpu")):
                    assert len(batches) == len(list(batches)) == len(DataLoader(batches, batch_size=None))
    batches = open_bounded(dataset)
    batches.load_state_dict(every[3].state)
    assert len(batches) == len(rows)  # what trainers measure their progress with: it does not shrink on resumption
    assert len(batches.at(4).steps(3)) == 0
    assert batches.at(4).steps(3)  # a loader, if one without batches
    mixture = Mixture((Source(dataset, max_epochs=2),))
    assert len(open_loader(mixture, **SETTINGS)) == len(list(open_loader(mixture, **SETTINGS)))
    for endless in (open_loader(dataset), open_loader(dataset).to_device("cpu")):
        assert endless
        for error in (TypeError, ConfigError):
            with pytest.raises(error, match=r"no length; bound it with batches.epochs"):
                len(endless)


def test_workers_do_not_make_torch_doubt_the_length(dataset, rows, recwarn):
    batches = open_bounded(dataset)
    loader = DataLoader(batches, batch_size=None, num_workers=2)
    assert len(loader) == len(rows)
    assert [len(list(loader)) for _ in range(2)] == [len(rows)] * 2
    assert not [str(warning.message) for warning in recwarn if "Length of IterableDataset" in str(warning.message)]


def vandalise(value: Any) -> None:
    """Change everything that can be changed in a state."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        if isinstance(value[key], (dict, list)):
            vandalise(value[key])
        value[key] = "changed"
    if isinstance(value, list):
        value.append("changed")


def test_states_that_are_changed_change_nothing(dataset, tmp_path):
    write_dataset(str(tmp_path), seed=6)
    mixture = Mixture((Source(dataset, 2), Source(str(tmp_path))))
    law = list(islice(open_loader(mixture), 6))
    loader = open_loader(mixture)
    for batches in (loader, loader.to_device("cpu")):
        stream = iter(batches)
        for expected in law[:3]:
            state = next(stream).state
            assert state == batches.state_dict() == expected.state
            vandalise(state)
            assert batches.state_dict() == expected.state
            vandalise(batches.state_dict())
        handed_in = copy.deepcopy(law[1].state)
        batches.load_state_dict(handed_in)
        vandalise(handed_in)
        assert batches.state_dict() == law[1].state
        assert [batch.state for batch in islice(batches, 4)] == [batch.state for batch in law[2:]]
    states = [rows.place.state for rows in islice(loader.iter_rows(), 2)]
    vandalise(states[0])
    assert states[1] == law[1].state


def test_batches_that_are_changed_change_nothing(dataset, every):
    for batches in (open_bounded(dataset), open_bounded(dataset).to_device("cpu")):
        for batch, expected in zip(batches, every, strict=True):
            for name, value in vars(expected).items():
                if isinstance(value, torch.Tensor):
                    found = getattr(batch, name)
                    assert torch.equal(found, value)
                    found.fill_(77)


def test_options_that_are_changed_change_nothing(dataset):
    options = {"client_kwargs": {"region_name": "here"}}
    loader = open_loader(dataset, storage_options=options)
    options["client_kwargs"]["region_name"] = "there"
    assert loader._storage_options == {"client_kwargs": {"region_name": "here"}}


@pytest.fixture
def damaged(tmp_path):
    write_dataset(str(tmp_path))
    flip_bit(tmp_path / "shard-00002.arrow", find_block(tmp_path, 2, 5)[0])
    return str(tmp_path)


def count_to_the_error(stream: Any) -> int:
    """How many items come before an error, which is there to stay."""
    count = 0
    with suppress(ShardCorruptError):
        for _ in stream:
            count += 1
    for _ in range(3):
        with pytest.raises(ShardCorruptError):
            next(stream)
    return count


def test_an_error_is_not_taken_for_the_end(damaged):
    batches = open_bounded(damaged)
    mixture = Mixture((Source(damaged, max_epochs=1),))
    before = count_to_the_error(iter(batches))
    assert 0 < before < NUM_ROWS // 8
    assert count_to_the_error(iter(batches.to_device("cpu"))) == before
    assert count_to_the_error(batches.iter_rows()) == before
    assert count_to_the_error(group_steps(batches)) == before // 3
    assert count_to_the_error(iter(open_loader(mixture, **SETTINGS))) > 0
    assert count_to_the_error(iter_fixed_batches(damaged, MASKING, 8)) > 0
    for workers in (0, 1):
        loader = iter(DataLoader(batches, batch_size=None, num_workers=workers))
        assert count_to_the_error(loader) == before


def test_an_error_ends_no_pass_of_workers(damaged):
    """Other workers still give what they have; the one that failed says so each time, and none says it is the end."""
    stream = iter(DataLoader(open_bounded(damaged), batch_size=None, num_workers=2))
    errors = 0
    for _ in range(40):
        with suppress(ShardCorruptError):
            next(stream)
            continue
        errors += 1
    assert errors > 10


def test_an_interruption_is_not_taken_for_the_end(dataset, monkeypatch):
    stream = iter(open_bounded(dataset))
    next(stream)
    with monkeypatch.context() as patch:
        patch.setattr("maskmill.pipeline.loader.rows.read_rows.RowReader.read", lambda *_: interrupt())
        with pytest.raises(KeyboardInterrupt):
            next(stream)
    with pytest.raises(KeyboardInterrupt):
        next(stream)


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.long
def test_torchdata_gives_what_it_gives_of_a_plain_dataset(dataset, every, rows):
    stateful_dataloader = pytest.importorskip("torchdata.stateful_dataloader")

    def open_stateful(data: Any, workers: dict[str, Any]) -> Any:
        return stateful_dataloader.StatefulDataLoader(data, batch_size=None, collate_fn=_keep_rows, **workers)

    def resume(make: Any, workers: dict[str, Any], done: int, again: int) -> list[Any]:
        loader = open_stateful(make(), workers)
        given = list(islice(loader, done))
        for more in (again, None):
            state = copy.deepcopy(loader.state_dict())
            loader = open_stateful(make(), workers)
            loader.load_state_dict(state)
            if more is not None:
                given += islice(loader, more)
        return [given, *(list(loader) for _ in range(3))]

    for workers in (WORKERS[0], WORKERS[2], WORKERS[4], SERVED_WORKERS[1]):
        for done, again in ((5, 2), (1, 0), (3, len(rows) - 3), (len(rows), 4)):
            if "multiprocessing_context" in workers and again:
                continue
            plain = resume(lambda: Plain(rows), workers, done, again)
            assert resume(lambda: open_bounded(dataset), workers, done, again) == plain, (workers, done, again)
            assert plain[2:] == [rows, rows]


def _keep_rows(item: Any) -> Any:
    return item if isinstance(item, list) else item.row_ids.tolist()
