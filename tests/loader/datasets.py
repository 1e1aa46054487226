"""Small packed datasets of random documents, and the same rows read back by pyarrow alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from maskmill.pipeline.masking.static_masks import static_masks
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.pipeline.packing.cutting.token_columns import TokenColumns
from maskmill.pipeline.packing.rows.assemble_rows import SpecialIds, assemble_rows
from maskmill.pipeline.packing.sequences.plan_rows import plan_rows
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.datasets import write_manifest
from maskmill.pipeline.storage.shard_table import write_shard_table
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.counts import PackingCounts
from maskmill.schemas.manifest import PackedManifest, text_fill_ppm
from maskmill.schemas.mask_vocabulary import MaskVocabulary
from maskmill.schemas.masking import Masking
from maskmill.schemas.rows import Compression, packed_row_schema
from maskmill.schemas.run_file import PackSection

PAD, UNK, CLS, SEP, MASK = range(5)
VOCAB_SIZE, SEQ_LEN, BLOCK_ROWS, COPIES = 300, 32, 4, 2
SHARD_ROWS = (23, 0, 41, 1, 16, 9, 33)
NUM_ROWS = sum(SHARD_ROWS)
STATIC_MASKING = Masking(rate=0.3, seed=11)
VOCABULARY = MaskVocabulary(
    vocab_size=VOCAB_SIZE, pad_id=PAD, unk_id=UNK, cls_id=CLS, sep_id=SEP, mask_id=MASK, excluded_ranges=((0, 5),)
)


@dataclass(frozen=True)
class StoredRow:
    """A row as pyarrow reads it."""

    input_ids: list[int]
    sequence_lengths: list[int]


def pack_random_documents(
    num_rows: int,
    seq_len: int,
    vocab_size: int,
    shard: int,
    seed: int,
    sequences: str = "segment",
    pad_id: int = PAD,
    pairs: str | None = None,
    words: bool = False,
) -> Any:
    """`num_rows` packed rows of random documents; long ones fill rows, short ones share them."""
    random = np.random.default_rng([seed, shard])
    # Half a row each on average: more than enough of them.
    lengths = random.integers(1, seq_len, 8 * num_rows + 8)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    dtype = np.uint16 if vocab_size <= 1 << 16 else np.uint32
    ids = random.integers(5, vocab_size, offsets[-1]).astype(dtype)
    starts = random.integers(0, 4, offsets[-1]) == 0  # sentences of four tokens
    word_starts = random.integers(0, 2, offsets[-1]) == 0 if words else None
    columns = TokenColumns(ids, offsets, np.zeros(vocab_size, np.bool_), starts, word_starts)
    pack = PackSection(seq_len=seq_len, min_segment=1, sequences=sequences, pairs=pairs)
    plan = plan_rows(columns, pack, shard, seed)[seq_len]
    rows = assemble_rows(columns, plan, SpecialIds(CLS, SEP, pad_id, dtype), document_shard=shard, seed=seed)
    assert len(rows) >= num_rows
    return rows.slice(0, num_rows)


def make_block(
    rows: Any, first_row_id: int, schema: pa.Schema, tables: MaskTables, masking: Masking = STATIC_MASKING
) -> pa.RecordBatch:
    """A block of packed rows, with as many static masks as its schema has."""
    flat = pa.array(rows.input_ids.reshape(-1))
    columns = [pa.FixedSizeListArray.from_arrays(flat, type=schema.field("input_ids").type)]
    if rows.word_starts is not None:
        bits = pa.array(rows.word_starts.reshape(-1))
        columns.append(pa.FixedSizeListArray.from_arrays(bits, type=schema.field("word_starts").type))
    columns += [pa.ListArray.from_arrays(pa.array(one.offsets), pa.array(one.values)) for one in rows.lists.values()]
    row_ids = np.arange(len(rows), dtype=np.uint64) + np.uint64(first_row_id)
    for copy in range((len(schema) - len(columns)) // 3):
        offsets, *masks = static_masks(rows.input_ids, row_ids, copy, masking, tables, rows.word_starts)
        columns += [pa.ListArray.from_arrays(pa.array(offsets), pa.array(values)) for values in masks]
    return pa.record_batch(
        [column.cast(field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def write_dataset(
    url: str,
    *,
    shard_rows: tuple[int, ...] = SHARD_ROWS,
    block_rows: int = BLOCK_ROWS,
    seq_len: int = SEQ_LEN,
    vocab_size: int = VOCAB_SIZE,
    copies: int = COPIES,
    stored_masking: Masking = STATIC_MASKING,
    seed: int = 5,
    sequences: str = "segment",
    pad_id: int = PAD,
    compression: Compression = Compression.NONE,
    pairs: str | None = None,
    words: bool = False,
    rows_per_shard: int | None = None,
    change_receipts: Any = None,
    **changes: Any,
) -> PackedManifest:
    """Write a packed dataset with the project's own functions; `changes` replace fields of its manifest."""
    parent, _, folder = url.rpartition("/")
    store = open_store(parent)
    schema = packed_row_schema(seq_len, vocab_size, copies, pairs=pairs is not None, words=words)
    swapped = {"pad_id": pad_id, "unk_id": PAD if pad_id == UNK else UNK}  # ids below 5 are no words
    vocabulary = VOCABULARY.model_copy(
        update={"vocab_size": vocab_size, "segmenter": "dice 6" if words else None} | swapped
    )
    tables = MaskTables.build(vocabulary)
    receipts = []
    ids = []
    for shard, num_rows in enumerate(shard_rows):
        rows = pack_random_documents(num_rows, seq_len, vocab_size, shard, seed, sequences, pad_id, pairs, words)
        ids.append(rows.input_ids)
        for part, start in enumerate(range(0, max(1, num_rows), rows_per_shard or max(1, num_rows))):
            stop = min(num_rows, start + (rows_per_shard or num_rows))
            name = f"shard-{shard:05d}" + ("" if rows_per_shard is None else f"-{part:04d}")
            receipts.append(
                write_blocks(
                    store,
                    f"{folder}/{name}.arrow",
                    schema,
                    [
                        make_block(
                            rows.slice(first, min(stop, first + block_rows)),
                            (shard << 32) + first,
                            schema,
                            tables,
                            stored_masking,
                        )
                        for first in range(start, stop, block_rows)
                    ],
                    first_row_id=(shard << 32) + start,
                    compression=compression,
                )
            )
    if change_receipts is not None:
        receipts = change_receipts(receipts)
    num_shards, checksum = write_shard_table(store, folder, receipts)
    every = np.concatenate([block.reshape(-1) for block in ids])
    special = int(np.isin(every, (CLS, SEP)).sum())
    padding = int((every == pad_id).sum())
    num_pairs = int((every == CLS).sum()) if pairs else 0
    counts = dict.fromkeys(PackingCounts.model_fields, 0) | {
        "pairs": num_pairs,
        "segments": 2 * num_pairs,
        "rows": sum(shard_rows),
        "special_tokens": special,
        "padding": padding,
        "tokens_encoded": len(every) - special - padding,
        "tokens_in_rows": len(every) - special - padding,
    }
    manifest = PackedManifest(
        run_fingerprint="0" * 32,
        num_shards=num_shards,
        shards_checksum=checksum,
        held_out=False,
        seq_len=seq_len,
        block_rows=block_rows,
        vocabulary=vocabulary,
        tokenizer_checksum="0" * 32,
        documents_fingerprint="0" * 32,
        sequences=sequences,
        compression=compression,
        text_fill_ppm=text_fill_ppm(len(every) - special - padding, len(every)),
        copies=copies,
        masking=stored_masking,
        text_bytes=0,
        counts=PackingCounts(**counts),
        pairs=pairs,
    )
    return write_manifest(store, folder, manifest.model_copy(update=changes))


def read_stored_rows(folder: str) -> dict[int, StoredRow]:
    """Every row of a local dataset by its id, without any of the loader's code."""
    stored = {}
    next_row: dict[int, int] = {}
    for name in sorted(os.listdir(folder)):
        if not name.startswith("shard-"):
            continue
        shard = int(name.removeprefix("shard-").removesuffix(".arrow").partition("-")[0])
        with pa.memory_map(f"{folder}/{name}") as file:
            table = pa.ipc.open_file(file).read_all()
            for ids, lengths in zip(table["input_ids"].to_pylist(), table["sequence_lengths"].to_pylist(), strict=True):
                stored[shard * 2**32 + next_row.setdefault(shard, 0)] = StoredRow(ids, lengths)
                next_row[shard] += 1
    return stored
