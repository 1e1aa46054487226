"""A dataset on storage: a manifest, the table of its shards, and the shards.

The table is written before the manifest and the manifest holds its checksum, so a dataset whose manifest stands is
whole. Both are read as columns: a hundred thousand shards take tens of megabytes, not hundreds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from pipeline.storage.arrow_files import check_bytes
from pipeline.storage.paths import check_inside
from pipeline.storage.store import Store
from schemas.errors import RESTORE, ConfigError, ShardCorruptError
from schemas.manifest import (
    SHARD_TABLE_SCHEMA,
    AnyManifest,
    DocumentsManifest,
    EncodedManifest,
    PackedManifest,
    TokenizerManifest,
    parse_manifest,
)
from schemas.receipt import ShardReceipt

MANIFEST = "manifest.json"
SHARD_TABLE = "shards.arrow"
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class ShardTable:
    """The shards of a dataset as columns of K shards and N blocks.

    Attributes:
        paths: K strings, relative to the dataset.
        first_row_id: `(K,)` uint64, the number of each shard's first row.
        rows: `(K,)` int64.
        text_bytes: `(K,)` int64, of the text that a shard holds or was encoded from.
        size_bytes: `(K,)` int64.
        checksums: K strings, xxh3-128 of each file.
        first_block: `(K + 1,)` int64: blocks of shard k are `first_block[k]` up to `first_block[k + 1]`.
        block_offsets: `(N,)` int64, bytes into the file.
        block_lengths: `(N,)` int64, bytes.
        block_checksums: `(N,)` uint64, xxh3-64.
    """

    paths: pa.StringArray
    first_row_id: npt.NDArray[np.uint64]
    rows: npt.NDArray[np.int64]
    text_bytes: npt.NDArray[np.int64]
    size_bytes: npt.NDArray[np.int64]
    checksums: pa.StringArray
    first_block: npt.NDArray[np.int64]
    block_offsets: npt.NDArray[np.int64]
    block_lengths: npt.NDArray[np.int64]
    block_checksums: npt.NDArray[np.uint64]

    def path(self, shard: int) -> str:
        """Relative path of a shard."""
        return str(self.paths[shard].as_py())

    def __len__(self) -> int:
        return len(self.rows)


def write_shard_table(output: Store, folder: str, receipts: Iterable[ShardReceipt]) -> tuple[int, str]:
    """Write `shards.arrow` from receipts in shard order.

    Returns:
        The number of shards and the checksum of the table.
    """
    columns: dict[str, list[object]] = {name: [] for name in SHARD_TABLE_SCHEMA.names}
    for receipt in receipts:
        columns["path"].append(receipt.path.removeprefix(f"{folder}/"))
        for name in SHARD_TABLE_SCHEMA.names[1:]:
            columns[name].append(getattr(receipt, name))
    table = pa.table([pa.array(columns[field.name], field.type) for field in SHARD_TABLE_SCHEMA], SHARD_TABLE_SCHEMA)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, SHARD_TABLE_SCHEMA) as writer:
        writer.write_table(table.combine_chunks())
    data = sink.getvalue().to_pybytes()
    output.write_bytes(f"{folder}/{SHARD_TABLE}", data)
    return len(columns["path"]), xxhash.xxh3_128_hexdigest(data)


def write_manifest(output: Store, folder: str, manifest: AnyManifest) -> AnyManifest:
    """Write a manifest with its fingerprint, last: from now on the dataset stands."""
    finished = manifest.model_copy(update={"fingerprint": fingerprint_manifest(manifest)})
    output.write_bytes(f"{folder}/{MANIFEST}", (finished.model_dump_json(indent=2) + "\n").encode())
    return finished


def fingerprint_manifest(manifest: DocumentsManifest | EncodedManifest | PackedManifest | TokenizerManifest) -> str:
    """The identity of a dataset: xxh3-128 of its manifest without the fingerprint."""
    return xxhash.xxh3_128_hexdigest(manifest.model_dump_json(exclude={"fingerprint"}).encode())


def read_manifest(dataset: Store, model: type[AnyManifest]) -> AnyManifest:
    """Read and check a dataset's manifest.

    Raises:
        ConfigError: There is none, or a newer maskmill wrote it.
        ShardCorruptError: It is not what was written.
    """
    path = dataset.locate(MANIFEST)
    try:
        data = dataset.read_bytes(MANIFEST)
    except FileNotFoundError:
        raise ConfigError(
            "no dataset here",
            path=dataset.display_url,
            expected=f"a {MANIFEST}",
            found="none",
            action="check the path; if `maskmill prepare` has not finished, give its command again",
        ) from None
    manifest = parse_manifest(model, data, path)
    if manifest.fingerprint != fingerprint_manifest(manifest):
        raise ShardCorruptError(
            "the manifest is not the one that was written",
            path=path,
            expected=f"fingerprint {fingerprint_manifest(manifest)}",
            found=manifest.fingerprint,
            action=RESTORE,
        )
    return manifest


def read_tokenizer(dataset: Store, manifest: PackedManifest) -> bytes:
    """Read a packed dataset's `tokenizer.json`, checked against the manifest.

    Raises:
        ShardCorruptError: It is missing or has changed.
    """
    path = dataset.locate(TOKENIZER)
    try:
        data = dataset.read_bytes(TOKENIZER)
    except FileNotFoundError:
        raise ShardCorruptError(
            "the tokenizer is gone",
            path=path,
            expected=f"xxh3-128 {manifest.tokenizer_checksum}",
            found="no file",
            action=RESTORE,
        ) from None
    check_bytes(data, manifest.tokenizer_checksum, path)
    return data


def read_shard_table(dataset: Store, manifest: DocumentsManifest | EncodedManifest | PackedManifest) -> ShardTable:
    """Read `shards.arrow`, checked against the manifest, as columns.

    Raises:
        ShardCorruptError: It is missing, has changed, or names a path outside the dataset.
    """
    path = dataset.locate(SHARD_TABLE)
    try:
        data = dataset.map_file(SHARD_TABLE)
    except FileNotFoundError:
        raise ShardCorruptError(
            "the table of shards is gone",
            path=path,
            expected=f"xxh3-128 {manifest.shards_checksum}",
            found="no file",
            action=RESTORE,
        ) from None
    check_bytes(data, manifest.shards_checksum, path)
    table = pa.ipc.open_file(pa.BufferReader(data)).read_all().combine_chunks()
    if len(table) != manifest.num_shards:
        raise ShardCorruptError(
            "the table has not as many shards as the manifest says",
            path=path,
            expected=f"{manifest.num_shards}",
            found=f"{len(table)}",
            action=RESTORE,
        )

    def column(name: str) -> pa.Array:
        chunked = table.column(name)
        return chunked.chunk(0) if chunked.num_chunks else pa.array([], chunked.type)

    for shard in column("path"):
        check_inside(shard.as_py(), dataset.display_url)
    offsets = column("block_offsets")
    return ShardTable(
        paths=column("path"),
        first_row_id=column("first_row_id").to_numpy().astype(np.uint64),
        rows=column("rows").to_numpy().astype(np.int64),
        text_bytes=column("text_bytes").to_numpy().astype(np.int64),
        size_bytes=column("size_bytes").to_numpy().astype(np.int64),
        checksums=column("checksum"),
        first_block=offsets.offsets.to_numpy().astype(np.int64) if len(offsets) else np.zeros(1, np.int64),
        block_offsets=offsets.flatten().to_numpy().astype(np.int64),
        block_lengths=column("block_lengths").flatten().to_numpy().astype(np.int64),
        block_checksums=column("block_checksums").flatten().to_numpy(zero_copy_only=False).astype(np.uint64),
    )
