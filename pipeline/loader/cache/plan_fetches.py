"""What one request asks for: pure choices about runs of neighbouring blocks of a shard.

A partition reads all blocks of a shard, in permuted order. One request for each block pays the store's latency each
time: of shards of 16 MiB on a loopback server 256 KiB at a time came at 30-60 MB/s, 4 MiB at 500, and long requests
bear the latency of real stores better still. But a long request for one partition keeps the others waiting. So the
blocks that the first batch waits for are asked for alone, and what follows grows.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable

MAX_REQUESTS = 8  # botocore opens no more than 10 connections
RUN_BYTES = 40 << 20
FLOOR_BYTES = 8 << 20
MAX_GAP_BLOCKS = 8  # at 100 MB/s and 20 ms of latency 2 MiB take as long as a request more
_GROWTH = 4


def limit_run(begun_bytes: int, slack_bytes: int, *, is_waited_for: bool) -> int:
    """How many bytes a request for neighbours that were not announced may ask for in all.

    A reader who waits has come to the end of what was fetched ahead: only long requests bring him ahead again. One who
    does not wait must not be made to, by requests for partitions whose turn comes later: `FLOOR_BYTES` (64 partitions
    are then half a gigabyte), four times what came of the shard before, or an open shard's part of all that lies
    between the reader and the block, as he will not get there before.

    Args:
        begun_bytes: What of its shard was asked for already, or is in the cache.
        slack_bytes: What will be read before the block, divided by the shards that are open.
        is_waited_for: Whether a reader waits.

    Returns:
        At most `RUN_BYTES`.
    """
    if is_waited_for:
        return RUN_BYTES
    return min(RUN_BYTES, max(FLOOR_BYTES, _GROWTH * begun_bytes, slack_bytes))


def limit_requests(lead_bytes: int, horizon_bytes: int) -> int:
    """How many requests may be under way, where the next block to ask for is read after `lead_bytes` more.

    All within a quarter of the horizon, two up to half of it, then one. Partitions come to their next shards at the
    same time, and eight requests at once took the cores from a reader who had no need of them: 3 GB of rows from a
    server on the same two cores came in 9.5 s, in bursts of half a second, and come in 8.6.

    Args:
        lead_bytes: What was announced before that block and is not yet read, whether it is here or under way.
        horizon_bytes: The most bytes that may be announced and not yet read.
    """
    if 4 * lead_bytes < horizon_bytes:
        return MAX_REQUESTS
    return 2 if 2 * lead_bytes < horizon_bytes else 1


def extend_run(block: int, num_blocks: int, limit: int, is_wanted: Callable[[int], bool | None]) -> list[int]:
    """The neighbours of a block that are asked for with it: all wanted ones beside it, within its part of the shard.

    A shard has as few equal parts as the limit allows: runs that began anywhere would leave short pieces between them.

    Args:
        block: What the request is for.
        num_blocks: Of the shard.
        limit: The most blocks that a request may ask for.
        is_wanted: Whether a block is to come and has not been asked for; `None` where it is not, but may come again:
            up to `MAX_GAP_BLOCKS` cost less than a second request.

    Returns:
        The wanted ones, ascending.
    """
    parts = -(-num_blocks // max(1, limit))
    part = ((block + 1) * parts - 1) // num_blocks
    found = [block]
    for step, stop in ((-1, part * num_blocks // parts - 1), (1, (part + 1) * num_blocks // parts)):
        last = block
        for other in range(block + step, stop, step):
            wanted = is_wanted(other)
            if wanted:
                found.append(other)
                last = other
            elif wanted is False or abs(other - last) > MAX_GAP_BLOCKS:
                break
    return sorted(found)


def split_runs(blocks: Iterable[int], passed_over: Container[int]) -> list[list[int]]:
    """Cut ascending blocks where one that may not be passed over stands between two of them."""
    runs: list[list[int]] = []
    for block in blocks:
        if runs and all(between in passed_over for between in range(runs[-1][-1] + 1, block)):
            runs[-1].append(block)
        else:
            runs.append([block])
    return runs


def fetches_shards(fetch: str, open_shards: int, shard_bytes: int, max_bytes: int, num_readers: int) -> bool:
    """Whether requests take blocks of a shard that are not announced yet.

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
