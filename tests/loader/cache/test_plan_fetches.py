"""Which blocks a request asks for."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.loader.cache.plan_fetches import (
    FLOOR_BYTES,
    MAX_GAP_BLOCKS,
    MAX_REQUESTS,
    RUN_BYTES,
    extend_run,
    fetches_shards,
    limit_requests,
    limit_run,
    split_runs,
)

MiB = 1 << 20


@st.composite
def shards(draw):
    """(a block, blocks of the shard, limit, what each block is: wanted, passed over or neither)."""
    states = draw(st.lists(st.sampled_from([True, True, True, None, False]), min_size=1, max_size=80))
    return draw(st.integers(0, len(states) - 1)), len(states), draw(st.integers(1, 100)), states


@given(shards())
def test_a_run_holds_its_block_and_wanted_neighbours_alone(shard):
    block, num_blocks, limit, states = shard
    run = extend_run(block, num_blocks, limit, states.__getitem__)
    assert block in run
    assert run == sorted(set(run))
    assert len(run) <= limit
    assert run[-1] - run[0] < limit
    assert all(states[other] is True for other in run if other != block)
    between = set(range(run[0], run[-1])) - set(run)
    assert all(states[other] is None for other in between)
    assert all(later - earlier <= MAX_GAP_BLOCKS + 1 for earlier, later in itertools.pairwise(run))


@given(shards())
def test_runs_for_all_wanted_blocks_are_as_few_as_the_limit_allows(shard):
    _, num_blocks, limit, _ = shard
    left = set(range(num_blocks))
    runs = 0
    for block in sorted(left, key=lambda block: block * 37 % num_blocks):
        if block in left:
            left -= set(extend_run(block, num_blocks, limit, left.__contains__))
            runs += 1
    assert runs == -(-num_blocks // limit)
    assert not left


@given(st.sets(st.integers(0, 40), min_size=1), st.sets(st.integers(0, 40)))
def test_a_run_is_cut_where_a_block_between_may_not_be_passed_over(blocks, passed_over):
    parts = split_runs(sorted(blocks), passed_over)
    assert [block for part in parts for block in part] == sorted(blocks)
    for part in parts:
        assert set(range(part[0], part[-1])) <= blocks | passed_over
    for part, following in itertools.pairwise(parts):
        assert not set(range(part[-1] + 1, following[0])) <= passed_over


def test_requests_grow_with_what_came_and_with_the_distance_of_the_reader():
    assert limit_run(0, 0, is_waited_for=False) == FLOOR_BYTES
    assert limit_run(3 * MiB, 0, is_waited_for=False) == 12 * MiB
    assert limit_run(3 * MiB, 20 * MiB, is_waited_for=False) == 20 * MiB
    assert limit_run(0, 1 << 40, is_waited_for=False) == RUN_BYTES
    assert limit_run(0, 0, is_waited_for=True) == RUN_BYTES


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.integers(1, 1 << 40))
def test_the_nearer_the_reader_the_more_requests_and_never_none(lead, more, horizon):
    assert limit_requests(0, horizon) == MAX_REQUESTS
    assert limit_requests(horizon, horizon) == 1
    assert [limit_requests(far, 1000) for far in (249, 250, 499, 500)] == [MAX_REQUESTS, 2, 2, 1]
    assert MAX_REQUESTS >= limit_requests(lead, horizon) >= limit_requests(lead + more, horizon) >= 1


def test_whole_shards_come_where_all_that_are_open_fill_half_the_cache():
    for readers, room in ((1, True), (2, True), (3, False)):
        assert fetches_shards("auto", 8, 100, 3200, readers) is room
    assert fetches_shards("auto", 16, 100, 3200, 1)
    assert not fetches_shards("auto", 17, 100, 3200, 1)
    assert fetches_shards("shard", 1000, 100, 1, 1)
    assert not fetches_shards("block", 1, 1, 1 << 40, 1)
