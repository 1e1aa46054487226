"""A packed dataset as the loader reads it: blocks, each checked before a row of it is used."""

from __future__ import annotations

import contextlib
import functools
import os
import weakref
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maskmill.pipeline.loader.blocks.shard_files import ShardFiles
from maskmill.pipeline.loader.cache.block_cache import BlockCache
from maskmill.pipeline.loader.cache.cache_settings import Cache
from maskmill.pipeline.loader.cache.cached_table import read_cached_table
from maskmill.pipeline.loader.cache.fetch_blocks import BlockFetcher
from maskmill.pipeline.loader.cache.own_files import find_own_folder
from maskmill.pipeline.masking.fit_vocabulary import make_tables
from maskmill.pipeline.masking.tables import STARTS_WORD, MaskTables
from maskmill.pipeline.storage.datasets import (
    MANIFEST,
    fingerprint_blocks,
    read_manifest,
    read_tokenizer,
    refuse_replaced,
)
from maskmill.pipeline.storage.packed_blocks import PackedBlock, PackedBlocks
from maskmill.pipeline.storage.shard_table import ShardTable, read_shard_table, table_path
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.errors import ConfigError, MaskmillError, ShardCorruptError
from maskmill.schemas.manifest import PackedManifest
from maskmill.schemas.masking import Masking


class PackedDataset:
    """A packed dataset on any store: read in place where it is local, else through a cache on the local disk.

    Args:
        url: Its folder.
        storage_options: For the fsspec file system.
        cache: Of remote blocks; `None` is `Cache()`.
        files: Local shards that are open, of other datasets too; `None` opens its own.

    Raises:
        ConfigError: There is no dataset, or a newer maskmill wrote it.
        ShardCorruptError: Its manifest or table of shards is damaged, or the two contradict each other.
    """

    def __init__(
        self,
        url: str,
        storage_options: dict[str, Any] | None = None,
        cache: Cache | None = None,
        files: ShardFiles | None = None,
    ) -> None:
        self.store = open_store(url, storage_options)
        self.manifest = read_packed_manifest(self.store)
        self._settings = cache or Cache()
        with self._explained(table_path(self.manifest)):
            self.shards = self._read_table()
        self._blocks = PackedBlocks(self.manifest)
        self._files = files or ShardFiles()
        self._fetcher: BlockFetcher | None = None
        self._open_blocks = 1
        self._earlier_seconds, self._earlier_bytes = 0.0, 0

    def _read_table(self) -> ShardTable:
        if self.store.capabilities.local_paths:
            return read_shard_table(self.store, self.manifest)
        patience = self._settings.timeout_seconds
        return read_cached_table(self.store, self.manifest, self._open_cache(), patience)

    @contextlib.contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        """Tell a file that is gone because the dataset was replaced since it was opened from a damaged one."""
        try:
            yield
        except ShardCorruptError:
            refuse_replaced(self.store, self.manifest, path)
            raise

    def make_tables(self, masking: Masking) -> MaskTables:
        """The tables that masks of some settings are drawn from; see `fit_vocabulary.make_tables`."""
        read = partial(read_tokenizer, self.store, self.manifest)
        return make_tables(masking, self.manifest.vocabulary, read, self.store.display_url)

    @property
    def num_rows(self) -> int:
        """Rows of the whole dataset."""
        return int(self.shards.rows.sum())

    @property
    def waited_seconds(self) -> float:
        """How long `read_blocks` waited for storage so far."""
        return self._earlier_seconds + (self._fetcher.waited_seconds if self._fetcher else 0.0)

    @property
    def fetched_bytes(self) -> int:
        """Bytes of blocks that were downloaded so far."""
        return self._earlier_bytes + (self._fetcher.fetched_bytes if self._fetcher else 0)

    def read_blocks(self, shard: int, blocks: Sequence[int], copies: Sequence[int] = ()) -> list[PackedBlock]:
        """Some blocks of a shard, each compared with its checksum and validated.

        Args:
            shard: The shard.
            blocks: The blocks of it.
            copies: Stored masks that are read too.

        Raises:
            ShardCorruptError: A block is not what was written; a remote one is fetched twice first.
            StaleArtifactError: It is gone because the dataset was replaced since it was opened.
            TransientStorageError: A block did not come within the cache's `timeout_seconds`.
        """
        with self._explained(self.shards.path(shard)):
            return self._read_blocks(shard, blocks, copies)

    def _read_blocks(self, shard: int, blocks: Sequence[int], copies: Sequence[int]) -> list[PackedBlock]:
        if self.store.capabilities.local_paths:
            return [self._validate(self._read_local(shard, block), shard, block, copies) for block in blocks]
        fetched = self._open_fetcher().read(shard, blocks)
        read = []
        for block, found in zip(blocks, fetched, strict=True):
            try:
                rows = self._validate(found.data, shard, block, copies)
            except ShardCorruptError:
                if not found.from_disk:
                    raise
                # The copy in the cache is bad: read the block from the store again, without that disk.
                self._open_cache(self.shards).discard(shard, block)
                (found,) = self._open_fetcher().read(shard, [block], bypass_disk=True)
                rows = self._validate(found.data, shard, block, copies)
            read.append(rows)
        return read

    def mark_word_starts(self, block: PackedBlock) -> npt.NDArray[np.bool_]:
        """Whether a word starts at each position of a block, bool (R, S): as it is stored, else as the ids say."""
        if block.word_starts is not None:
            return block.word_starts
        starts: npt.NDArray[np.bool_] = self._word_kinds[block.input_ids] == STARTS_WORD
        return starts

    @functools.cached_property
    def _word_kinds(self) -> npt.NDArray[np.uint8]:
        return MaskTables.build(self.manifest.vocabulary).kinds

    def fetch_ahead(self, upcoming: Iterator[tuple[int, Sequence[int]]]) -> None:
        """Begin to fetch what will be read; nothing to do for a local dataset.

        Args:
            upcoming: (shard, its blocks) in the order in which they will be read, endless or not. It is drawn from
                by other threads as far as the cache allows, one at a time. It replaces what is left of the last one.
        """
        if not self.store.capabilities.local_paths:
            self._open_fetcher().announce(upcoming)

    def require_capacity(self, num_blocks: int) -> None:
        """Refuse a cache that cannot hold the blocks that are open at once.

        Args:
            num_blocks: How many a reader has open where the dataset has so many.

        Raises:
            ConfigError: It cannot.
        """
        if self.store.capabilities.local_paths:
            return
        lengths = self.shards.block_lengths
        num_blocks = min(num_blocks, len(lengths))  # at most all of them; the worst case is the largest ones
        rest = len(lengths) - num_blocks
        largest = np.partition(lengths, rest)[rest:] if rest else lengths
        needed = int(largest.sum(dtype=np.int64))
        if needed > self._settings.max_bytes:
            raise ConfigError(
                "the cache cannot hold the blocks that must be open at once",
                path=self._settings.locate(),
                expected=f"at least {needed} bytes for {num_blocks} blocks of {self.store.display_url}",
                found=f"max_bytes {self._settings.max_bytes}",
                action="raise the cache's max_bytes, or lower partitions or shuffle_blocks",
            )
        self._open_blocks = max(self._open_blocks, num_blocks)
        self._open_fetcher().hold_open(self._open_blocks)

    def close(self) -> None:
        """End the downloads, and close what is open."""
        self._files.close()
        fetcher, self._fetcher = self._fetcher, None
        if fetcher is not None:
            self._earlier_seconds += fetcher.waited_seconds
            self._earlier_bytes += fetcher.fetched_bytes
            fetcher.close()

    def _open_cache(self, shards: ShardTable | None = None) -> BlockCache:
        dataset = fingerprint_blocks(self.manifest)
        folder = find_own_folder(self._settings.locate(), dataset)
        return BlockCache(folder, self._settings.max_bytes, dataset, shards)

    def _open_fetcher(self) -> BlockFetcher:
        # Threads and locks do not survive a fork.
        if self._fetcher is None or self._fetcher.pid != os.getpid():
            self._fetcher = BlockFetcher(self.store, self.shards, self._open_cache(self.shards), self._settings)
            self._fetcher.hold_open(self._open_blocks)
            weakref.finalize(self, self._fetcher.close)  # its threads would keep it alive for ever
        return self._fetcher

    def _validate(self, data: pa.Buffer | bytes, shard: int, block: int, copies: Sequence[int]) -> PackedBlock:
        shards = self.shards
        checksum = int(shards.block_checksums[int(shards.first_block[shard]) + block])
        block_rows = self.manifest.block_rows
        num_rows = min(block_rows, int(shards.rows[shard]) - block * block_rows)
        return self._blocks.read(data, checksum, num_rows, self.store.locate(shards.path(shard)), block, copies)

    def _read_local(self, shard: int, block: int) -> bytes:
        index = int(self.shards.first_block[shard]) + block
        path = self.store.full(self.shards.path(shard))
        length, offset = int(self.shards.block_lengths[index]), int(self.shards.block_offsets[index])
        return self._files.read(path, int(self.shards.size_bytes[shard]), offset, length)


def read_packed_manifest(store: Store) -> PackedManifest:
    """Read the manifest of a packed dataset.

    Raises:
        ConfigError: There is none; for a run's output, the error names the packed datasets in it.
        ShardCorruptError: It is damaged.
    """
    try:
        return read_manifest(store, PackedManifest)
    except ConfigError:
        if names := _list_packed(store):
            raise _explain_output(store, names) from None
        raise


def _list_packed(store: Store) -> list[str]:
    """List the packed datasets in a folder; if there are any, it is the output of a run."""
    with contextlib.suppress(FileNotFoundError, MaskmillError):
        names = [name for name in store.list_names() if name.startswith("packed")]
        return [name for name in names if store.exists(f"{name}/{MANIFEST}")]
    return []


def _explain_output(store: Store, names: Sequence[str]) -> ConfigError:
    return ConfigError(
        "this is the output of a run, not one of its packed datasets",
        path=store.display_url,
        expected=f"a folder with a {MANIFEST}",
        found="one with " + ", ".join(names),
        action="give " + " or ".join(store.locate(name) for name in names),
    )
