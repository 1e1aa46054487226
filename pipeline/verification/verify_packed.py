"""Verification of packed shards: structure, provenance, masks and sums of every row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maskmill.pipeline.masking.fit_vocabulary import make_tables
from maskmill.pipeline.masking.static_masks import static_masks
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.pipeline.storage.datasets import MANIFEST, TOKENIZER, read_manifest, read_tokenizer
from maskmill.pipeline.storage.packed_blocks import PackedBlock, PackedBlocks
from maskmill.pipeline.storage.shard_table import ShardTable, read_shard_table
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.verification.check_pairs import PairCheck, check_origins, count_pairs
from maskmill.pipeline.verification.check_provenance import Places, check_provenance
from maskmill.pipeline.verification.check_rows import FAULTS, WRONG_WORD_STARTS, find_row_faults, find_wrong_word_starts
from maskmill.pipeline.verification.findings import MAX_FINDINGS_PER_SHARD, Finding
from maskmill.pipeline.verification.verify_shards import check_each_shard, find_misnumbered, find_strangers, read_shard
from maskmill.schemas.errors import MaskmillError
from maskmill.schemas.manifest import PackedManifest
from maskmill.schemas.pack_section import Pairs
from maskmill.schemas.rows import SEGMENT_LENGTHS, SEQUENCE_LENGTHS, Per, columns_per
from maskmill.schemas.run_file import Sequences
from maskmill.schemas.wording import count_of

_COUNTED = ("rows", "segments", "packed", "tokens_in_rows", "special_tokens", "padding")
_COUNTED_OF_PAIRS = ("pairs", "pairs_of_label_1", "tokens_of_others")


def verify_packed(
    store: Store, progress: Callable[[int, int], None], threads: int = 2
) -> tuple[PackedManifest, list[Finding], int]:
    """Re-read packed shards: every checksum, boundary, special token, mask and origin of a segment.

    The numbers of rows, segments, documents and tokens must equal those in the manifest.

    Returns:
        The manifest, the findings, and the number of segments that continue a document whose preceding segments are
        missing in this dataset. Only a length bin may have these; with other sequences they are already findings, and
        of pairs none are counted.

    Raises:
        ConfigError: There is no dataset, or a newer maskmill wrote it.
        ShardCorruptError: The manifest or the table of shards is damaged.
    """
    manifest = read_manifest(store, PackedManifest)
    shards = read_shard_table(store, manifest)
    reader = PackedBlocks(manifest)
    read_pieces = partial(read_tokenizer, store, manifest)
    tables = make_tables(manifest.masking, manifest.vocabulary, read_pieces, store.display_url)

    def check(shard: int) -> tuple[tuple[Counter[str], Places], list[Finding]]:
        rows, block_rows = int(shards.rows[shard]), manifest.block_rows

        def read(data: pa.Buffer, checksum: int, path: str, block: int) -> PackedBlock:
            num_rows = min(block_rows, rows - block * block_rows)
            found = reader.read(data, checksum, num_rows, path, block, range(manifest.copies))
            reader.read_by_arrow(data, num_rows, path, block)
            return found

        blocks = read_shard(store, shards, shard, reader.schema, read)
        return _ShardCheck(store.locate(shards.path(shard)), manifest, tables).check(
            blocks, int(shards.first_row_id[shard])
        )

    counts = Counter[str]()
    findings = find_strangers(store, shards) + find_misnumbered(store, shards)
    num_gaps = 0
    held: list[Places] = []
    is_whole = True
    for shard, checked, found in check_each_shard(store, shards, check, progress, threads):
        findings += found
        is_whole = is_whole and checked is not None and not found
        if checked is not None:
            counts.update(checked[0])
            held.append(checked[1])
        if _is_last_part(shards, shard):
            if is_whole:
                document_shard = int(shards.first_row_id[shard]) >> 32
                origins, where = Places.join(held), store.locate(shards.path(shard))
                if manifest.pairs is None:
                    gaps, found = check_provenance(origins, document_shard, where)
                    num_gaps += gaps
                else:
                    packed, found = check_origins(origins, document_shard, where)
                    counts["packed"] += packed
                findings += found
            held, is_whole = [], True
    if not findings:
        findings += _check_sums(store.locate(MANIFEST), manifest, shards, counts, num_gaps)
    try:
        read_tokenizer(store, manifest)
    except MaskmillError as error:
        findings.append(Finding.of(error, store.locate(TOKENIZER)))
    return manifest, findings, num_gaps


def _is_last_part(shards: ShardTable, shard: int) -> bool:
    """Whether the next packed shard, if there is one, comes from another document shard."""
    document_shards = shards.first_row_id[shard : shard + 2] >> np.uint64(32)
    return len(document_shards) == 1 or bool(document_shards[0] != document_shards[1])


def _check_sums(
    path: str, manifest: PackedManifest, shards: ShardTable, counts: Counter[str], num_gaps: int
) -> list[Finding]:
    expected = dict(manifest.counts) | {"text_bytes": manifest.text_bytes}
    found = dict(counts) | {"text_bytes": int(shards.text_bytes.sum())}
    findings = [
        Finding(path, f"{name}: {expected[name]} counted when written, {found.get(name, 0)} found")
        for name in (*_COUNTED, "text_bytes", *(("cuts",) if manifest.pairs is None else _COUNTED_OF_PAIRS))
        if found.get(name, 0) != expected[name]
    ]
    if num_gaps and manifest.sequences != Sequences.DOCUMENT:
        segments = count_of(num_gaps, "segment continues a document", "segments continue documents")
        findings.append(Finding(path, f"{segments} whose preceding segments are missing"))
    return findings


class _ShardCheck:
    """Checks the rows of one shard."""

    def __init__(self, path: str, manifest: PackedManifest, tables: MaskTables) -> None:
        self._path = path
        self._manifest = manifest
        self._tables = tables
        others = manifest.pairs is Pairs.NSP or manifest.sop_random_single
        self._pairs = None if manifest.pairs is None else PairCheck(manifest.pairs, others)
        self._findings: list[Finding] = []

    def check(
        self, blocks: Iterable[PackedBlock], first_row_id: int
    ) -> tuple[tuple[Counter[str], Places], list[Finding]]:
        """Count the rows of its blocks, collect the origins of their segments, and find faults."""
        block_rows = self._manifest.block_rows
        counts = Counter[str]()
        places: list[Places] = []
        for number, block in enumerate(blocks):
            here = self._check_block(block, number, first_row_id + number * block_rows)
            places.append(here)
            used = int(block.sequences.values[SEQUENCE_LENGTHS].sum(dtype=np.int64))
            tokens = int(here.length.sum())
            counts["rows"] += len(block)
            counts["segments"] += len(here.length)
            if self._pairs is None:
                counts["packed"] += int(np.count_nonzero(here.offset == 0))
                counts["cuts"] += int(np.count_nonzero(here.offset))
            else:
                counts.update(count_pairs(block, here))
            counts["tokens_in_rows"] += tokens
            counts["special_tokens"] += used - tokens
            counts["padding"] += len(block) * self._manifest.seq_len - used
        return (counts, Places.join(places)), self._findings

    def _check_block(self, block: PackedBlock, number: int, first_row_id: int) -> Places:
        manifest, vocabulary = self._manifest, self._manifest.vocabulary
        rows = block.input_ids
        sequences = block.sequences.offsets, block.sequences.values[SEQUENCE_LENGTHS]
        segments = block.segments.offsets, block.segments.values[SEGMENT_LENGTHS]
        faults, tokens = find_row_faults(
            rows,
            sequences,
            segments,
            (vocabulary.pad_id, vocabulary.cls_id, vocabulary.sep_id),
            vocabulary.vocab_size,
            manifest.sequences if manifest.pairs is None else None,
        )
        for row in np.flatnonzero(faults)[:MAX_FINDINGS_PER_SHARD].tolist():
            self._find(f"row {number * manifest.block_rows + row}: {FAULTS[faults[row]]}")
        if block.word_starts is not None:
            wrong_starts = find_wrong_word_starts(block.word_starts, sequences, segments) & (faults == 0)
            for row in np.flatnonzero(wrong_starts)[:MAX_FINDINGS_PER_SHARD].tolist():
                self._find(f"row {number * manifest.block_rows + row}: {WRONG_WORD_STARTS}")
        self._check_masks(block, number, rows, np.arange(len(rows), dtype=np.uint64) + np.uint64(first_row_id))
        of_segments = block.segments.values
        places = Places(of_segments["segment_document"], of_segments["segment_offset"].astype(np.int64), tokens)
        if self._pairs is not None:
            wrong = np.flatnonzero(self._pairs.find_faults(block, places))[:MAX_FINDINGS_PER_SHARD]
            for row in (np.searchsorted(block.sequences.offsets, wrong, side="right") - 1).tolist():
                self._find(f"row {number * manifest.block_rows + row}: the label of a pair does not fit its segments")
        return places

    def _check_masks(
        self, block: PackedBlock, number: int, rows: npt.NDArray[Any], row_ids: npt.NDArray[np.uint64]
    ) -> None:
        for copy in range(self._manifest.copies):
            found = block.masks[copy]
            offsets, *expected = static_masks(
                rows, row_ids, copy, self._manifest.masking, self._tables, block.word_starts
            )
            for column, values in zip(columns_per(Per.MASKED), expected, strict=True):
                if not (np.array_equal(found.offsets, offsets) and np.array_equal(found.values[column.name], values)):
                    self._find(f"block {number}: {column.name_of(copy)} is not the mask of epoch {copy}")

    def _find(self, what: str) -> None:
        self._findings.append(Finding(self._path, what))
