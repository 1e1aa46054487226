"""Which blocks a request asks for."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.loader.cache.extents import (
    MAX_PASSED,
    MAX_REQUESTS,
    choose_blocks,
    fetches_whole_extents,
    find_extent,
    group_neighbours,
    limit_requests,
)


@st.composite
def shards(draw):
    """(a block, which blocks of its shard are wanted, the most blocks of an extent)."""
    wanted = draw(st.lists(st.sampled_from([True, True, True, False]), min_size=1, max_size=80))
    return draw(st.integers(0, len(wanted) - 1)), wanted, draw(st.integers(1, 100))


@given(st.integers(1, 200), st.integers(1, 100))
def test_extents_cut_a_shard_into_as_few_equal_parts_as_the_limit_allows(num_blocks, most):
    extents = list(dict.fromkeys(find_extent(block, num_blocks, most) for block in range(num_blocks)))
    assert list(itertools.chain(*extents)) == list(range(num_blocks))
    assert len(extents) == -(-num_blocks // most)
    assert max(map(len, extents)) <= most
    assert max(map(len, extents)) - min(map(len, extents)) <= 1


@given(shards(), st.integers(0, 3))
def test_a_request_holds_its_block_and_wanted_ones_near_it_in_its_extent_alone(shard, max_passed):
    block, wanted, most = shard
    extent = find_extent(block, len(wanted), most)
    chosen = choose_blocks(block, extent, wanted.__getitem__, max_passed)
    assert block in chosen
    assert all(other in extent and (other == block or wanted[other]) for other in chosen)
    for one, following in itertools.pairwise(chosen):
        assert following - one - 1 <= max_passed
        assert not any(wanted[between] for between in range(one + 1, following) if between != block)
    for beside in (
        range(max(extent.start, chosen[0] - max_passed - 1), chosen[0]),
        range(chosen[-1] + 1, min(extent.stop, chosen[-1] + max_passed + 2)),
    ):
        assert not any(wanted[other] for other in beside)


@given(shards())
def test_an_extent_takes_one_request_even_around_a_block_that_is_here(shard):
    block, wanted, most = shard
    extent = find_extent(block, len(wanted), most)
    assert choose_blocks(block, extent, lambda _: True, 0) == list(extent)
    is_here = len(wanted) // 2
    chosen = choose_blocks(block, extent, lambda other: other != is_here, MAX_PASSED)
    assert chosen == [other for other in extent if other != is_here or other == block]
    assert len(group_neighbours(chosen)) == 1


@given(st.sets(st.integers(0, 40)))
def test_neighbours_are_grouped(blocks):
    groups = group_neighbours(sorted(blocks))
    assert [block for group in groups for block in group] == sorted(blocks)
    near, far = MAX_PASSED + 1, MAX_PASSED + 2
    assert all(following - one <= near for group in groups for one, following in itertools.pairwise(group))
    assert all(following[0] - group[-1] >= far for group, following in itertools.pairwise(groups))


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.integers(1, 1 << 40))
def test_the_nearer_the_reader_the_more_requests_and_never_none(before, more, ahead):
    assert limit_requests(0, ahead) == MAX_REQUESTS
    assert limit_requests(ahead, ahead) == 1
    assert [limit_requests(far, 1000) for far in (249, 250, 499, 500)] == [MAX_REQUESTS, 2, 2, 1]
    assert MAX_REQUESTS >= limit_requests(before, ahead) >= limit_requests(before + more, ahead) >= 1


def test_whole_extents_are_fetched_where_all_open_shards_fill_half_the_cache():
    for readers, fits in ((1, True), (2, True), (3, False)):
        assert fetches_whole_extents("auto", 8, 100, 3200, readers) is fits
    assert fetches_whole_extents("auto", 16, 100, 3200, 1)
    assert not fetches_whole_extents("auto", 17, 100, 3200, 1)
    assert fetches_whole_extents("shard", 1000, 100, 1, 1)
    assert not fetches_whole_extents("block", 1, 1, 1 << 40, 1)
