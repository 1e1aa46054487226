"""Check the shards of any dataset, block by block, against its manifest and its table of shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import pyarrow as pa

from maskmill.pipeline.storage.arrow_batches import check_block
from maskmill.pipeline.storage.arrow_reader import ArrowFile
from maskmill.pipeline.storage.checksums import check_file, read_span
from maskmill.pipeline.storage.shard_table import SHARD_TABLE, ShardTable, join_names
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.verification.findings import Finding
from maskmill.schemas.errors import RESTORE, MaskmillError, ShardCorruptError, TransientStorageError
from maskmill.schemas.layout import version_of_path

Result = TypeVar("Result")
Block = TypeVar("Block", bound=Sized)
ReadBlock = Callable[[pa.Buffer, int, str, int], Block]
"""Reads a block, given its bytes, its checksum, its file and its number."""


def read_shard(
    store: Store, shards: ShardTable, shard: int, schema: pa.Schema, read: ReadBlock[Block]
) -> Iterator[Block]:
    """Read all blocks of a shard, one at a time, after checking its bytes and its footer.

    Args:
        store: The dataset.
        shards: Its shards.
        shard: The number of the shard.
        schema: The schema that the file must have.
        read: Reads and validates a block, as readers of such shards do.

    Raises:
        ShardCorruptError: Something is not what was written.
    """
    name = shards.path(shard)
    path = store.locate(name)
    try:
        if not store.capabilities.local_paths:
            _check_size(store.size(name), shards, shard, path)  # before it is downloaded
        file = store.open_input(name, whole=True)
    except FileNotFoundError:
        raise ShardCorruptError(
            "the shard is gone",
            path=path,
            expected=f"{shards.size_bytes[shard]} bytes",
            found="no file",
            action=RESTORE,
        ) from None
    with file:
        yield from _read_blocks(file, shards, shard, schema, path, read)


def _check_size(size_bytes: int, shards: ShardTable, shard: int, path: str) -> None:
    if size_bytes != shards.size_bytes[shard]:
        raise ShardCorruptError(
            "the length of the file has changed since it was written",
            path=path,
            expected=f"{shards.size_bytes[shard]} bytes",
            found=str(size_bytes),
            action=RESTORE,
        )


def _read_blocks(
    file: pa.NativeFile, shards: ShardTable, shard: int, schema: pa.Schema, path: str, read: ReadBlock[Block]
) -> Iterator[Block]:
    _check_size(file.size(), shards, shard, path)
    first, stop = int(shards.first_block[shard]), int(shards.first_block[shard + 1])
    spans = np.column_stack([shards.block_offsets[first:stop], shards.block_lengths[first:stop]]).astype(np.int64)
    checksums = shards.block_checksums[first:stop].tolist()
    try:
        check_file(file, shards.checksums[shard].as_py(), path)
    except ShardCorruptError:
        for number, ((offset, length), checksum) in enumerate(zip(spans.tolist(), checksums, strict=True)):
            # Names the wrong block, if there is one.
            check_block(read_span(file, offset, length, path), checksum, path, number)
        raise
    whole = ArrowFile(file, schema, path)
    found = whole.spans
    if not np.array_equal(found, spans):
        raise ShardCorruptError(
            "the blocks of the file differ from the table of shards",
            path=path,
            expected=f"{len(spans)} blocks, each where the table says",
            found=f"{len(found)} blocks" if len(found) != len(spans) else "some of them in other places",
            action=RESTORE,
        )
    rows = 0
    for number, ((offset, length), checksum) in enumerate(zip(spans.tolist(), checksums, strict=True)):
        data = read_span(file, offset, length, path)
        block = read(data, checksum, path, number)
        whole.check_place(number, data)
        rows += len(block)
        yield block
    if rows != shards.rows[shard]:
        raise ShardCorruptError(
            "the file and the table of shards disagree on the number of rows",
            path=path,
            expected=str(shards.rows[shard]),
            found=str(rows),
            action=RESTORE,
        )


def check_each_shard(
    store: Store,
    shards: ShardTable,
    check: Callable[[int], tuple[Result, list[Finding]]],
    progress: Callable[[int, int], None],
    threads: int,
) -> Iterator[tuple[int, Result | None, list[Finding]]]:
    """Check shards in parallel; a shard that cannot be read is a finding, and the others continue.

    Args:
        store: The dataset.
        shards: Its shards.
        check: Checks the shard with this number; Arrow, xxhash and the compiled checks release the GIL.
        progress: Callback that receives the numbers of finished and of all shards.
        threads: Number of threads; each holds one shard.
    """

    def guarded(shard: int) -> tuple[int, Result | None, list[Finding]]:
        try:
            return (shard, *check(shard))
        except TransientStorageError:
            raise
        except MaskmillError as error:
            return shard, None, [Finding.of(error, store.locate(shards.path(shard)))]

    with ThreadPoolExecutor(threads) as pool:
        for done, outcome in enumerate(pool.map(guarded, range(len(shards))), 1):
            progress(done, len(shards))
            yield outcome


def find_strangers(store: Store, shards: ShardTable) -> list[Finding]:
    """Find shards in a dataset's folder that are not in its table: a reader that uses a glob would read them.

    Files of other versions, which lie in other folders, are not among them.
    """
    named = {join_names(shards.folder, name) for name in (*shards.paths.to_pylist(), SHARD_TABLE)}
    return [
        Finding(store.locate(path), "a shard that is not in the table of shards")
        for path in store.list()
        if path.endswith(".arrow") and path not in named and version_of_path(path) in (None, shards.folder)
    ]


def find_misnumbered(store: Store, shards: ShardTable) -> list[Finding]:
    """Find the first shard whose row numbers neither follow the shard before it nor begin the next document shard.

    Row r of document shard s has the number s * 2^32 + r, so no two rows of a dataset have the same number.
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
