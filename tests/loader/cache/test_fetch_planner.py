"""What is asked for next, where the reader's wish and a request under way meet."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest

from maskmill.pipeline.loader import Cache
from maskmill.pipeline.loader.cache.block_cache import BlockCache
from maskmill.pipeline.loader.cache.block_states import Stage
from maskmill.pipeline.loader.cache.fetch_planner import FetchPlanner

SHARDS = SimpleNamespace(
    first_block=np.array([0, 4]), block_lengths=np.full(4, 100, np.uint32), size_bytes=np.array([400], np.uint64)
)


@pytest.fixture
def planner(tmp_path):
    cache = BlockCache(str(tmp_path / "c"), 1000, "ab" * 16, SHARDS)
    cache.ledger.open_pins()
    yield FetchPlanner(SHARDS, cache, Cache(fetch="block"))
    cache.ledger.close()


def test_a_bad_copy_that_is_being_fetched_already_is_not_asked_for_twice(planner):
    first = planner.want(0, 2)
    request = planner.next_request()
    assert request.blocks == [2]
    assert planner.want(0, 2, bypass_disk=True) is first
    assert planner.next_request() is None
    planner.finish(request, {2: (Stage.IN_MEMORY, bytes(100))})
    assert first.stage is Stage.IN_MEMORY


def test_a_bad_copy_is_not_taken_from_the_disk_even_if_it_was_just_written_anew(planner):
    first = planner.want(0, 2)
    request = planner.next_request()
    planner.want(0, 2, bypass_disk=True)
    planner.finish(request, {2: (Stage.CACHED, None)})
    again = planner.next_request()
    assert again.cause is first
    assert again.cause.bypasses_disk
    planner.finish(again, {2: (Stage.IN_MEMORY, bytes(100))})
    planner.take(first)
    assert planner.bytes_in_memory == 0
    assert planner.next_request() is None


def test_a_block_that_is_held_in_memory_is_not_asked_for_again_and_counted_once(planner):
    first = planner.want(0, 2)
    request = planner.next_request()
    planner.finish(request, {2: (Stage.IN_MEMORY, bytes(100))})
    assert planner.want(0, 2, bypass_disk=True) is first
    assert planner.next_request() is None
    planner.take(first)
    assert planner.bytes_in_memory == 0


def test_what_is_far_from_the_reader_waits_for_requests_that_are_nearer(planner):
    planner.announce(iter([(0, [block]) for block in range(4)]))  # of which the horizon, 250 bytes, admits three
    near, next_one = planner.next_request(), planner.next_request()
    assert (near.blocks, next_one.blocks) == ([0], [1])
    assert planner.next_request() is None
    planner.finish(near, {0: (Stage.IN_MEMORY, bytes(100))})
    assert planner.next_request() is None
    planner.finish(next_one, {1: (Stage.IN_MEMORY, bytes(100))})
    far = planner.next_request()
    assert far.blocks == [2]
    urgent = planner.want(0, 3)
    assert planner.next_request().cause is urgent


def test_a_reader_who_comes_nearer_is_asked_for_more_at_once(planner):
    planner.announce(iter([(0, [block]) for block in range(4)]))
    assert [planner.next_request().blocks for _ in range(2)] == [[0], [1]]
    assert planner.next_request() is None
    for block in range(2):
        planner.take(planner.want(0, block))
    assert planner.next_request().blocks == [2]


def test_a_reader_who_waits_is_not_made_to_wait_for_one_request_at_a_time(planner):
    planner.announce(iter([(0, [block]) for block in range(4)]))
    assert [planner.next_request().blocks for _ in range(2)] == [[0], [1]]
    planner.is_behind = True
    assert planner.next_request().blocks == [2]


def test_what_was_postponed_comes_before_what_was_announced_since(planner):
    planner.announce(iter([(0, [block]) for block in range(4)]))
    postponed = [planner.next_request() for _ in range(2)]
    for request in postponed:
        planner.finish(request, dict.fromkeys(request.blocks, (Stage.POSTPONED, None)))
        request.cause.retry_at = 0.0
    assert [planner.next_request().blocks for _ in range(2)] == [[0], [1]]
    assert planner.next_request() is None  # block 2 is far


def test_requests_grow_after_as_much_as_is_read_ahead_and_pass_over_a_block_that_is_here(tmp_path, monkeypatch):
    mib, num_blocks = 1 << 20, 32
    shards = SimpleNamespace(
        first_block=np.array([0, num_blocks, 2 * num_blocks]),
        block_lengths=np.full(2 * num_blocks, mib, np.uint32),
        size_bytes=np.full(2, num_blocks * mib, np.uint64),
    )
    cache = BlockCache(str(tmp_path / "c"), 4 * num_blocks * mib, "ab" * 16, shards)  # of which a quarter is read ahead
    cache.ledger.open_pins()
    here = set()
    monkeypatch.setattr(cache, "find", lambda shard, block, **_: (block, 1) if (shard, block) in here else None)
    planner = FetchPlanner(shards, cache, Cache(fetch="shard"))
    planner.announce(iter([(shard, [block]) for shard in range(2) for block in range(num_blocks)]))

    def request():
        while (made := planner.next_request()) is None:
            assert planner.has_more
        here.update((made.cause.shard, block) for block in made.blocks)
        planner.finish(made, dict.fromkeys(made.blocks, (Stage.CACHED, None)))
        return made.blocks

    assert request() == [0]  # the first batch waits for it
    entries = [planner.want(0, block) for block in range(8)]
    assert request() == [*range(1, 8)]
    here.difference_update([(0, 3), (0, 5)])
    planner.fetch_again(entries[3])
    assert request() == [3, 5]
    for entry in entries:
        planner.take(entry)
    assert [request() for _ in range(3)] == [[*range(first, first + 8)] for first in (8, 16, 24)]
    for block in range(8, num_blocks):
        planner.take(planner.want(0, block))
    here.add((1, 5))
    assert request() == [*range(5), *range(6, 16)]
    assert request() == [*range(16, 32)]
    cache.ledger.close()


def test_a_full_cache_is_not_asked_for_space_around_a_block_that_is_here(tmp_path, monkeypatch):
    shards = SimpleNamespace(
        first_block=np.array([0, 8]), block_lengths=np.full(8, 100, np.uint32), size_bytes=np.array([800], np.uint64)
    )
    for max_bytes, expected in ((1599, [2, 3]), (1600, [2, 3, 5, 6, 7])):  # is there space for two shards?
        cache = BlockCache(str(tmp_path / f"{max_bytes}"), max_bytes, "ab" * 16, shards)
        cache.ledger.open_pins()
        monkeypatch.setattr(cache, "find", lambda _, block, **__: (block, 1) if block in (0, 1, 4) else None)
        planner = FetchPlanner(shards, cache, Cache(fetch="shard"))
        planner.announce(iter([(0, [block]) for block in range(8)]))
        assert planner.next_request().blocks == expected
        cache.ledger.close()


class Shared:
    """A full cache of ten blocks in two shards, a planner that uses it, and another process that evicts."""

    def __init__(self, folder: str, fetch: str) -> None:
        shards = SimpleNamespace(
            first_block=np.array([0, 5, 10]), block_lengths=np.full(10, 100, np.uint32), size_bytes=np.array([500] * 2)
        )
        self.mine, self.other = (BlockCache(folder, 1000, "ab" * 16, shards) for _ in range(2))
        for cache in (self.mine, self.other):
            cache.ledger.open_pins()
        for shard, block in np.ndindex(2, 5):
            assert self.other.ledger.reserve(100)
            with contextlib.closing(self.other.begin(shard, block, 1)) as writer:
                assert writer.add(bytes(100))
                assert self.other.finish(writer, shard)
            self.other.ledger.settle(100, 100)
        self.planner = FetchPlanner(shards, self.mine, Cache(fetch=fetch))

    def announce(self, *items):
        self.planner.announce(iter(items))
        assert self.planner.next_request() is None  # all of them are on the disk

    def read(self, shard, block):
        entry = self.planner.want(shard, block)
        if entry.stage is Stage.QUEUED:
            request = self.planner.next_request()
            self.planner.finish(request, {one: (Stage.IN_MEMORY, bytes(100)) for one in request.blocks})
        self.planner.take(entry)

    def evict_all(self):
        """Evict as much as may go; returns what is left."""
        for num_bytes in range(1000, 0, -100):
            self.other.ledger._full_until = 0.0
            if self.other.ledger.reserve(num_bytes):
                self.other.ledger.settle(num_bytes, 0)
                break
        return {(int(s), int(b)) for s, b in np.ndindex(2, 5) if self.other.find(s, b, look=True) is not None}

    def close(self):
        for cache in (self.mine, self.other):
            cache.ledger.close()


@pytest.fixture
def shared(tmp_path, request):
    opened = Shared(str(tmp_path / "shared"), request.param)
    yield opened
    opened.close()


@pytest.mark.parametrize("shared", ["block"], indirect=True)
def test_what_is_announced_and_what_was_read_last_is_not_evicted_and_all_else_is(shared):
    shared.announce((0, [1]), (1, [3]))
    assert shared.evict_all() == {(0, 1), (1, 3)}
    shared.read(0, 1)
    assert shared.evict_all() == {(0, 1), (1, 3)}  # the last one that was read, too
    shared.read(1, 3)
    assert shared.evict_all() == {(1, 3)}
    shared.read(0, 4)
    assert shared.evict_all() == set()


@pytest.mark.parametrize("shared", ["block"], indirect=True)
def test_what_is_announced_no_longer_may_be_evicted(shared):
    shared.announce((0, [1, 3]))
    shared.announce((1, [2]))
    assert shared.evict_all() == {(1, 2)}


@pytest.mark.parametrize("shared", ["shard"], indirect=True)
def test_a_shard_that_is_fetched_whole_is_not_evicted_while_a_block_of_it_is_to_come(shared):
    shared.announce((0, [1]), (0, [2]))
    assert shared.evict_all() == {(0, block) for block in range(5)}
    shared.read(0, 1)
    assert shared.evict_all() == {(0, block) for block in range(5)}
    shared.read(0, 2)
    assert shared.evict_all() == {(0, 2)}
