"""Several processes over one cache: one download, many readers; any of them killed at any instant."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

import pytest

from tests.conftest import point_at
from tests.loader.cache.caches import count_bytes, find_blocks, list_blocks, open_dataset, read_all
from tests.loader.datasets import write_dataset
from tests.servers.fault_proxy import run_fault_proxy
from tests.servers.processes import wait_until

SHARD_ROWS = (120, 0, 77, 160)  # 90 blocks
NO_BOUND = 1 << 30


@pytest.fixture
def served(moto_endpoint, moto_url, monkeypatch):
    """(URL of a dataset on S3 behind a proxy, what the proxy does and has seen, bytes of all blocks)."""
    write_dataset(moto_url, shard_rows=SHARD_ROWS)
    with run_fault_proxy(int(moto_endpoint.rpartition(":")[2])) as (port, faults):
        point_at(f"http://127.0.0.1:{port}", monkeypatch)
        yield moto_url, faults
        point_at(moto_endpoint, monkeypatch)


@dataclass
class Reader:
    """A forked process that reads the whole dataset in an order of its own."""

    process: multiprocessing.process.BaseProcess
    answers: Connection

    @property
    def pid(self):
        return self.process.pid

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        self.process.join()


def start_reader(url, folder, max_bytes=NO_BOUND, fetch="block", seed=0, pause=0.0, begin=None):
    context = multiprocessing.get_context("fork")
    answers, sender = context.Pipe(duplex=False)
    arguments = (sender, url, str(folder), max_bytes, fetch, seed, pause, begin)
    process = context.Process(target=read_and_tell, args=arguments, daemon=True)
    process.start()
    sender.close()
    return Reader(process, answers)


def read_and_tell(sender, url, folder, max_bytes, fetch, seed, pause, begin):
    """Send a hash of all rows in stored order, the bytes downloaded, the most that the folder ever held."""
    dataset = open_dataset(url, folder, max_bytes=max_bytes, fetch=fetch, timeout_seconds=60)
    if begin is not None:
        begin.wait(60)  # one that came later might find nothing left to download
    items = list_blocks(dataset)
    order = random.Random(seed).sample(range(len(items)), len(items))
    dataset.fetch_ahead(iter([items[place] for place in order]))
    rows = {}
    most = 0
    for place in order:
        (rows[place],) = read_all(dataset, [items[place]])
        most = max(most, count_bytes(folder))
        time.sleep(pause)
    digest = hashlib.sha256(b"".join(rows[place] for place in range(len(items)))).hexdigest()
    dataset.close()
    sender.send({"rows": digest, "fetched": dataset.fetched_bytes, "most": most})


def finish(readers):
    assert all(reader.answers.poll(100) for reader in readers)
    found = [reader.answers.recv() for reader in readers]
    for reader in readers:
        reader.process.join()
    return found


def read_alone(url, folder):
    return finish([start_reader(url, folder)])[0]


def find_unfinished(folder):
    names = {name for _, _, names in os.walk(folder) for name in names}
    return {name for name in names if name.endswith((".partial", ".pins"))}


def asked_bytes(faults):
    """Every byte of a shard that was asked for, as often as it was."""
    return [(path, at) for path, first, last in faults.ranges if "/shard-" in path for at in range(first, last + 1)]


@pytest.mark.parametrize("seeds", [(0, 0, 0), (1, 2, 3)])
def test_each_block_is_downloaded_once_by_all_readers_together(served, tmp_path, seeds):
    url, faults = served
    faults.latency_seconds = 0.02
    begin = multiprocessing.get_context("fork").Barrier(len(seeds))
    answers = finish([start_reader(url, tmp_path / "c", seed=seed, begin=begin) for seed in seeds])
    asked = asked_bytes(faults)
    assert len(asked) == len(set(asked))
    dataset = open_dataset(url, tmp_path / "c")
    assert len(asked) == int(dataset.shards.block_lengths.sum())
    assert sum(answer["fetched"] for answer in answers) == len(asked)
    assert sum(answer["fetched"] > 0 for answer in answers) > 1  # they share the work; one that is late finds it done
    faults.ranges.clear()
    assert {answer["rows"] for answer in answers} == {read_alone(url, tmp_path / "c")["rows"]}
    assert not asked_bytes(faults)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2))])
def test_readers_killed_at_any_instant_hold_up_nobody(served, tmp_path, seed):
    """No second download of what stands, nothing half-written taken, nothing of the dead left once room is wanted."""
    url, faults = served
    expected = read_alone(url, tmp_path / "other")
    faults.latency_seconds = 0.01
    random_time = random.Random(seed)
    for _ in range(2):
        before = find_unfinished(tmp_path / "c")
        victims = [start_reader(url, tmp_path / "c", seed=number, pause=0.01) for number in range(2)]
        wait_until(lambda seen=before: find_unfinished(tmp_path / "c") - seen, "what a reader holds")
        wait_until(lambda: find_blocks(tmp_path / "c"), "a first block")
        time.sleep(random_time.random() * 0.5)
        for victim in victims:
            victim.kill()
    with open(f"{os.path.dirname(find_blocks(tmp_path / 'c')[0])}/00000+1.block.{'0' * 32}.partial", "wb") as file:
        file.write(bytes(50))  # a writer is rarely hit just while it writes
    stands = {(path, os.stat(path).st_ino) for path in find_blocks(tmp_path / "c")}
    left = find_unfinished(tmp_path / "c")
    assert stands
    assert {name.rpartition(".")[2] for name in left} == {"partial", "pins"}
    answers = finish([start_reader(url, tmp_path / "c", seed=number) for number in (7, 8)])
    assert {answer["rows"] for answer in answers} == {expected["rows"]}
    assert {(path, os.stat(path).st_ino) for path in find_blocks(tmp_path / "c")} >= stands
    assert not left & find_unfinished(tmp_path / "c")  # whoever comes next sweeps


def test_a_stopped_reader_holds_up_nobody_for_long(served, tmp_path):
    """Its claims cannot be had: others wait a third of their time and then download for themselves."""
    url, faults = served
    faults.latency_seconds = 0.3
    stopped = start_reader(url, tmp_path / "c", pause=1)
    wait_until(lambda: find_blocks(tmp_path / "c"), "a first block")
    time.sleep(0.1)
    os.kill(stopped.pid, signal.SIGSTOP)
    faults.latency_seconds = 0.0
    try:
        dataset = open_dataset(url, tmp_path / "c", timeout_seconds=3, fetch="block")
        blocks = [(shard, [block]) for shard, block in ((0, 0), (0, 29), (2, 19), (3, 39))]
        for shard, block in blocks:
            dataset.read_blocks(shard, block)
        dataset.close()
    finally:
        stopped.kill()


@pytest.mark.parametrize("fetch", ["auto", *(pytest.param(how, marks=pytest.mark.long) for how in ("block", "shard"))])
def test_the_bound_holds_over_all_readers_together(served, tmp_path, fetch):
    """60,000 bytes, about half of the dataset, while three readers go through it in different orders."""
    url, _ = served
    expected = read_alone(url, tmp_path / "other")
    readers = [
        start_reader(url, tmp_path / "c", max_bytes=60_000, fetch=fetch, seed=seed, pause=0.002) for seed in (1, 2, 3)
    ]
    answers = finish(readers)
    assert {answer["rows"] for answer in answers} == {expected["rows"]}
    assert expected["most"] > 80_000
    assert 30_000 < max(answer["most"] for answer in answers) <= 60_000
