"""What one request asks for, and how many requests run at once: pure choices.

A shard is cut into extents: as few equal parts as possible, of at most 8 or 16 MiB. A partition reads all blocks of a
shard in permuted order. One request for each block pays the store's latency each time: from a loopback server 256 KiB
at a time came at 30-60 MB/s, several MiB at 300-500. But a long request for one partition keeps the others waiting, and
at the start all of them wait. So the blocks that the first batch waits for are asked for one by one, then extents of 8
MiB, and after as much as is read ahead extents of 16 MiB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

FIRST_EXTENT_BYTES = 8 << 20
EXTENT_BYTES = 16 << 20
MAX_PASSED = 1  # blocks that are here already, between two of a request
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


def choose_blocks(block: int, extent: range, is_wanted: Callable[[int], bool], max_passed: int) -> list[int]:
    """A block and the wanted ones near it in its extent, ascending.

    The block that the first batch needed lies somewhere in its extent. To transfer it once more takes less time than a
    second request.

    Args:
        block: What the request is for.
        extent: Where it lies.
        is_wanted: Whether another block is to come and has not been asked for.
        max_passed: The most unwanted blocks between two chosen ones.
    """
    before = _take_near(range(block - 1, extent.start - 1, -1), is_wanted, max_passed)
    after = _take_near(range(block + 1, extent.stop), is_wanted, max_passed)
    return [*reversed(before), block, *after]


def _take_near(blocks: range, is_wanted: Callable[[int], bool], max_passed: int) -> list[int]:
    near: list[int] = []
    num_passed = 0
    for block in blocks:
        if is_wanted(block):
            near.append(block)
            num_passed = 0
        else:
            num_passed += 1
            if num_passed > max_passed:
                break
    return near


def group_neighbours(blocks: Iterable[int]) -> list[list[int]]:
    """Cut ascending blocks where more than one lies between two of them: each group takes one request."""
    groups: list[list[int]] = []
    for block in blocks:
        if groups and block - groups[-1][-1] - 1 <= MAX_PASSED:
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
