"""What one request asks for, and how many requests run at once: pure choices.

A shard is cut into extents: as few equal parts as possible, of at most 8 MiB. A partition reads all blocks of a shard
in permuted order. One request for each block pays the store's latency each time: from a loopback server 256 KiB at a
time came at 30-60 MB/s, several MiB at 300-500. But a long request for one partition keeps the others waiting. So the
blocks that the first batch waits for are asked for one by one, and everything after them extent by extent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

EXTENT_BYTES = 8 << 20
MAX_REQUESTS = 8  # botocore opens no more than 10 connections


def find_extent(block: int, num_blocks: int, most: int) -> range:
    """The extent that a block lies in.

    Args:
        block: Its number in its shard.
        num_blocks: Of the shard.
        most: The most blocks of an extent.
    """
    parts = -(-num_blocks // max(1, most))
    part = ((block + 1) * parts - 1) // num_blocks
    return range(part * num_blocks // parts, (part + 1) * num_blocks // parts)


def choose_blocks(block: int, extent: range, is_wanted: Callable[[int], bool]) -> list[int]:
    """A block and all wanted ones beside it in its extent, ascending.

    Args:
        block: What the request is for.
        extent: Where it lies.
        is_wanted: Whether another block is to come and has not been asked for.
    """
    first, stop = block, block + 1
    while first > extent.start and is_wanted(first - 1):
        first -= 1
    while stop < extent.stop and is_wanted(stop):
        stop += 1
    return list(range(first, stop))


def group_neighbours(blocks: Iterable[int]) -> list[list[int]]:
    """Cut ascending blocks where one lies between two of them."""
    groups: list[list[int]] = []
    for block in blocks:
        if groups and groups[-1][-1] + 1 == block:
            groups[-1].append(block)
        else:
            groups.append([block])
    return groups


def limit_requests(bytes_before: int, max_bytes_ahead: int) -> int:
    """How many requests may run at once, where the next one is for a block that is read after `bytes_before` more.

    All within the first quarter of what may be announced ahead, two up to half of it, then one. Partitions come to
    their next shards at the same time, and eight requests at once took the cores from a reader that did not need them:
    3 GB of rows from a server on the same two cores came in 9.5 s, in bursts of half a second, and come in 8.6.

    Args:
        bytes_before: What was announced before that block and is not yet read, here already or not.
        max_bytes_ahead: The most bytes that may be announced and not yet read.
    """
    if 4 * bytes_before < max_bytes_ahead:
        return MAX_REQUESTS
    return 2 if 2 * bytes_before < max_bytes_ahead else 1


def fetches_whole_extents(fetch: str, open_shards: int, shard_bytes: int, max_bytes: int, num_readers: int) -> bool:
    """Whether requests also take blocks of an extent that are not announced yet.

    `auto` does where the shards that all processes of the node have open fill at most half of the cache: the other
    half is for what they have read and others still want.

    Args:
        fetch: `auto`, `block` or `shard`.
        open_shards: Distinct shards among what this process announced.
        shard_bytes: Of the largest.
        max_bytes: Of the cache.
        num_readers: Processes that share it.
    """
    if fetch != "auto":
        return fetch == "shard"
    return 2 * open_shards * shard_bytes * num_readers <= max_bytes
