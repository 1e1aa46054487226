"""What is asked for next, where the reader's wish and a request under way meet."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from maskmill.pipeline.loader import Cache
from maskmill.pipeline.loader.cache.block_cache import BlockCache
from maskmill.pipeline.loader.cache.block_queue import BlockQueue
from maskmill.pipeline.loader.cache.upcoming_blocks import Stage

SHARDS = SimpleNamespace(
    first_block=np.array([0, 4]), block_lengths=np.full(4, 100, np.uint32), size_bytes=np.array([400], np.uint64)
)


@pytest.fixture
def queue(tmp_path):
    cache = BlockCache(str(tmp_path / "c"), 1000, "ab" * 16, SHARDS)
    cache.ledger.open_board()
    yield BlockQueue(SHARDS, cache, Cache(fetch="block"))
    cache.ledger.close()


def test_a_bad_copy_that_is_being_fetched_already_is_not_asked_for_twice(queue):
    first = queue.want(0, 2)
    run = queue.next_run()
    assert run.blocks == [2]
    assert queue.want(0, 2, fresh=True) is first
    assert queue.next_run() is None
    queue.finish(run, {2: (Stage.HELD, bytes(100))})
    assert first.stage is Stage.HELD


def test_a_bad_copy_is_not_taken_from_the_disk_even_if_it_was_just_written_anew(queue):
    first = queue.want(0, 2)
    run = queue.next_run()
    queue.want(0, 2, fresh=True)
    queue.finish(run, {2: (Stage.CACHED, None)})
    again = queue.next_run()
    assert again.cause is first
    assert again.cause.fresh
    queue.finish(again, {2: (Stage.HELD, bytes(100))})
    queue.take(first)
    assert queue.bytes_under_way == 0
    assert queue.next_run() is None


def test_a_block_that_is_held_in_memory_is_not_asked_for_again_and_counted_once(queue):
    first = queue.want(0, 2)
    run = queue.next_run()
    queue.finish(run, {2: (Stage.HELD, bytes(100))})
    assert queue.want(0, 2, fresh=True) is first
    assert queue.next_run() is None
    queue.take(first)
    assert queue.bytes_under_way == 0


def test_what_is_far_from_the_reader_waits_for_requests_that_are_nearer(queue):
    queue.announce(iter([(0, [block]) for block in range(4)]))  # of which the horizon, 250 bytes, admits three
    near, next_one = queue.next_run(), queue.next_run()
    assert (near.blocks, next_one.blocks) == ([0], [1])
    assert queue.next_run() is None
    queue.finish(near, {0: (Stage.HELD, bytes(100))})
    assert queue.next_run() is None
    queue.finish(next_one, {1: (Stage.HELD, bytes(100))})
    far = queue.next_run()
    assert far.blocks == [2]
    urgent = queue.want(0, 3)
    assert queue.next_run().cause is urgent


def test_a_reader_who_comes_nearer_is_asked_for_more_at_once(queue):
    queue.announce(iter([(0, [block]) for block in range(4)]))
    assert [queue.next_run().blocks for _ in range(2)] == [[0], [1]]
    assert queue.next_run() is None
    for block in range(2):
        queue.take(queue.want(0, block))
    assert queue.next_run().blocks == [2]


def test_a_reader_who_waits_is_not_made_to_wait_for_one_request_at_a_time(queue):
    queue.announce(iter([(0, [block]) for block in range(4)]))
    assert [queue.next_run().blocks for _ in range(2)] == [[0], [1]]
    queue.is_waited_for = True
    assert queue.next_run().blocks == [2]


def test_what_was_put_off_comes_before_what_was_announced_since(queue):
    queue.announce(iter([(0, [block]) for block in range(4)]))
    put_off = [queue.next_run() for _ in range(2)]
    for run in put_off:
        queue.finish(run, dict.fromkeys(run.blocks, (Stage.LATER, None)))
        run.cause.check_at = 0.0
    assert [queue.next_run().blocks for _ in range(2)] == [[0], [1]]
    assert queue.next_run() is None  # block 2 is far
