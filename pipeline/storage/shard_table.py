"""The table of a dataset's shards, written and read as columns: 100,000 shards take tens of megabytes, not hundreds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from maskmill.pipeline.storage.arrow_reader import ArrowFile
from maskmill.pipeline.storage.arrow_views import view_lists, view_numbers
from maskmill.pipeline.storage.check_table import check_lines, check_packed
from maskmill.pipeline.storage.datasets import read_checked
from maskmill.pipeline.storage.hashing_sink import HashingSink
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import RESTORE, ShardCorruptError
from maskmill.schemas.manifest import SHARD_TABLE_SCHEMA, DocumentsManifest, EncodedManifest, PackedManifest
from maskmill.schemas.receipt import ShardReceipt

SHARD_TABLE = "shards.arrow"
_RECEIPTS_AT_ONCE = 128
MAX_TABLE_IN_MEMORY = 48 << 20
"""Bytes of a table, reached with about 600 GB of shards."""
MAX_TABLE_BYTES = 4 << 30
"""Bytes of any table: 10^10 rows have some 1.5 GB."""


@dataclass(frozen=True)
class ShardTable:
    """The shards of a dataset as columns of K shards and N blocks; those of very many are mapped from the file.

    Attributes:
        paths: K strings, relative to `folder`.
        first_row_id: `(K,)` uint64, the number of each shard's first row.
        rows: `(K,)` int64.
        text_bytes: `(K,)` int64, of the text that a shard holds or was encoded from.
        size_bytes: `(K,)` int64.
        checksums: K strings, xxh3-128 of each file.
        first_block: `(K + 1,)` int64: blocks of shard k are `first_block[k]` up to `first_block[k + 1]`.
        block_offsets: `(N,)` int64, bytes into the file.
        block_lengths: `(N,)` uint32, bytes.
        block_checksums: `(N,)` uint64, xxh3-64.
        folder: The folder of the table, relative to the dataset; empty if it is that of the dataset.
    """

    paths: pa.StringArray
    first_row_id: npt.NDArray[np.uint64]
    rows: npt.NDArray[np.int64]
    text_bytes: npt.NDArray[np.int64]
    size_bytes: npt.NDArray[np.int64]
    checksums: pa.StringArray
    first_block: npt.NDArray[np.int64]
    block_offsets: npt.NDArray[np.int64]
    block_lengths: npt.NDArray[np.uint32]
    block_checksums: npt.NDArray[np.uint64]
    folder: str = ""

    def path(self, shard: int) -> str:
        """Path of a shard, relative to the dataset."""
        return join_names(self.folder, str(self.paths[shard].as_py()))

    def __len__(self) -> int:
        return len(self.rows)


def join_names(folder: str, name: str) -> str:
    """The path of a file in a folder inside a dataset, or in the dataset itself if the folder is empty."""
    return f"{folder}/{name}" if folder else name


def table_path(manifest: DocumentsManifest | EncodedManifest | PackedManifest) -> str:
    """The path of a dataset's table of shards."""
    return join_names(_folder_of(manifest), SHARD_TABLE)


def _folder_of(manifest: DocumentsManifest | EncodedManifest | PackedManifest) -> str:
    return manifest.shards_folder if isinstance(manifest, PackedManifest) else ""


def write_shard_table(output: Store, folder: str, receipts: Iterable[ShardReceipt]) -> tuple[int, str]:
    """Write `shards.arrow` from receipts in shard order, as one record batch.

    Memory holds its columns, 20 bytes a block, and few receipts at a time: these take ten times as much.

    Returns:
        The number of shards and the checksum of the table.
    """
    columns: list[list[pa.Array]] = [[] for _ in SHARD_TABLE_SCHEMA]
    waiting = iter(receipts)
    num_shards = 0
    while group := list(itertools.islice(waiting, _RECEIPTS_AT_ONCE)):
        num_shards += len(group)
        for field, chunks in zip(SHARD_TABLE_SCHEMA, columns, strict=True):
            values = [getattr(receipt, field.name) for receipt in group]
            if field.name == "path":
                values = [path.removeprefix(f"{folder}/") for path in values]
            chunks.append(pa.array(values, field.type))
    with output.open_output(f"{folder}/{SHARD_TABLE}") as file:
        sink = HashingSink(file)
        with pa.ipc.new_file(sink, SHARD_TABLE_SCHEMA) as writer:
            if num_shards:
                writer.write_batch(pa.record_batch(list(_join_columns(columns)), SHARD_TABLE_SCHEMA))
    return num_shards, sink.whole.hexdigest()


def _join_columns(columns: Iterable[list[pa.Array]]) -> Iterator[pa.Array]:
    """Each column as one array; its chunks are freed before the next one is joined."""
    for chunks in columns:
        joined = pa.concat_arrays(chunks)
        chunks.clear()
        yield joined


def _load_table(dataset: Store, name: str) -> pa.Buffer:
    """A table in memory, unaffected if its file is overwritten; a large one of a local dataset is mapped."""
    size = dataset.size(name)
    if size > MAX_TABLE_BYTES:
        raise ShardCorruptError(
            "a table of shards is larger than any that maskmill writes",
            path=dataset.locate(name),
            expected=f"at most {MAX_TABLE_BYTES} bytes",
            found=f"{size}",
            action=RESTORE,
        )
    if dataset.capabilities.local_paths and size > MAX_TABLE_IN_MEMORY:
        return dataset.map_file(name)
    return pa.py_buffer(dataset.read_bytes(name))


def digest_table(dataset: Store, name: str) -> str:
    """The xxh3-128 of a table of shards, as manifests have it. Raises `FileNotFoundError` if there is none."""
    return xxhash.xxh3_128_hexdigest(_load_table(dataset, name))


def read_shard_table(
    dataset: Store, manifest: DocumentsManifest | EncodedManifest | PackedManifest, name: str | None = None
) -> ShardTable:
    """Read `shards.arrow`, checked against the manifest, as columns.

    Args:
        dataset: Where it is.
        manifest: The manifest of the dataset.
        name: The path of the table; `None` is where the manifest says.

    Raises:
        ShardCorruptError: It is missing, has changed, is invalid, contradicts the manifest, or names a path
            outside the dataset.
    """
    name = table_path(manifest) if name is None else name
    path = dataset.locate(name)
    data = read_checked(dataset, partial(_load_table, dataset), name, manifest.shards_checksum)
    file = ArrowFile.of(data, SHARD_TABLE_SCHEMA, path)
    if len(file) > 1:
        raise ShardCorruptError(
            "the table of shards is in several record batches",
            path=path,
            expected="one, as it is written",
            found=f"{len(file)}",
            action=RESTORE,
        )
    lines = file.read(0) if len(file) else pa.RecordBatch.from_pylist([], SHARD_TABLE_SCHEMA)
    if len(lines) != manifest.num_shards:
        raise ShardCorruptError(
            "the table of shards and the manifest disagree on the number of shards",
            path=path,
            expected=f"{manifest.num_shards}",
            found=f"{len(lines)}",
            action=RESTORE,
        )
    check_lines(lines, path, dataset.display_url)
    first_block, block_offsets = view_lists(lines.column("block_offsets"), np.uint64)
    table = ShardTable(
        paths=lines.column("path"),
        first_row_id=view_numbers(lines.column("first_row_id")),
        rows=view_numbers(lines.column("rows")).view(np.int64),
        text_bytes=view_numbers(lines.column("text_bytes")).view(np.int64),
        size_bytes=view_numbers(lines.column("size_bytes")).view(np.int64),
        checksums=lines.column("checksum"),
        first_block=first_block.astype(np.int64),
        block_offsets=block_offsets.view(np.int64),
        block_lengths=view_lists(lines.column("block_lengths"), np.uint32)[1],
        block_checksums=view_lists(lines.column("block_checksums"), np.uint64)[1],
        folder=_folder_of(manifest),
    )
    if isinstance(manifest, PackedManifest):
        check_packed(manifest, table.rows, table.first_block, table.block_lengths, path)
    return table
