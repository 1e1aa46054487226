"""Packed datasets of as many shards as wanted, of which a few are real files and the others links to them.

Every shard is a file of 10,000 rows that can be read and checked; its line in the table holds that file's own
checksums and row numbers of its own. So a loader does all that it would do with real ones, and 10^9 rows take 170 MB.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.datasets import TOKENIZER, read_manifest, read_tokenizer, write_manifest
from maskmill.pipeline.storage.shard_table import write_shard_table
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.counts import PackingCounts
from maskmill.schemas.manifest import PackedManifest, text_fill_ppm
from maskmill.schemas.receipt import ShardReceipt

REAL_SHARDS = 16
SHARD_ROWS = 10_000


@dataclass(frozen=True)
class RealShards:
    """Shards of 10,000 rows under `<folder>/real`.

    Attributes:
        folder: Where.
        packed: The packed dataset whose rows they hold, over and over.
        receipts: One a shard.
        tokens: `(16,)` int64, tokens of text in each.
        padding: `(16,)` int64, [PAD] in each.
    """

    folder: str
    packed: str
    receipts: list[ShardReceipt]
    tokens: np.ndarray
    padding: np.ndarray


def write_real_shards(packed: str, folder: str) -> RealShards:
    """Write the files that everything else links to."""
    manifest = read_manifest(open_store(packed), PackedManifest)
    special = [manifest.vocabulary.cls_id, manifest.vocabulary.sep_id]
    rows = _read_rows(packed)
    store = open_store(folder)
    receipts, tokens, padding = [], [], []
    for shard in range(REAL_SHARDS):
        places = (np.arange(SHARD_ROWS) + shard * SHARD_ROWS) % len(rows)
        ids = rows.column("input_ids").combine_chunks().take(pa.array(places)).values.to_numpy()
        padding.append(int((ids == manifest.vocabulary.pad_id).sum()))
        tokens.append(len(ids) - padding[-1] - int(np.isin(ids, special).sum()))
        blocks = (
            rows.take(pa.array(places[start : start + manifest.block_rows])).combine_chunks().to_batches()[0]
            for start in range(0, SHARD_ROWS, manifest.block_rows)
        )
        receipts.append(write_blocks(store, f"real/shard-{shard:05d}.arrow", rows.schema, blocks))
    return RealShards(folder, packed, receipts, np.array(tokens), np.array(padding))


def write_dataset(real: RealShards, name: str, num_shards: int) -> str:
    """A dataset `<folder>/<name>` whose shards are links to the real ones in turn; returns its path."""
    store = open_store(real.folder)
    os.makedirs(os.path.join(real.folder, name))
    receipts = []
    for shard in range(num_shards):
        taken = real.receipts[shard % REAL_SHARDS]
        path = f"{name}/shard-{shard:05d}.arrow"
        os.symlink(os.path.join("..", taken.path), os.path.join(real.folder, path))
        receipts.append(taken.model_copy(update={"path": path, "first_row_id": shard << 32}))
    _, checksum = write_shard_table(store, name, receipts)
    source = open_store(real.packed)
    manifest = read_manifest(source, PackedManifest)
    store.write_bytes(f"{name}/{TOKENIZER}", read_tokenizer(source, manifest))
    of_shards = np.arange(num_shards) % REAL_SHARDS
    tokens, padding = int(real.tokens[of_shards].sum()), int(real.padding[of_shards].sum())
    places = num_shards * SHARD_ROWS * manifest.seq_len
    counts = dict.fromkeys(PackingCounts.model_fields, 0) | {
        "rows": num_shards * SHARD_ROWS,
        "tokens_encoded": tokens,
        "tokens_in_rows": tokens,
        "padding": padding,
        "special_tokens": places - tokens - padding,
    }
    changes = {
        "num_shards": num_shards,
        "shards_checksum": checksum,
        "text_fill_ppm": text_fill_ppm(tokens, places),
        "counts": PackingCounts(**counts),
    }
    write_manifest(store, name, manifest.model_copy(update=changes))
    return os.path.join(real.folder, name)


def _read_rows(packed: str) -> pa.Table:
    tables = []
    for name in sorted(os.listdir(packed)):
        if name.startswith("shard-"):
            with pa.memory_map(os.path.join(packed, name)) as file:
                tables.append(pa.ipc.open_file(file).read_all())
    return pa.concat_tables(tables).combine_chunks()
