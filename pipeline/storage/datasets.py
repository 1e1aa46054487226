"""A dataset on storage: a manifest, the table of its shards, and the shards.

The table is written before the manifest and the manifest holds its checksum, so a dataset that has a manifest is
whole. Both are read as columns: a hundred thousand shards take tens of megabytes, not hundreds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from maskmill.pipeline.storage.arrow_reader import ArrowFile
from maskmill.pipeline.storage.arrow_views import view_lists, view_numbers
from maskmill.pipeline.storage.check_table import check_lines, check_packed
from maskmill.pipeline.storage.checksums import check_bytes
from maskmill.pipeline.storage.hashing_sink import HashingSink
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import RESTORE, ConfigError, ShardCorruptError
from maskmill.schemas.manifest import (
    MAX_MANIFEST_BYTES,
    SHARD_TABLE_SCHEMA,
    AnyManifest,
    DocumentsManifest,
    EncodedManifest,
    KindOfManifest,
    PackedManifest,
    parse_manifest,
)
from maskmill.schemas.masking import Masking, MaskVocabulary
from maskmill.schemas.receipt import ShardReceipt
from maskmill.schemas.tokenizer.tokenizer_file import MAX_TOKENIZER_BYTES, check_tokenizer_json

MANIFEST = "manifest.json"
SHARD_TABLE = "shards.arrow"
TOKENIZER = "tokenizer.json"
_IDS_OF_VOCABULARY = ("vocab_size", "pad_id", "unk_id", "cls_id", "sep_id", "mask_id", "excluded_ranges")
_RECEIPTS_AT_ONCE = 128
MAX_TABLE_IN_MEMORY = 48 << 20
"""Bytes of a table, reached with about 600 GB of shards."""
MAX_TABLE_BYTES = 4 << 30
"""Bytes of any table: 10^10 rows have some 1.5 GB."""


@dataclass(frozen=True)
class ShardTable:
    """The shards of a dataset as columns of K shards and N blocks; those of very many are mapped from the file.

    Attributes:
        paths: K strings, relative to the dataset.
        first_row_id: `(K,)` uint64, the number of each shard's first row.
        rows: `(K,)` int64.
        text_bytes: `(K,)` int64, of the text that a shard holds or was encoded from.
        size_bytes: `(K,)` int64.
        checksums: K strings, xxh3-128 of each file.
        first_block: `(K + 1,)` int64: blocks of shard k are `first_block[k]` up to `first_block[k + 1]`.
        block_offsets: `(N,)` int64, bytes into the file.
        block_lengths: `(N,)` uint32, bytes.
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
    block_lengths: npt.NDArray[np.uint32]
    block_checksums: npt.NDArray[np.uint64]

    def path(self, shard: int) -> str:
        """Relative path of a shard."""
        return str(self.paths[shard].as_py())

    def __len__(self) -> int:
        return len(self.rows)


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


def write_manifest(output: Store, folder: str, manifest: AnyManifest) -> AnyManifest:
    """Write a manifest with its fingerprint, last: this makes the dataset complete."""
    finished = cast(AnyManifest, manifest.model_copy(update={"fingerprint": fingerprint_manifest(manifest)}))
    output.write_bytes(f"{folder}/{MANIFEST}", (finished.model_dump_json(indent=2) + "\n").encode())
    return finished


def fingerprint_manifest(manifest: KindOfManifest) -> str:
    """The identity of a dataset: xxh3-128 of its manifest without the fingerprint."""
    return xxhash.xxh3_128_hexdigest(manifest.model_dump_json(exclude={"fingerprint"}).encode())


def fingerprint_rows(manifest: PackedManifest) -> str:
    """The identity of a packed dataset's rows: its fingerprint, whatever `[mask]` is where no copies are stored.

    Without copies `masking` is only what a loader does by default, so changing it must not invalidate loader states,
    checkpoints or cached blocks. A dataset with the default masking has its own fingerprint here.
    """
    if manifest.copies:
        return manifest.fingerprint
    return fingerprint_manifest(manifest.model_copy(update={"masking": Masking()}))


def read_manifest(dataset: Store, model: type[AnyManifest]) -> AnyManifest:
    """Read and check a dataset's manifest.

    Raises:
        ConfigError: There is none, it is larger than any manifest, or a newer maskmill wrote it.
        ShardCorruptError: It has changed since it was written.
    """
    path = dataset.locate(MANIFEST)
    try:
        data = dataset.read_bytes(MANIFEST, MAX_MANIFEST_BYTES)
    except FileNotFoundError:
        raise ConfigError(
            "no dataset here",
            path=dataset.display_url,
            expected=f"a {MANIFEST}",
            found="none",
            action="check the path; if `maskmill prepare` has not finished, run it again",
        ) from None
    manifest = parse_manifest(model, data, path)
    if manifest.fingerprint != fingerprint_manifest(manifest):
        raise ShardCorruptError(
            "the manifest has changed since it was written",
            path=path,
            expected=f"fingerprint {fingerprint_manifest(manifest)}",
            found=manifest.fingerprint,
            action=RESTORE,
        )
    return manifest


def read_tokenizer(dataset: Store, manifest: PackedManifest) -> bytes:
    """Read a packed dataset's `tokenizer.json`, every value of it checked, and that it has the manifest's vocabulary.

    Raises:
        ShardCorruptError: It is missing, has changed, or is not a tokenizer that encoded these rows.
    """
    path = dataset.locate(TOKENIZER)
    read = partial(dataset.read_bytes, most=MAX_TOKENIZER_BYTES)
    data: bytes = _read_checked(dataset, read, TOKENIZER, manifest.tokenizer_checksum)
    found = check_tokenizer(data, path)
    for name in _IDS_OF_VOCABULARY:
        stated, there = getattr(manifest.vocabulary, name), getattr(found, name)
        if stated != there:
            raise ShardCorruptError(
                "the tokenizer is not the one that encoded these rows",
                path=path,
                place=name,
                expected=f"{stated}, as the manifest says",
                found=str(there),
                action=RESTORE,
            )
    return data


def check_tokenizer(data: bytes, path: str) -> MaskVocabulary:
    """Check every value of a tokenizer.json that claims to be maskmill's, and describe its vocabulary.

    Raises:
        ShardCorruptError: It cannot be used.
    """
    try:
        return check_tokenizer_json(data, path).describe_vocabulary()
    except ConfigError as error:
        raise ShardCorruptError(
            error.what, path=path, place=error.place, expected=error.expected, found=error.found, action=RESTORE
        ) from None


def _read_checked(dataset: Store, read: Callable[[str], Any], name: str, checksum: str) -> Any:
    """Read a file that a manifest names, and compare its checksum."""
    path = dataset.locate(name)
    try:
        data = read(name)
    except FileNotFoundError:
        raise ShardCorruptError(
            "a file that the manifest names is gone",
            path=path,
            expected=f"xxh3-128 {checksum}",
            found="no file",
            action=RESTORE,
        ) from None
    check_bytes(data, checksum, path)
    return data


def explain_gone(path: str) -> ShardCorruptError:
    """The error for a missing shard of a dataset."""
    return ShardCorruptError("a shard that the manifest names is gone", path=path, action=RESTORE)


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


def read_shard_table(dataset: Store, manifest: DocumentsManifest | EncodedManifest | PackedManifest) -> ShardTable:
    """Read `shards.arrow`, checked against the manifest, as columns.

    Raises:
        ShardCorruptError: It is missing, has changed, is invalid, contradicts the manifest, or names a path
            outside the dataset.
    """
    path = dataset.locate(SHARD_TABLE)
    data = _read_checked(dataset, partial(_load_table, dataset), SHARD_TABLE, manifest.shards_checksum)
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
    )
    if isinstance(manifest, PackedManifest):
        check_packed(manifest, table.rows, table.first_block, table.block_lengths, path)
    return table
