"""A packed dataset as the loader reads it: blocks, each checked before a row of it is used."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.masking.tables import MaskTables
from pipeline.storage.arrow_files import read_block
from pipeline.storage.datasets import SHARD_TABLE, read_manifest, read_shard_table
from pipeline.storage.store import open_store
from schemas.errors import ShardCorruptError
from schemas.manifest import PackedManifest
from schemas.rows import packed_row_schema

MAX_OPEN_SHARDS = 1024  # memory maps; a Linux process may hold 65,530 regions
FETCH_THREADS = 8


class PackedDataset:
    """A packed dataset on any store.

    Args:
        url: Its folder.
        storage_options: For the fsspec file system.

    Raises:
        ConfigError: There is no dataset, or a newer maskmill wrote it.
        ShardCorruptError: Its manifest or table of shards is damaged, or the two contradict each other.
    """

    def __init__(self, url: str, storage_options: dict[str, Any] | None = None) -> None:
        self.store = open_store(url, storage_options)
        self.manifest = read_manifest(self.store, PackedManifest)
        self.shards = read_shard_table(self.store, self.manifest)
        self._check_blocks()
        self.tables = MaskTables.build(self.manifest.vocabulary)
        self.schema = packed_row_schema(
            self.manifest.seq_len, self.manifest.vocabulary.vocab_size, self.manifest.copies
        )
        self._open: OrderedDict[int, pa.Buffer] = OrderedDict()
        self._threads: ThreadPoolExecutor | None = None
        self._fetching: dict[tuple[int, int], Future[bytes]] = {}

    @property
    def num_rows(self) -> int:
        """Rows of the whole dataset."""
        return int(self.shards.rows.sum())

    def read_blocks(self, shard: int, blocks: Sequence[int]) -> list[pa.RecordBatch]:
        """Some blocks of a shard, each compared with its checksum.

        Raises:
            ShardCorruptError: A block is not what was written; a remote one is fetched twice first.
            TransientStorageError: The store failed every attempt.
        """
        self.prefetch(shard, blocks)
        return [self._check_block(shard, block) for block in blocks]

    def prefetch(self, shard: int, blocks: Sequence[int]) -> None:
        """Begin to download blocks that will be wanted soon; nothing to do for local files."""
        if self.store.is_local:
            return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(FETCH_THREADS, thread_name_prefix="maskmill-fetch")
        for block in blocks:
            if (shard, block) not in self._fetching:
                self._fetching[shard, block] = self._threads.submit(self._download, shard, block)

    def forget(self, shard: int, blocks: Sequence[int]) -> None:
        """Drop downloads that are no longer wanted; whoever wants one after all begins it again."""
        for block in blocks:
            future = self._fetching.pop((shard, block), None)
            if future is not None:
                future.cancel()

    def close(self) -> None:
        """End the downloads; the memory maps go with the object."""
        self._fetching.clear()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    def _check_blocks(self) -> None:
        block_rows = self.manifest.block_rows
        rows = self.shards.rows
        if block_rows < 1 or not np.array_equal(np.diff(self.shards.first_block), -(-rows // max(1, block_rows))):
            raise ShardCorruptError(
                "the table of shards has other numbers of blocks than its rows make",
                path=self.store.locate(SHARD_TABLE),
                expected=f"{block_rows} rows in every block but the last of a shard",
                action="write the dataset again",
            )
        if int(rows.sum()) != self.manifest.counts.rows:
            raise ShardCorruptError(
                "the table of shards has another number of rows than the manifest",
                path=self.store.locate(SHARD_TABLE),
                expected=f"{self.manifest.counts.rows}",
                found=f"{int(rows.sum())}",
                action="write the dataset again",
            )

    def _check_block(self, shard: int, block: int) -> pa.RecordBatch:
        batch = self._read_block(shard, block)
        block_rows = self.manifest.block_rows
        expected = min(block_rows, int(self.shards.rows[shard]) - block * block_rows)
        if batch.num_rows != expected:
            raise ShardCorruptError(
                "a block has another number of rows than the table of shards says",
                path=self.store.locate(self.shards.path(shard)),
                place=f"block {block}",
                expected=f"{expected}",
                found=f"{batch.num_rows}",
                action="write the dataset again",
            )
        return batch

    def _read_block(self, shard: int, block: int) -> pa.RecordBatch:
        index = int(self.shards.first_block[shard]) + block
        checksum = int(self.shards.block_checksums[index])
        path = self.store.locate(self.shards.path(shard))
        if self.store.is_local:
            return read_block(self._slice_local(shard, index, path), self.schema, checksum, path, block)
        data = self._fetching.pop((shard, block)).result()
        try:
            return read_block(data, self.schema, checksum, path, block)
        except ShardCorruptError:
            return read_block(self._download(shard, block), self.schema, checksum, path, block)

    def _download(self, shard: int, block: int) -> bytes:
        index = int(self.shards.first_block[shard]) + block
        path = self.shards.path(shard)
        offset, length = int(self.shards.block_offsets[index]), int(self.shards.block_lengths[index])
        try:
            return self.store.read_range(path, offset, length)
        except FileNotFoundError:
            raise _gone(self.store.locate(path)) from None

    def _slice_local(self, shard: int, index: int, path: str) -> pa.Buffer:
        buffer = self._open.get(shard)
        if buffer is None:
            try:
                buffer = self.store.map_file(self.shards.path(shard))
            except FileNotFoundError:
                raise _gone(path) from None
            expected = int(self.shards.size_bytes[shard])
            if buffer.size != expected:
                raise ShardCorruptError(
                    "a shard has another length than when it was written",
                    path=path,
                    expected=f"{expected} bytes",
                    found=f"{buffer.size}",
                    action="restore the file from a good copy, or write the dataset again",
                )
            self._open[shard] = buffer
            if len(self._open) > MAX_OPEN_SHARDS:
                self._open.popitem(last=False)
        else:
            self._open.move_to_end(shard)
        return buffer.slice(int(self.shards.block_offsets[index]), int(self.shards.block_lengths[index]))


def _gone(path: str) -> ShardCorruptError:
    return ShardCorruptError(
        "a shard that the manifest names is gone",
        path=path,
        action="restore the file from a good copy, or write the dataset again",
    )


def row_matrix(batch: pa.RecordBatch, seq_len: int) -> npt.NDArray[Any]:
    """The token ids of a block as `(rows, S)` uint16 or uint32, without a copy."""
    # `flatten()` goes through a compute kernel, 70 us; a block is never a slice, so its values are its rows.
    matrix: npt.NDArray[Any] = batch.column("input_ids").values.to_numpy(zero_copy_only=True).reshape(-1, seq_len)
    return matrix


def list_column(batch: pa.RecordBatch, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """A list column of a block as `(rows + 1,)` int32 offsets and flat values, without a copy."""
    column = batch.column(name)
    return column.offsets.to_numpy(zero_copy_only=True), column.values.to_numpy(zero_copy_only=True)
