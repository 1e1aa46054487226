"""Verification of packed shards: structure, provenance, masks and sums of every row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from pipeline.masking.static_masks import static_masks
from pipeline.masking.tables import MaskTables
from pipeline.storage.datasets import MANIFEST, TOKENIZER, read_manifest, read_shard_table, read_tokenizer
from pipeline.storage.store import Store
from pipeline.verification.findings import MAX_FINDINGS_PER_SHARD, Finding
from pipeline.verification.verify_shards import check_each_shard, find_strangers, read_shard
from schemas.errors import MaskmillError
from schemas.manifest import PackedManifest
from schemas.rows import packed_row_schema

_FAULTS = (
    "",
    "its sequences are longer than the row",
    "a sequence does not begin with [CLS]",
    "a segment does not end with [SEP]",
    "its segments do not fill its sequences",
    "something other than [PAD] stands after the last sequence",
    "a token is outside the vocabulary",
    "it has no sequence",
)


def verify_packed(
    store: Store, progress: Callable[[int, int], None], threads: int = 2
) -> tuple[PackedManifest, list[Finding]]:
    """Re-read packed shards: every checksum, boundary, special token, mask and segment's place.

    Nothing is lost silently: the rows, segments, documents and tokens found are as many as the manifest counts.

    Raises:
        ConfigError: There is no dataset, or a newer maskmill wrote it.
        ShardCorruptError: The manifest or the table of shards cannot be believed.
    """
    manifest = read_manifest(store, PackedManifest)
    shards = read_shard_table(store, manifest)
    schema = packed_row_schema(manifest.seq_len, manifest.vocabulary.vocab_size, manifest.copies)
    tables = MaskTables.build(manifest.vocabulary)

    def check(shard: int) -> tuple[Counter[str], list[Finding]]:
        path = store.locate(shards.path(shard))
        blocks = read_shard(store, shards, shard, schema)
        return _check_shard(blocks, shard, path, manifest, tables)

    counts = Counter[str]()
    findings = find_strangers(store, shards)
    for _, counted, found in check_each_shard(store, shards, check, progress, threads):
        findings += found
        if counted is not None:
            counts.update(counted)
    if not findings:
        here = store.locate(MANIFEST)
        expected = manifest.counts.model_dump()
        findings += [
            Finding(here, f"{name}: {expected[name]} counted when written, {counts[name]} found")
            for name in ("rows", "segments", "packed", "tokens_in_rows", "special_tokens", "padding")
            if counts[name] != expected[name]
        ]
    try:
        read_tokenizer(store, manifest)
    except MaskmillError as error:
        findings.append(Finding.of(error, store.locate(TOKENIZER)))
    return manifest, findings


def _check_shard(
    blocks: list[pa.RecordBatch], shard: int, path: str, manifest: PackedManifest, tables: MaskTables
) -> tuple[Counter[str], list[Finding]]:
    counts = Counter[str]()
    findings: list[Finding] = []
    vocabulary = manifest.vocabulary
    special = (vocabulary.pad_id, vocabulary.cls_id, vocabulary.sep_id, vocabulary.vocab_size)
    places: list[tuple[npt.NDArray[Any], ...]] = []
    for number, block in enumerate(blocks):
        if number < len(blocks) - 1 and block.num_rows != manifest.block_rows:
            findings.append(Finding(path, f"block {number} has {block.num_rows} rows, not {manifest.block_rows}"))
        rows = block.column("input_ids").values.to_numpy().reshape(-1, manifest.seq_len)
        sequences = _lists(block, "sequence_lengths")
        segments = _lists(block, "segment_lengths")
        documents = _lists(block, "segment_document")
        offsets = _lists(block, "segment_offset")
        faults, tokens = _check_rows(rows, *sequences, *segments, *special)
        findings += [
            Finding(path, f"row {number * manifest.block_rows + row}: {_FAULTS[faults[row]]}")
            for row in np.flatnonzero(faults)[:MAX_FINDINGS_PER_SHARD].tolist()
        ]
        same_lists = all(np.array_equal(segments[0], other[0]) for other in (documents, offsets))
        if not same_lists:
            findings.append(Finding(path, f"block {number}: not every segment has a document and an offset"))
        else:
            places.append((documents[1], offsets[1].astype(np.int64), tokens))
        row_ids = np.arange(len(rows), dtype=np.uint64) + np.uint64((shard << 32) + number * manifest.block_rows)
        findings += _check_masks(block, rows, row_ids, path, number, manifest, tables)
        used = int(sequences[1].sum())
        counts["rows"] += len(rows)
        counts["segments"] += len(segments[1])
        counts["tokens_in_rows"] += int(tokens.sum())
        counts["special_tokens"] += used - int(tokens.sum())
        counts["padding"] += rows.size - used
    if places and not findings:
        document, offset, length = (np.concatenate(column) for column in zip(*places, strict=True))
        counts["packed"] = len(np.unique(document))
        findings += _check_provenance(document, offset, length, shard, path)
    return counts, findings


def _check_masks(
    block: pa.RecordBatch,
    rows: npt.NDArray[Any],
    row_ids: npt.NDArray[np.uint64],
    path: str,
    number: int,
    manifest: PackedManifest,
    tables: MaskTables,
) -> list[Finding]:
    findings = []
    for copy in range(manifest.copies):
        offsets, *columns = static_masks(rows, row_ids, copy, manifest.masking, tables)
        for name, expected in zip(("positions", "input_ids", "labels"), columns, strict=True):
            found_offsets, found = _lists(block, f"mask_{copy}_{name}")
            if not (np.array_equal(found_offsets, offsets) and np.array_equal(found, expected)):
                findings.append(Finding(path, f"block {number}: mask_{copy}_{name} is not the mask of epoch {copy}"))
    return findings


def _check_provenance(
    document: npt.NDArray[np.uint64],
    offset: npt.NDArray[np.int64],
    length: npt.NDArray[np.int64],
    shard: int,
    path: str,
) -> list[Finding]:
    """Every document's segments, laid end to end, cover it from its first token without gap or overlap."""
    order = np.lexsort((offset, document))
    document, offset, length = document[order], offset[order], length[order]
    begins = np.append(True, document[1:] != document[:-1])
    expected = np.where(begins, 0, np.append(0, (offset + length)[:-1]))
    wrong = np.flatnonzero((offset != expected) | (document >> np.uint64(32) != shard))
    return [
        Finding(path, f"document {document[i] >> np.uint64(32)}:{document[i] & np.uint64(0xFFFFFFFF)}: a segment "
                f"begins at token {offset[i]}, expected {expected[i]}")
        for i in wrong[:MAX_FINDINGS_PER_SHARD].tolist()
    ]  # fmt: skip


def _lists(block: pa.RecordBatch, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    column = block.column(name)
    return column.offsets.to_numpy(), column.values.to_numpy()


@njit(cache=True, nogil=True)
def _check_rows(
    rows: Any,
    sequence_offsets: Any,
    sequence_lengths: Any,
    segment_offsets: Any,
    segment_lengths: Any,
    pad_id: int,
    cls_id: int,
    sep_id: int,
    vocab_size: int,
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int64]]:
    """Which of `_FAULTS` each row has, `(R,)` int8, and the document tokens of every segment, `(D,)` int64."""
    faults = np.zeros(len(rows), np.int8)
    tokens = np.zeros(len(segment_lengths), np.int64)
    for r in range(len(rows)):
        faults[r] = _check_row(
            rows[r],
            sequence_lengths[sequence_offsets[r] : sequence_offsets[r + 1]],
            segment_lengths[segment_offsets[r] : segment_offsets[r + 1]],
            tokens[segment_offsets[r] : segment_offsets[r + 1]],
            cls_id,
            sep_id,
        )
        if faults[r] == 0:
            used = np.sum(sequence_lengths[sequence_offsets[r] : sequence_offsets[r + 1]].astype(np.int64))
            if (rows[r, used:] != pad_id).any():
                faults[r] = 5
            if rows[r].max() >= vocab_size:
                faults[r] = 6
    return faults, tokens


@njit(cache=True, nogil=True)
def _check_row(row: Any, sequences: Any, segments: Any, tokens: Any, cls_id: int, sep_id: int) -> int:
    """The first of `_FAULTS` that a row's sequences have; fills the document tokens of its segments."""
    if len(sequences) == 0:
        return 7
    position = np.int64(0)
    segment = 0
    for sequence in sequences:
        end = position + np.int64(sequence)
        if end > len(row):
            return 1
        if row[position] != cls_id:
            return 2
        special = 2  # the first segment of a sequence counts [CLS] too
        while segment < len(segments) and position < end:
            length = np.int64(segments[segment])
            tokens[segment] = length - special
            special = 1
            position += length
            segment += 1
            if length == 0 or position > end or row[position - 1] != sep_id:
                return 3
        if position != end:
            return 4
    return 0 if segment == len(segments) else 4
