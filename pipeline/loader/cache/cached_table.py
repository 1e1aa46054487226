"""The table of shards of a remote dataset, mapped from a copy in the cache: of 10^9 rows it has some 150 MB."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

import xxhash

from maskmill.pipeline.loader.cache.block_cache import BlockCache
from maskmill.pipeline.loader.cache.cache_locks import Claim
from maskmill.pipeline.loader.cache.evict_blocks import TABLE_SHARD
from maskmill.pipeline.loader.cache.own_files import is_own_file
from maskmill.pipeline.storage.shard_table import (
    MAX_TABLE_BYTES,
    SHARD_TABLE,
    ShardTable,
    read_shard_table,
    table_path,
)
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.errors import RESTORE, MaskmillError, ShardCorruptError
from maskmill.schemas.manifest import PackedManifest

_PIECE_BYTES = 8 << 20
_LOOK_SECONDS = 0.02


def read_cached_table(store: Store, manifest: PackedManifest, cache: BlockCache, patience_seconds: float) -> ShardTable:
    """Read `shards.arrow`, checked against the manifest, through the cache where it fits there.

    Args:
        store: The dataset's.
        manifest: Its manifest.
        cache: Where the copy is kept.
        patience_seconds: How long another process that downloads it is waited for.

    Raises:
        ShardCorruptError: It is missing, has changed, or names a path outside the dataset.
        TransientStorageError: The store failed every attempt.
    """
    table = _read_copy(manifest, cache)
    if table is not None:
        return table
    claim = _claim(cache, patience_seconds)
    if claim is not None:
        with claim, contextlib.closing(cache.ledger):
            cache.ledger.open_pins()  # its reservation counts as long as this process lives
            table = _read_copy(manifest, cache)  # another process may have copied it meanwhile
            if table is None and _copy_table(store, manifest, cache):
                table = _read_copy(manifest, cache)
    # Errors then name the dataset's own file.
    return read_shard_table(store, manifest) if table is None else table


def _read_copy(manifest: PackedManifest, cache: BlockCache) -> ShardTable | None:
    """Read the table from the cache; `None` if it is not here or cannot be read."""
    path = cache.locate(TABLE_SHARD, 0)
    try:
        if not is_own_file(os.lstat(path)):
            return None
    except OSError:
        return None
    try:
        table = read_shard_table(open_store(cache.dataset_folder), manifest, SHARD_TABLE)
    except MaskmillError:
        cache.discard(TABLE_SHARD, 0)
        return None
    with contextlib.suppress(OSError):  # a read-only disk
        os.utime(path, follow_symlinks=False)  # mark as used: the least recently used files are evicted first
    return table


def _claim(cache: BlockCache, patience_seconds: float) -> Claim | None:
    deadline = time.monotonic() + patience_seconds
    while (claim := cache.claim(TABLE_SHARD, [0])) is None and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    return claim


def _copy_table(store: Store, manifest: PackedManifest, cache: BlockCache) -> bool:
    try:
        size = store.size(table_path(manifest))
        if size > MAX_TABLE_BYTES or not cache.ledger.reserve(size):
            return False
        written = 0
        try:
            with contextlib.closing(cache.begin(TABLE_SHARD, 0, 1)) as writer:
                if all(map(writer.add, _iter_pieces(store, manifest, size))) and writer.finish():
                    written = size
        finally:
            cache.ledger.settle(size, written)
    except (FileNotFoundError, ShardCorruptError):
        return False
    return bool(written)


def _iter_pieces(store: Store, manifest: PackedManifest, size: int) -> Iterator[bytes]:
    """Read the table in pieces, never 150 MB at once; raises at its end if its checksum is wrong."""
    digest, path = xxhash.xxh3_128(), table_path(manifest)
    for offset in range(0, size, _PIECE_BYTES):
        piece = store.read_range(path, offset, min(_PIECE_BYTES, size - offset))
        digest.update(piece)
        yield piece
    if digest.hexdigest() != manifest.shards_checksum:
        raise ShardCorruptError("the bytes of a file have changed", path=store.locate(path), action=RESTORE)
