"""What holds for the shards of every dataset: the files are those the manifest speaks of, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import pyarrow as pa

from pipeline.storage.arrow_files import check_bytes, read_block
from pipeline.storage.datasets import SHARD_TABLE, ShardTable
from pipeline.storage.store import Store
from pipeline.verification.findings import Finding
from schemas.errors import RESTORE, ShardCorruptError

Result = TypeVar("Result")


def read_shard(store: Store, shards: ShardTable, shard: int, schema: pa.Schema) -> list[pa.RecordBatch]:
    """All blocks of a shard after checking the file, its footer and every block.

    Raises:
        ShardCorruptError: Something is not what was written.
    """
    name = shards.path(shard)
    path = store.locate(name)
    try:
        data = store.map_file(name)
    except FileNotFoundError:
        raise ShardCorruptError(
            "the shard is gone",
            path=path,
            expected=f"{shards.size_bytes[shard]} bytes",
            found="no file",
            action=RESTORE,
        ) from None
    if data.size != shards.size_bytes[shard]:
        raise ShardCorruptError(
            "the file has another length than when it was written",
            path=path,
            expected=f"{shards.size_bytes[shard]} bytes",
            found=str(data.size),
            action=RESTORE,
        )
    first, stop = int(shards.first_block[shard]), int(shards.first_block[shard + 1])
    blocks = [
        read_block(
            data.slice(int(shards.block_offsets[index]), int(shards.block_lengths[index])),
            schema,
            int(shards.block_checksums[index]),
            path,
            index - first,
        )
        for index in range(first, stop)
    ]
    check_bytes(data, shards.checksums[shard].as_py(), path)
    reader = pa.ipc.open_file(pa.BufferReader(data))
    if not reader.schema.equals(schema, check_metadata=True):
        raise ShardCorruptError(
            "the schema is another one",
            path=path,
            expected=str(schema),
            found=str(reader.schema),
            action=RESTORE,
        )
    if reader.num_record_batches != len(blocks):
        raise ShardCorruptError(
            "the file has not as many blocks as the table of shards",
            path=path,
            expected=str(len(blocks)),
            found=str(reader.num_record_batches),
            action=RESTORE,
        )
    rows = sum(block.num_rows for block in blocks)
    if rows != shards.rows[shard]:
        raise ShardCorruptError(
            "the rows are not as many as the table of shards says",
            path=path,
            expected=str(shards.rows[shard]),
            found=str(rows),
            action=RESTORE,
        )
    return blocks


def check_each_shard(
    store: Store,
    shards: ShardTable,
    check: Callable[[int], tuple[Result, list[Finding]]],
    progress: Callable[[int, int], None],
    threads: int,
) -> Iterator[tuple[int, Result | None, list[Finding]]]:
    """Check shards side by side; a shard that cannot be read is a finding and the others go on.

    Args:
        store: The dataset.
        shards: Its shards.
        check: Takes the number of a shard; Arrow, xxhash and the compiled checks let other threads run.
        progress: Callback that receives how many shards of how many are done.
        threads: How many at a time; each holds one shard.
    """

    def guarded(shard: int) -> tuple[int, Result | None, list[Finding]]:
        try:
            return (shard, *check(shard))
        except ShardCorruptError as error:
            return shard, None, [Finding.of(error, store.locate(shards.path(shard)))]

    with ThreadPoolExecutor(threads) as pool:
        for done, outcome in enumerate(pool.map(guarded, range(len(shards))), 1):
            progress(done, len(shards))
            yield outcome


def find_strangers(store: Store, shards: ShardTable) -> list[Finding]:
    """Shards that stand in a dataset's folder and are not in its table: a reader that takes a glob would read them."""
    named = set(shards.paths.to_pylist())
    return [
        Finding(store.locate(path), "a shard that the table of shards does not name")
        for path in store.list()
        if path.endswith(".arrow") and path not in named and path != SHARD_TABLE
    ]


def find_misnumbered(store: Store, shards: ShardTable) -> list[Finding]:
    """The first shard whose rows are not numbered on from those before it, or from the next document shard's first.

    Row r of document shard s has the number s * 2^32 + r, so no two rows of a dataset have the same.
    """
    first, rows = shards.first_row_id, shards.rows.astype(np.uint64)
    if not len(shards):
        return []
    next_shard = ((first[:-1] >> np.uint64(32)) + np.uint64(1)) << np.uint64(32)
    follows = (first[1:] == next_shard) | ((first[1:] == first[:-1] + rows[:-1]) & (rows[:-1] > 0))
    wrong = np.flatnonzero(~np.append(first[0] == 0, follows))
    return [
        Finding(store.locate(shards.path(shard)), f"its first row has number {first[shard]}, which does not follow")
        for shard in wrong[:1].tolist()
    ]
