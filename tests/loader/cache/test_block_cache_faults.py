"""A store that throttles, hangs or closes connections: the right rows, or a clear error within the limit."""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
import subprocess
import sys
import threading
import time

import pytest

from maskmill.pipeline.loader.cache.block_cache import BlockCache
from maskmill.pipeline.loader.cache.extents import MAX_REQUESTS
from maskmill.pipeline.storage.datasets import fingerprint_rows
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.errors import ShardCorruptError, TransientStorageError
from tests.conftest import point_at
from tests.loader.cache.caches import find_blocks, list_blocks, open_dataset, read_all
from tests.loader.datasets import write_dataset
from tests.servers.fault_proxy import run_fault_proxy


@pytest.fixture
def served(moto_endpoint, moto_url, monkeypatch):
    write_dataset(moto_url)
    with run_fault_proxy(int(moto_endpoint.rpartition(":")[2])) as (port, faults):
        point_at(f"http://127.0.0.1:{port}", monkeypatch)
        yield moto_url, faults
        faults.silent = False
        point_at(moto_endpoint, monkeypatch)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("same"))
    write_dataset(folder)
    dataset = open_dataset(folder)
    return read_all(dataset, list_blocks(dataset))


@pytest.mark.parametrize(
    "faults_set",
    [
        {"throttled": 12},
        {"reset_after_bytes": 1200, "resets_left": 12},
        {"swallow_answers": 12},
        {"latency_seconds": 0.02},
    ],
    ids=lambda faults: next(iter(faults)),
)
@pytest.mark.parametrize("fetch", ["block", "shard"])
def test_what_passes_is_sat_out(served, tmp_path, expected, faults_set, fetch):
    url, faults = served
    dataset = open_dataset(url, tmp_path / "c", fetch=fetch)
    for name, value in faults_set.items():
        setattr(faults, name, value)
    items = list_blocks(dataset)
    dataset.fetch_ahead(iter(items))
    assert read_all(dataset, items) == expected
    dataset.close()


def test_a_hang_ends_in_an_error_that_names_the_block(served, tmp_path):
    url, faults = served
    dataset = open_dataset(url, tmp_path / "c", timeout_seconds=5)
    items = list_blocks(dataset)
    dataset.fetch_ahead(iter(items))
    read_all(dataset, items)
    faults.silent = True
    shutil.rmtree(tmp_path / "c")
    begun = time.monotonic()
    with pytest.raises(
        TransientStorageError, match=r"shard-00002.arrow, block 3: a block was not downloaded in time.*within 5 s"
    ):
        dataset.read_blocks(2, [3])
    assert time.monotonic() - begun < 15
    faults.silent = False
    read_all(dataset, items)  # and it can be asked again
    dataset.close()


@pytest.mark.long
def test_a_hang_does_not_keep_the_process_from_ending(served, tmp_path):
    url, faults = served
    open_dataset(url, tmp_path / "c")  # the table is here
    program = (
        "import sys; from tests.loader.cache.caches import open_dataset\n"
        "dataset = open_dataset(sys.argv[1], sys.argv[2], timeout_seconds=0.5)\n"
        "print('open', flush=True); sys.stdin.readline()\n"
        "dataset.read_blocks(0, [0])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, url, str(tmp_path / "c")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.readline()
    faults.silent = True
    _, errors = process.communicate(b"\n", timeout=30)
    assert process.returncode == 1
    assert b"a block was not downloaded in time" in errors


def test_an_outage_shorter_than_the_limit_is_sat_out(remote, tmp_path, expected, monkeypatch):
    """Though the store layer gave up on it meanwhile."""
    read_range = Store.read_range
    ends = time.monotonic() + 1.5

    def read(store, path, offset, length):
        if path.startswith("shard-") and time.monotonic() < ends:
            raise TransientStorageError("the store did not answer as expected", path=path)
        return read_range(store, path, offset, length)

    monkeypatch.setattr(Store, "read_range", read)
    dataset = open_dataset(remote, tmp_path / "c", timeout_seconds=20)
    items = list_blocks(dataset)
    dataset.fetch_ahead(iter(items))
    assert read_all(dataset, items) == expected
    dataset.close()


def test_a_longer_one_names_the_block_and_what_the_store_said(remote, tmp_path, monkeypatch):
    def read(store, path, offset, length):
        raise TransientStorageError("the store did not answer as expected", path=path, found="SlowDown")

    dataset = open_dataset(remote, tmp_path / "c", timeout_seconds=0.4)
    monkeypatch.setattr(Store, "read_range", read)
    with pytest.raises(TransientStorageError, match=r"shard-00002.arrow, block 3: .*within 0.4 s.*SlowDown"):
        dataset.read_blocks(2, [3])
    dataset.close()


def test_a_block_that_another_process_claims_and_never_brings_is_downloaded_all_the_same(remote, tmp_path):
    """After a third of the time that it may take."""
    dataset = open_dataset(remote, tmp_path / "c", timeout_seconds=1.5)
    dataset.read_blocks(0, [0])
    other = BlockCache(str(tmp_path / "c"), 1 << 30, fingerprint_rows(dataset.manifest))
    with other.claim(2, [3]):
        begun = time.monotonic()
        dataset.read_blocks(2, [3])
        assert 0.5 <= time.monotonic() - begun < 1.5
    dataset.close()


def test_a_shard_that_vanishes_is_named_when_it_is_read(remote, tmp_path, expected):
    dataset = open_dataset(remote, tmp_path / "c", fetch="block")
    open_store(remote).delete("shard-00004.arrow")
    items = list_blocks(dataset)
    dataset.fetch_ahead(iter(items))
    first = next(place for place, (shard, _) in enumerate(items) if shard == 4)
    assert read_all(dataset, items[:first]) == expected[:first]  # those before it are good
    with pytest.raises(
        ShardCorruptError, match=r"memory://.*shard-00004.arrow: a shard that the manifest names is gone"
    ):
        dataset.read_blocks(*items[first])
    dataset.close()


def test_requests_are_under_way_together(remote, tmp_path, monkeypatch):
    """With latency, blocks come several at a time; the reader waits for a fraction of them."""
    together = threading.Barrier(4, timeout=20)
    read_range = Store.read_range

    def read(store, path, offset, length):
        if path.startswith("shard-"):
            together.wait()  # passes only in company
        return read_range(store, path, offset, length)

    monkeypatch.setattr(Store, "read_range", read)
    dataset = open_dataset(remote, tmp_path / "c", fetch="block")
    items = list_blocks(dataset)[::2][:16]  # no two are neighbours
    dataset.require_capacity(len(items))
    dataset.fetch_ahead(iter(items))
    read_all(dataset, items)
    dataset.close()


def test_a_block_that_came_is_not_read_from_the_disk_again_while_others_are_waited_for(remote, tmp_path, monkeypatch):
    read, read_range, came = BlockCache.read, Store.read_range, []

    def note(cache, shard, block):
        came.append(block)
        return read(cache, shard, block)

    def come_one_by_one(store, path, offset, length):
        if path.startswith("shard-"):
            time.sleep(offset / 1e5)  # the last begins behind 20 KB
        return read_range(store, path, offset, length)

    dataset = open_dataset(remote, tmp_path / "c", fetch="block")
    blocks = list(range(0, 11, 2))
    monkeypatch.setattr(BlockCache, "read", note)
    monkeypatch.setattr(Store, "read_range", come_one_by_one)
    dataset.read_blocks(2, blocks)
    assert sorted(came) == blocks
    dataset.close()


def test_a_store_that_throttles_is_asked_in_the_readers_pace(remote, tmp_path, monkeypatch):
    """Eight requests at most; one at a time for what is read last, however often earlier ones are refused."""
    dataset = open_dataset(remote, tmp_path / "c", fetch="block")
    items = list_blocks(dataset)[::2]  # no two are neighbours
    lengths = [
        int(dataset.shards.block_lengths[dataset.shards.first_block[shard] + block]) for shard, (block,) in items
    ]
    before = dict(zip(((shard, block) for shard, (block,) in items), itertools.accumulate([0, *lengths]), strict=False))
    monkeypatch.setattr("maskmill.pipeline.loader.cache.read_ahead.MAX_BYTES_AHEAD", sum(lengths))
    iter_pieces, draw, lock = Store.iter_pieces, random.Random(0), threading.Lock()
    asked, under_way = [], [0]

    def ask(store, path, offset, sizes):
        with lock:
            under_way[0] += 1
            asked.append((path, offset, under_way[0]))
            wait_seconds, refused = draw.uniform(0.005, 0.02), len(asked) < 60 and draw.random() < 0.3
        time.sleep(wait_seconds)
        with lock:
            under_way[0] -= 1
        if refused:
            raise TransientStorageError("the store did not answer as expected", path=path, found="SlowDown")
        yield from iter_pieces(store, path, offset, sizes)

    monkeypatch.setattr(Store, "iter_pieces", ask)
    dataset.fetch_ahead(iter(items))
    deadline = time.monotonic() + 30
    while len(find_blocks(tmp_path / "c")) < len(items) and time.monotonic() < deadline:
        time.sleep(0.01)  # nothing is read meanwhile
    places = {
        (
            dataset.shards.path(shard),
            int(dataset.shards.block_offsets[dataset.shards.first_block[shard] + block]),
        ): number
        for (shard, block), number in before.items()
    }
    assert len(asked) > len(items)
    assert 2 < max(together for *_, together in asked) <= MAX_REQUESTS
    late = [together for path, offset, together in asked if 2 * places[path, offset] >= sum(lengths)]
    assert late
    assert set(late) == {1}
    count = len(asked)
    served = read_all(dataset, items)
    assert len(asked) == count  # all were here
    assert served == read_all(open_dataset(remote, tmp_path / "other"), items)
    dataset.close()


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting takes root")
def test_a_disk_that_is_full_is_read_past(remote, tmp_path, expected):
    """A real file system of 32 KiB, less than the dataset."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "none", str(disk)], check=False).returncode:
        pytest.skip("no mount here")
    try:
        with open(disk / "mine", "wb") as file:
            file.write(bytes(280 << 10))  # pins take 256 KiB
        dataset = open_dataset(remote, disk)
        items = list_blocks(dataset)
        with pytest.warns(RuntimeWarning, match=os.strerror(errno.ENOSPC)):
            served = read_all(dataset, items)
        assert served == expected
        dataset.close()
        assert (disk / "mine").stat().st_size == 280 << 10
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
