"""The cache on disk: bounded, its own files alone, and never in the way of a read."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import multiprocessing
import os
import time
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.loader import Cache
from maskmill.pipeline.loader.cache.block_cache import BlockCache
from maskmill.pipeline.loader.cache.cache_ledger import CacheLedger
from maskmill.pipeline.loader.cache.cache_locks import claim_numbers, lock_file, number_block, number_shard, try_lock
from maskmill.pipeline.loader.cache.evict_blocks import CachedFile, choose_victims
from maskmill.pipeline.loader.cache.pinned_blocks import Pins, read_pins
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.errors import ConfigError
from tests.loader.cache.caches import count_bytes, find_blocks, list_blocks, open_dataset, read_all
from tests.loader.datasets import write_dataset
from tests.loader.streams import open_loader

FINGERPRINT = "ab" * 16
SHARDS = SimpleNamespace(first_block=np.arange(0, 1000, 100), block_lengths=np.full(1000, 100, np.uint32))


@pytest.fixture
def cache(tmp_path):
    opened = BlockCache(str(tmp_path / "c"), 1000, FINGERPRINT, SHARDS)
    opened.ledger.open_pins()
    yield opened
    opened.ledger.close()


def fill(cache, shard, num_blocks, age_seconds=0):
    for block in range(num_blocks):
        assert cache.ledger.reserve(100)
        with contextlib.closing(cache.begin(shard, block, 1)) as writer:
            assert writer.add(bytes(100))
            assert cache.finish(writer, shard)
        cache.ledger.settle(100, 100)
        then = time.time() - age_seconds
        os.utime(cache.locate(shard, block), (then, then))


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(0, 3)), max_size=20),
    st.sets(st.integers(0, 20)),
    st.integers(-5, 100),
)
def test_the_oldest_unneeded_files_go_and_no_more_than_must(found, kept, excess):
    files = [
        CachedFile(f"{number:03}", 100 + shard, number, 1 + number % 2, size, age, partial=False)
        for number, (age, size, shard) in enumerate(found)
    ]
    kept = kept | {103}
    victims = choose_victims(files, kept, excess)
    free = sorted(
        (f for f in files if not {f.block_number, f.block_number + f.num_blocks - 1, f.shard_number} & kept),
        key=lambda f: (f.used_at_ns, f.path),
    )
    assert victims == free[: len(victims)]
    assert len(victims) == len(free) or sum(f.size_bytes for f in victims) >= excess
    if victims:
        assert sum(f.size_bytes for f in victims[:-1]) < excess


def test_eviction_keeps_to_the_bound_and_takes_the_least_recently_used(cache):
    fill(cache, 0, 5, age_seconds=100)
    fill(cache, 1, 4, age_seconds=50)
    assert cache.read(0, 2) == bytes(100)  # used again
    fill(cache, 2, 2)
    assert count_bytes(cache.folder) <= 1000
    kept = {os.path.relpath(path, cache.dataset_folder) for path in find_blocks(cache.folder)}
    assert {"0000000/00002+1.block", "0000002/00000+1.block", "0000002/00001+1.block"} <= kept
    assert "0000000/00000+1.block" not in kept


@pytest.mark.parametrize("age_seconds", [100, -3600])  # of before the clock was set back an hour
def test_a_block_that_is_read_was_used_now(cache, age_seconds):
    fill(cache, 0, 1, age_seconds)
    cache.read(0, 0)
    assert abs(os.stat(cache.locate(0, 0)).st_mtime - time.time()) < 10


def test_what_any_live_process_needs_is_not_evicted(cache):
    other = BlockCache(cache.folder, 1000, FINGERPRINT, SHARDS)
    other.ledger.open_pins()
    fill(cache, 0, 5, age_seconds=100)
    fill(cache, 1, 5, age_seconds=50)
    other.pin(0, 3)
    other.pin(1, None)  # all of the shard
    assert cache.ledger.reserve(400)
    assert [cache.find(0, block) is not None for block in range(5)] == [False, False, False, True, False]
    assert all(cache.find(1, block) is not None for block in range(5))
    cache.ledger.settle(400, 0)
    assert not cache.ledger.reserve(500)  # nothing is left that may go, and nobody waits for room
    other.ledger.close()
    time.sleep(1.1)
    assert cache.ledger.reserve(500)


def test_a_reservation_counts_before_it_is_written_and_dies_with_its_process(cache):
    other = BlockCache(cache.folder, 1000, FINGERPRINT, SHARDS)
    other.ledger.open_pins()
    assert other.ledger.reserve(700)
    assert not cache.ledger.reserve(400)
    fcntl.flock(other.ledger._pins._descriptor, fcntl.LOCK_UN)  # as the kernel does when its process is killed
    time.sleep(1.1)
    assert cache.ledger.reserve(400)


@pytest.mark.parametrize("damage", [b"", b"\0\0\0", b"\xff" * 8, b"\0" * 8])
def test_a_wrong_ledger_is_set_right(cache, damage):
    fill(cache, 0, 9)
    with open(f"{cache.folder}/ledger", "wb") as file:
        file.write(damage)
    if damage == b"\0" * 8:  # too little: nobody notices until it says full
        for _ in range(10):
            assert cache.ledger.reserve(100)
            cache.ledger.settle(100, 100)
    assert cache.ledger.reserve(300)
    assert count_bytes(cache.folder) + 300 <= 1000


def test_foreign_files_stay(cache, tmp_path):
    fill(cache, 0, 9, age_seconds=100)
    folder = f"{cache.dataset_folder}/0000000"
    foreign = [
        f"{cache.folder}/notes.txt",
        f"{cache.folder}/shard-00000.arrow",
        f"{cache.folder}/{'cd' * 16}",
        f"{cache.dataset_folder}/model.bin",
        f"{folder}/00001+1.block.bak",
        f"{folder}/x.partial",
        f"{folder}/1+1.block",
        f"{cache.folder}/pins/mine.pins",
    ]
    for path in foreign:
        with open(path, "wb") as file:
            file.write(bytes(5000))
        os.utime(path, (1, 1))
    target = tmp_path / "00099+1.block"
    target.write_bytes(bytes(300))
    os.symlink(target, f"{folder}/00099+1.block")
    assert cache.ledger.reserve(1000)
    assert all(os.path.getsize(path) == 5000 for path in foreign)
    assert target.exists()
    assert os.path.islink(f"{folder}/00099+1.block")
    assert find_blocks(cache.folder) == [f"{folder}/00099+1.block", f"{folder}/1+1.block"]


def test_partials_of_the_dead_are_swept_and_those_of_the_living_are_not(cache):
    fill(cache, 0, 9)
    dead = f"{cache.dataset_folder}/0000000/00020+1.block.{'0' * 32}.partial"
    alive = f"{cache.dataset_folder}/0000000/00021+1.block.{'0' * 32}.partial"
    for path in (dead, alive):
        with open(path, "wb") as file:
            file.write(bytes(50))
    with cache.claim(0, [21]):
        cache.ledger.reserve(500)
        assert os.path.exists(alive)
        assert not os.path.exists(dead)


def test_a_block_is_claimed_by_one_at_a_time(cache):
    other = BlockCache(cache.folder, 1000, FINGERPRINT, SHARDS)
    claim = cache.claim(0, [1, 2, 3, 7])
    for blocks in ([1], [2, 9], [7], [3, 4]):
        assert other.claim(0, blocks) is None
    for blocks in ([0], [4, 5, 6], [8]):
        with other.claim(0, blocks):
            pass
    with other.claim(1, [1, 2, 3]):
        pass
    claim.release()
    with other.claim(0, [1, 2, 3, 7]):
        assert cache.claim(0, [7]) is None


def test_numbers_of_blocks_and_shards_differ():
    numbers = [number_shard("a", 0), number_shard("a", 1), number_shard("b", 0), number_shard("a", -1)]
    numbers += [number_block(dataset, shard, block) for dataset in "ab" for shard in (0, 1) for block in (0, 1, 9)]
    assert len(set(numbers)) == len(numbers)
    assert all(0 < number < 1 << 63 for number in numbers)


def test_what_is_pinned_twice_is_unpinned_twice(tmp_path):
    pins = Pins(str(tmp_path))
    for number in (5, 6, 5):
        pins.pin(number)
    pins.unpin(5)
    pins.unpin(6)
    pins.unpin(99)
    assert read_pins(str(tmp_path)).numbers == {5}
    pins.unpin(5)
    pins.add_reserved(70)
    pins.add_reserved(-30)
    found = read_pins(str(tmp_path))
    assert (found.numbers, found.reserved_bytes, found.num_processes) == (frozenset(), 40, 1)
    pins.close()
    assert read_pins(str(tmp_path)).num_processes == 0
    assert not os.listdir(tmp_path)


def test_a_held_ledger_is_not_waited_for_without_end(tmp_path):
    with lock_file(str(tmp_path / "l"), 0) as first, lock_file(str(tmp_path / "l"), 0.05) as second:
        assert first is not None
        assert second is None
    descriptor = os.open(tmp_path / "l", os.O_RDWR)
    assert try_lock(descriptor)
    os.close(descriptor)


def test_claims_that_a_file_system_does_not_know_stop_nobody(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("fcntl.fcntl", fail)
    for _ in range(2):
        assert claim_numbers(str(tmp_path / "c"), [1, 2]) is not None
    assert claim_numbers(str(tmp_path / "missing" / "c"), [1]) is not None


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("fetch", ["auto", "block"])
def test_a_disk_that_takes_nothing_is_read_past_with_one_warning(remote, tmp_path, monkeypatch, error, fetch):
    expected = read_all(open_dataset(remote, tmp_path / "good"), list_blocks(open_dataset(remote, tmp_path / "good")))

    def fail(descriptor, data):
        raise OSError(error, os.strerror(error))

    dataset = open_dataset(remote, tmp_path / "c", fetch=fetch)
    monkeypatch.setattr(os, "write", fail)
    items = list_blocks(dataset)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset.fetch_ahead(iter(items))
        served = read_all(dataset, items)
    assert served == expected
    assert [str(tmp_path / "c") in str(one.message) and os.strerror(error) in str(one.message) for one in caught] == [
        True
    ]
    assert not find_blocks(tmp_path / "c")
    dataset.close()


def test_what_is_being_written_counts_once(cache):
    """Its room is reserved, and its file grows inside that."""
    assert cache.ledger.reserve(500)
    with contextlib.closing(cache.begin(0, 0, 5)) as writer, cache.claim(0, range(5)):
        for _ in range(4):
            assert writer.add(bytes(100))
        os.truncate(os.path.join(cache.folder, "ledger"), 0)  # somebody has to look
        assert cache.ledger.reserve(400)
        assert not cache.ledger.reserve(101)


def test_a_file_that_somebody_swept_away_under_its_writer_is_no_fault_of_the_disk(cache):
    with contextlib.closing(cache.begin(0, 0, 1)) as writer:
        assert writer.add(bytes(100))
        for name in os.listdir(os.path.dirname(cache.locate(0, 0))):
            os.unlink(os.path.join(os.path.dirname(cache.locate(0, 0)), name))
        assert not cache.finish(writer, 0)
    assert cache.ledger.takes_blocks


def test_what_was_being_written_when_a_process_ended_in_order_is_swept_by_the_next(tmp_path):
    caches = [BlockCache(str(tmp_path / "c"), 1000, FINGERPRINT, SHARDS) for _ in range(2)]

    def end() -> None:
        caches[0].ledger.open_pins()
        assert caches[0].ledger.reserve(500)
        caches[0].begin(0, 0, 5).add(bytes(100))
        caches[0].ledger.close()
        os._exit(0)  # a thread that would have finished it ends here

    child = multiprocessing.get_context("fork").Process(target=end)
    child.start()
    child.join()
    assert child.exitcode == 0
    assert count_bytes(tmp_path / "c") == 100
    caches[1].ledger.open_pins()
    assert count_bytes(tmp_path / "c") == 0
    caches[1].ledger.close()
    assert os.listdir(tmp_path / "c" / "pins") == []


def test_pins_are_deleted_once_what_was_being_written_at_the_end_is_written(cache):
    assert cache.ledger.reserve(100)
    cache.ledger.close()
    assert len(os.listdir(os.path.join(cache.folder, "pins"))) == 1  # it counts the bytes that are being written
    assert not cache.ledger.reserve(100)
    cache.ledger.settle(100, 0)
    assert os.listdir(os.path.join(cache.folder, "pins")) == []


def test_a_download_that_fails_while_another_process_counts_lets_nobody_exceed_the_bound(cache, monkeypatch):
    other = BlockCache(cache.folder, 1000, FINGERPRINT, SHARDS)
    other.ledger.open_pins()
    fill(other, 1, 5)
    other.pin(1, None)
    assert cache.ledger.reserve(500)
    count = CacheLedger._count_reserved

    def let_the_other_reserve(ledger, num_bytes):
        done = count(ledger, num_bytes)
        if ledger is cache.ledger:
            monkeypatch.setattr(CacheLedger, "_count_reserved", count)
            other.ledger.reserve(500)  # it comes to the limit, and counts
        return done

    monkeypatch.setattr("maskmill.pipeline.loader.cache.cache_ledger._SHORT_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(CacheLedger, "_count_reserved", let_the_other_reserve)
    cache.ledger.settle(500, 0)
    other.ledger._full_until = 0.0
    reserved = other.ledger._pins.reserved_bytes
    while other.ledger.reserve(100):
        reserved += 100
    assert reserved == 500  # beside the 500 that are pinned
    other.ledger.close()


def test_a_cache_that_is_closed_while_it_reserves_reserves_nothing(cache, monkeypatch):
    hold = CacheLedger._hold_ledger

    def close_first(ledger, *wait):
        ledger.close()
        return hold(ledger, *wait)

    monkeypatch.setattr(CacheLedger, "_hold_ledger", close_first)
    assert not cache.ledger.reserve(500)
    assert os.listdir(os.path.join(cache.folder, "pins")) == []


def test_a_ledger_that_another_process_holds_delays_one_request_and_not_the_next(cache, monkeypatch):
    monkeypatch.setattr("maskmill.pipeline.loader.cache.cache_ledger._SHORT_WAIT_SECONDS", 0.3)
    with lock_file(f"{cache.folder}/ledger", 0):
        begun = time.monotonic()
        assert not any(cache.ledger.reserve(100) for _ in range(20))
        assert time.monotonic() - begun < 3
    cache.ledger._full_until = 0.0  # later
    assert cache.ledger.reserve(100)


def test_a_ledger_that_another_process_holds_delays_no_failed_download_for_long(cache):
    assert cache.ledger.reserve(400)
    with lock_file(f"{cache.folder}/ledger", 0):
        begun = time.monotonic()
        cache.ledger.settle(400, 100)
        assert time.monotonic() - begun < 3
    assert cache.ledger._pins.reserved_bytes == 0
    assert cache.ledger.reserve(1000)  # the bytes that were counted too much cost a listing


@pytest.mark.parametrize("fault", ["a file in its place", "a held ledger"])
def test_a_cache_that_could_not_be_opened_is_tried_again(tmp_path, fault):
    folder = tmp_path / "c"
    opened = BlockCache(str(folder), 1000, FINGERPRINT, SHARDS)
    with contextlib.ExitStack() as stack:
        if fault == "a held ledger":
            folder.mkdir(mode=0o700)
            stack.enter_context(lock_file(str(folder / "ledger"), 0))
        else:
            folder.write_bytes(b"")
        with pytest.warns(RuntimeWarning, match="cannot write blocks"):
            opened.ledger.open_pins(0.1)
        assert not opened.ledger.reserve(100)
    if fault != "a held ledger":
        folder.unlink()
    opened.ledger._full_until = opened.ledger._no_disk_until = 0.0  # later
    assert opened.ledger.takes_blocks
    fill(opened, 0, 2)
    assert opened.find(0, 1) is not None
    opened.ledger.close()


@pytest.mark.parametrize("where", ["file", "below a file"])
def test_a_folder_that_cannot_be_made_is_read_past(remote, tmp_path, where):
    (tmp_path / "file").write_bytes(b"mine")
    folder = tmp_path / "file" / ("x" if where == "below a file" else "")
    with pytest.warns(RuntimeWarning, match="cannot write blocks"):
        dataset = open_dataset(remote, folder)
    dataset.fetch_ahead(iter(list_blocks(dataset)))
    assert len(read_all(dataset, list_blocks(dataset))) == len(list_blocks(dataset))
    assert (tmp_path / "file").read_bytes() == b"mine"
    dataset.close()


def test_memory_stays_bounded_where_nothing_can_be_cached(remote, tmp_path, monkeypatch):
    monkeypatch.setattr("maskmill.pipeline.loader.cache.fetch_planner.MAX_BYTES_IN_MEMORY", 5000)
    monkeypatch.setattr(CacheLedger, "reserve", lambda *_: False)  # as where other processes need all there is
    dataset = open_dataset(remote, tmp_path / "c", fetch="block")
    items = list_blocks(dataset)
    dataset.fetch_ahead(iter(items))
    most = 0
    for shard, blocks in items:
        time.sleep(0.005)
        most = max(most, dataset._fetcher._planner.bytes_in_memory)
        dataset.read_blocks(shard, blocks)
    longest = int(dataset.shards.block_lengths.max())
    assert longest < most <= 5000 + longest
    assert dataset._fetcher._planner.bytes_in_memory <= 0
    assert not find_blocks(tmp_path / "c")
    dataset.close()


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40_000), st.sampled_from(["auto", "block", "shard"]), st.randoms(use_true_random=False))
def test_no_bound_is_exceeded_and_nothing_lost_at_any_size(tmp_path_factory, max_bytes, fetch, random):
    folder = tmp_path_factory.mktemp("bound")
    url = f"memory://{folder.name}/packed"
    write_dataset(url)
    dataset = open_dataset(url, folder, max_bytes=max_bytes, fetch=fetch)
    items = list_blocks(dataset) * 2
    random.shuffle(items)
    dataset.fetch_ahead(iter(items))
    most = 0
    for shard, blocks in items:
        dataset.read_blocks(shard, blocks)
        most = max(most, count_bytes(folder))
    assert most <= max_bytes
    dataset.close()
    open_store(url).delete_tree("")


def test_a_cache_smaller_than_what_must_be_open_is_refused_with_both_numbers(remote, tmp_path):
    dataset = open_dataset(remote, tmp_path / "c", max_bytes=10_000)
    needed = np.cumsum(sorted(dataset.shards.block_lengths.tolist(), reverse=True)).tolist()  # by the largest blocks
    most = sum(one <= 10_000 for one in needed)
    dataset.require_capacity(most)
    with pytest.raises(ConfigError) as caught:
        dataset.require_capacity(most + 1)
    text = str(caught.value)
    assert f"at least {needed[most]} bytes" in text
    assert "10000" in text
    assert "raise the cache's max_bytes" in text
    dataset.close()


@pytest.mark.parametrize("wanted", [{}, {"shuffle_blocks": 1000}, {"partitions": 8, "shuffle_blocks": 3}])
def test_a_cache_that_holds_the_whole_dataset_is_large_enough(remote, tmp_path, wanted):
    """Whatever number of blocks a reader might have open of a larger one."""
    opened = open_dataset(remote, tmp_path / "c")
    whole = int(opened.shards.block_lengths.sum())
    opened.close()
    wanted = {"global_batch_rows": 64, **wanted}
    cache = Cache(folder=str(tmp_path / "c"), max_bytes=whole)
    rows = [batch.row_ids.tolist() for batch in open_loader(remote, cache=cache, **wanted).epochs(2)]
    assert rows == [batch.row_ids.tolist() for batch in open_loader(remote, **wanted).epochs(2)]


def test_a_replaced_dataset_shares_nothing_with_the_one_before(remote, tmp_path):
    first = open_dataset(remote, tmp_path / "c")
    items = list_blocks(first)
    before = read_all(first, items)
    first.close()
    write_dataset(remote, seed=6)
    second = open_dataset(remote, tmp_path / "c")
    assert second.manifest.fingerprint != first.manifest.fingerprint
    after = read_all(second, items)
    assert all(one != other for one, other in zip(before, after, strict=True))
    second.close()


def test_no_name_of_a_store_lies_in_the_cache(remote, tmp_path):
    dataset = open_dataset(remote, tmp_path / "c")
    read_all(dataset, list_blocks(dataset))
    dataset.close()
    for root, folders, names in os.walk(tmp_path / "c"):
        assert not any("memory" in name or "packed" in name for name in folders + names)
        for name in names:
            with open(os.path.join(root, name), "rb") as file:
                assert b"memory://" not in file.read()


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_bytes": 0},
        {"max_bytes": -1},
        {"max_bytes": float("inf")},
        {"timeout_seconds": 0},
        {"timeout_seconds": float("inf")},
        {"timeout_seconds": float("nan")},
        {"fetch": "blocks"},
        {"fetch": ""},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"cache.{next(iter(wrong))}"):
        Cache(**wrong)


def test_the_folder_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert Cache().locate() == f"{tmp_path}/maskmill/datasets"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Cache().locate() == "/home/somebody/.cache/maskmill/datasets"
    assert Cache(folder="~/x").locate() == "/home/somebody/x"
