"""Verification of encoded shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.storage.arrow_batches import read_block
from maskmill.pipeline.storage.arrow_reader import ArrowFile
from maskmill.pipeline.storage.datasets import MANIFEST, read_manifest
from maskmill.pipeline.storage.shard_table import ShardTable, read_shard_table
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.verification.findings import Finding
from maskmill.pipeline.verification.verify_shards import check_each_shard, find_misnumbered, find_strangers, read_shard
from maskmill.schemas.errors import MaskmillError
from maskmill.schemas.manifest import EncodedManifest
from maskmill.schemas.rows import encoded_schema

_SCHEMAS = (encoded_schema(1 << 16), encoded_schema((1 << 16) + 1))  # for narrow and for wide ids


def verify_encoded(
    store: Store, progress: Callable[[int, int], None], threads: int = 2
) -> tuple[EncodedManifest, list[Finding], int]:
    """Re-read encoded shards: every checksum, and the numbers of documents, tokens and rejects in the manifest.

    Returns:
        The manifest, the findings, and the greatest id plus one, which the run's vocabulary must reach.

    Raises:
        ConfigError: There is no dataset, or a newer maskmill wrote it.
        ShardCorruptError: The manifest or the table of shards is damaged.
    """
    manifest = read_manifest(store, EncodedManifest)
    shards = read_shard_table(store, manifest)
    schema = _find_schema(store, shards)

    def read(data: pa.Buffer, checksum: int, path: str, block: int) -> pa.RecordBatch:
        return read_block(data, schema, checksum, path, block)

    def check(shard: int) -> tuple[Counter[str], list[Finding]]:
        counts = Counter[str](ids=0)
        for block in read_shard(store, shards, shard, schema, read):
            counts["documents"] += block.num_rows
            counts["quarantined"] += block.column("is_rejected").true_count
            ids = block.column("input_ids").flatten()
            counts["tokens"] += len(ids)
            counts["ids"] = max(counts["ids"], pc.max(ids).as_py() + 1 if len(ids) else 0)
        return counts, []

    counts = Counter[str]()
    num_ids = 0
    findings = find_strangers(store, shards) + find_misnumbered(store, shards)
    for _, counted, found in check_each_shard(store, shards, check, progress, threads):
        findings += found
        if counted is not None:
            num_ids = max(num_ids, counted.pop("ids"))
            counts.update(counted)
    counts["text_bytes"] = int(shards.text_bytes.sum())
    if not findings:
        expected = manifest.counts.model_dump() | {"text_bytes": manifest.text_bytes}
        findings += [
            Finding(store.locate(MANIFEST), f"{name}: {expected[name]} counted when written, {counts[name]} found")
            for name in ("documents", "quarantined", "tokens", "text_bytes")
            if counts[name] != expected[name]
        ]
    return manifest, findings, num_ids


def _find_schema(store: Store, shards: ShardTable) -> pa.Schema:
    """The schema of the first shard if it is one of the two allowed; the width of ids depends on the vocabulary."""
    for schema in _SCHEMAS if len(shards) else ():
        try:
            path = shards.path(0)
            with store.open_input(path) as file:
                ArrowFile(file, schema, store.locate(path))
        except (FileNotFoundError, MaskmillError):
            continue
        return schema
    return _SCHEMAS[0]
