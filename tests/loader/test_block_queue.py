"""What is asked for next, where the reader's wish and a request under way meet."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.loader import Cache
from pipeline.loader.cache.block_cache import BlockCache
from pipeline.loader.cache.block_queue import BlockQueue
from pipeline.loader.cache.upcoming_blocks import Stage

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
    assert queue.memory_bytes == 0
    assert queue.next_run() is None


def test_a_block_that_is_held_in_memory_is_not_asked_for_again_and_counted_once(queue):
    first = queue.want(0, 2)
    run = queue.next_run()
    queue.finish(run, {2: (Stage.HELD, bytes(100))})
    assert queue.want(0, 2, fresh=True) is first
    assert queue.next_run() is None
    queue.take(first)
    assert queue.memory_bytes == 0
