"""Which files a cache folder has, which of them may be evicted, and what dead processes left there.

    <folder>/<fingerprint of a dataset>/shards.arrow              its table of shards
    <folder>/<fingerprint of a dataset>/0000012/00003+2.block     of shard 12 the blocks 3 and 4, end to end

Only files of exactly these names, and their unfinished predecessors, are ever evicted. Beside them the folder has
`ledger`, `claims` and `pins/`, which do not count; whatever else lies there stays.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from maskmill.pipeline.loader.cache.cache_locks import number_block, number_shard
from maskmill.pipeline.loader.cache.own_files import open_own_folder
from maskmill.pipeline.storage.local_files import is_partial
from maskmill.pipeline.storage.shard_table import SHARD_TABLE

TABLE_SHARD = -1
_DATASET = re.compile(r"[0-9a-f]{32}")
_SHARD = re.compile(r"\d{7,}")
_BLOCKS = re.compile(r"(\d{5,})\+([1-9]\d*)\.block(\.[0-9a-f]{32}\.partial)?")


@dataclass(frozen=True)
class CachedFile:
    """A file that a cache wrote.

    Attributes:
        path: Absolute.
        shard_number: The pin that keeps all of its shard.
        block_number: The pin that keeps its first block; also what its writer holds claimed.
        num_blocks: How many blocks it holds; their numbers follow.
        size_bytes: Its length.
        used_at_ns: When it was last asked for, by the clock of the file system.
        partial: Whether it is still being written, or was when its writer died.
    """

    path: str
    shard_number: int
    block_number: int
    num_blocks: int
    size_bytes: int
    used_at_ns: int
    partial: bool


def name_blocks(first: int, count: int) -> str:
    """Name of the file of some neighbouring blocks."""
    return f"{first:05d}+{count}.block"


def list_runs(folder: str) -> list[tuple[int, int]]:
    """(first block, how many) of each file of blocks in a shard's folder, sorted as `sort_runs` does."""
    try:
        inside = open_own_folder(folder)
    except OSError:
        return []
    try:
        found = [_BLOCKS.fullmatch(name) for name in os.listdir(inside)]
    finally:
        os.close(inside)
    return sort_runs((int(name[1]), int(name[2])) for name in found if name and not name[3])


def sort_runs(runs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The order in which files are searched for a block: a small one replaces a bad block of a larger one."""
    return sorted(runs, key=lambda run: (run[1], run[0]))


def list_cached(folder: str) -> Iterator[CachedFile]:
    """Every file below a cache folder that the cache wrote; 130,000 of them take half a second."""
    for dataset in _scan(folder):
        if not _DATASET.fullmatch(dataset.name) or not dataset.is_dir(follow_symlinks=False):
            continue
        for entry in _scan(dataset.path):
            if _SHARD.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                yield from _list_shard(entry.path, dataset.name, int(entry.name))
            elif entry.name == SHARD_TABLE or (entry.name.startswith(f"{SHARD_TABLE}.") and is_partial(entry.name)):
                yield from _describe(entry, dataset.name, TABLE_SHARD, 0, 1, partial=entry.name != SHARD_TABLE)


def choose_victims(files: Iterable[CachedFile], pinned: Collection[int], excess_bytes: int) -> list[CachedFile]:
    """The least recently used files that are not pinned, until they make up `excess_bytes` or there are no more."""
    victims = []
    for file in sorted(files, key=lambda file: (file.used_at_ns, file.path)):
        if excess_bytes <= 0:
            break
        numbers = range(file.block_number, file.block_number + file.num_blocks)
        if file.shard_number not in pinned and not any(number in pinned for number in numbers):
            victims.append(file)
            excess_bytes -= file.size_bytes
    return victims


def sweep_partials(files: Iterable[CachedFile], is_claimed: Callable[[int], bool]) -> list[CachedFile]:
    """Delete what dead writers left unfinished; the rest, live writers' included, is returned."""
    left = []
    for file in files:
        if file.partial and not is_claimed(file.block_number):
            delete_cached(file.path)
        else:
            left.append(file)
    return left


def delete_cached(path: str) -> None:
    """Delete a file of blocks, and its shard's folder once that is empty."""
    with contextlib.suppress(OSError):
        os.unlink(path)
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(path))


def _list_shard(folder: str, dataset: str, shard: int) -> Iterator[CachedFile]:
    for entry in _scan(folder):
        found = _BLOCKS.fullmatch(entry.name)
        if found:
            yield from _describe(entry, dataset, shard, int(found[1]), int(found[2]), partial=found[3] is not None)


def _describe(
    entry: os.DirEntry[str], dataset: str, shard: int, block: int, count: int, *, partial: bool
) -> Iterator[CachedFile]:
    with contextlib.suppress(OSError):
        if entry.is_file(follow_symlinks=False):
            status = entry.stat(follow_symlinks=False)
            numbers = number_shard(dataset, shard), number_block(dataset, shard, block)
            yield CachedFile(entry.path, *numbers, count, status.st_size, status.st_mtime_ns, partial)


def _scan(folder: str) -> Iterator[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        yield from entries
