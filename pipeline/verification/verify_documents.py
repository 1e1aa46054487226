"""Verification of document shards."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.storage.arrow_batches import read_block
from maskmill.pipeline.storage.datasets import MANIFEST, read_manifest
from maskmill.pipeline.storage.shard_table import read_shard_table
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.verification.findings import Finding
from maskmill.pipeline.verification.verify_shards import check_each_shard, find_misnumbered, find_strangers, read_shard
from maskmill.schemas.documents import document_schema
from maskmill.schemas.manifest import DocumentsManifest


def verify_documents(
    store: Store, progress: Callable[[int, int], None], threads: int = 2
) -> tuple[DocumentsManifest, list[Finding]]:
    """Re-read document shards: every checksum and every text's UTF-8.

    The numbers of documents and bytes must equal those in the manifest.

    Raises:
        ConfigError: There is no dataset, or a newer maskmill wrote it.
        ShardCorruptError: The manifest or the table of shards is damaged.
    """
    manifest = read_manifest(store, DocumentsManifest)
    shards = read_shard_table(store, manifest)
    schema = document_schema(manifest.schema_version)

    def read(data: pa.Buffer, checksum: int, path: str, block: int) -> pa.RecordBatch:
        return read_block(data, schema, checksum, path, block)

    def check(shard: int) -> tuple[tuple[int, int], list[Finding]]:
        text_bytes = sum(
            pc.sum(pc.binary_length(block.column("text"))).as_py() or 0
            for block in read_shard(store, shards, shard, schema, read)
        )
        return (int(shards.rows[shard]), text_bytes), []

    documents = text_bytes = 0
    findings = find_strangers(store, shards) + find_misnumbered(store, shards)
    for _, counted, found in check_each_shard(store, shards, check, progress, threads):
        findings += found
        if counted is not None:
            documents += counted[0]
            text_bytes += counted[1]
    here = store.locate(MANIFEST)
    expected = manifest.counts.held_out if manifest.held_out else manifest.counts.written
    if not expected == manifest.documents == documents and not findings:
        findings.append(Finding(here, f"{manifest.documents} documents and {expected} counted, {documents} found"))
    if manifest.text_bytes != text_bytes and not findings:
        findings.append(Finding(here, f"{manifest.text_bytes} bytes of text, {text_bytes} found"))
    return manifest, findings
