"""The mask stage: the rows of one packed shard to a shard with other static copies.

    blocks of the old shard, checked -> masks of epochs 0, 1, ... -> blocks of the new shard

A row keeps its number, its ids and its boundaries, so the new shard has the bytes that packing with these masks would
have written. One unit writes one shard, and holds a few blocks of it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from maskmill.pipeline.engine.activity import report_progress
from maskmill.pipeline.engine.stage import Stage
from maskmill.pipeline.engine.units import UnitDescription, UnitOutcome
from maskmill.pipeline.masking.fit_vocabulary import make_tables
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.pipeline.packing.rows.packed_rows import PackedRows, RowLists
from maskmill.pipeline.packing.rows.write_rows import count_tokens, make_block
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.datasets import explain_gone
from maskmill.pipeline.storage.packed_blocks import PackedBlock, PackedBlocks
from maskmill.pipeline.storage.shard_table import SHARD_TABLE, ShardTable, read_shard_table
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import ShardCorruptError
from maskmill.schemas.layout import version_of_path
from maskmill.schemas.manifest import PackedManifest
from maskmill.schemas.receipt import Details
from maskmill.schemas.rows import Per

BLOCKS_AT_ONCE = 16
"""Blocks that one request fetches: 4 MiB, and more with static copies."""


@dataclass(frozen=True)
class MaskContext:
    """The context of every mask unit.

    Attributes:
        dataset: The packed dataset.
        old: Its manifest as it is.
        new: Its manifest as it will be, but for the table of shards: settings, number and folder of the new copies.
        tokenizer_json: Its tokenizer, where the settings protect tokens; else empty.
        fingerprints: Of the two manifests: equal contexts have equal ones.
    """

    dataset: Store = field(compare=False)
    old: PackedManifest = field(compare=False)
    new: PackedManifest = field(compare=False)
    tokenizer_json: bytes = field(compare=False)
    fingerprints: tuple[str, str]


class MaskUnit(UnitDescription):
    """Mask the rows of one packed shard: the one whose number in the table of shards is the unit's.

    `run` names the rows and the settings, which decide all that a unit writes.
    """

    stage: str = "mask"


class MaskDetails(Details):
    """Nothing besides the counts and the shard."""


def mask_rows(context: MaskContext, unit: MaskUnit) -> UnitOutcome[MaskDetails]:
    """Write one shard again with the new static copies; the unit of the mask stage.

    Raises:
        ShardCorruptError: The shard is not what was written.
    """
    old, shards = context.old, _read_table(context)
    new, tables = PackedBlocks(context.new), _make_tables(context)
    first_row_id = int(shards.first_row_id[unit.unit])
    tokens = 0

    def iter_masked() -> Iterator[pa.RecordBatch]:
        nonlocal tokens
        for number, block in enumerate(_iter_blocks(context.dataset, old, shards, unit.unit)):
            rows = _as_rows(block)
            tokens += count_tokens(rows)
            row_id = first_row_id + number * old.block_rows
            yield make_block(rows, row_id, new.schema, tables, context.new.masking, context.new.copies)

    receipt = write_blocks(
        context.dataset,
        f"{context.new.shards_folder}/{_name_shard(context.dataset, shards, unit.unit)}",
        new.schema,
        iter_masked(),
        text_bytes=int(shards.text_bytes[unit.unit]),
        first_row_id=first_row_id,
        compression=old.compression,
    ).model_copy(update={"tokens": tokens})
    counts = {"rows": receipt.rows, "tokens": tokens, "text_bytes": receipt.text_bytes}
    return UnitOutcome([receipt], counts, MaskDetails())


MASK = Stage("mask rows", "drawing the masks of the rows", MaskUnit, MaskDetails, mask_rows)


@functools.lru_cache(maxsize=1)
def _read_table(context: MaskContext) -> ShardTable:
    return read_shard_table(context.dataset, context.old)


@functools.lru_cache(maxsize=1)
def _make_tables(context: MaskContext) -> MaskTables:
    path = context.dataset.display_url
    return make_tables(context.new.masking, context.new.vocabulary, lambda: context.tokenizer_json, path)


def _name_shard(dataset: Store, shards: ShardTable, shard: int) -> str:
    """The name of a shard in its folder; another than packing gives could be that of something else there."""
    name = str(shards.paths[shard].as_py())
    if version_of_path(name) != "" or name == SHARD_TABLE:
        raise ShardCorruptError(
            "a shard has another name than packing gives it",
            path=dataset.locate(shards.path(shard)),
            expected="shard-<number>.arrow",
            found=name,
            action="write the dataset again",
        )
    return name


def _iter_blocks(dataset: Store, manifest: PackedManifest, shards: ShardTable, shard: int) -> Iterator[PackedBlock]:
    """The blocks of a shard in order, each checked; few of them are in memory at a time."""
    reader, path = PackedBlocks(manifest), shards.path(shard)
    first, stop = int(shards.first_block[shard]), int(shards.first_block[shard + 1])
    rows_left = int(shards.rows[shard])
    for start in range(first, stop, BLOCKS_AT_ONCE):
        end = min(start + BLOCKS_AT_ONCE, stop)
        begin = int(shards.block_offsets[start])
        length = int(shards.block_offsets[end - 1]) + int(shards.block_lengths[end - 1]) - begin
        try:
            data = pa.py_buffer(dataset.read_range(path, begin, length))
        except FileNotFoundError:
            raise explain_gone(dataset.locate(path)) from None
        for block in range(start, end):
            place = int(shards.block_offsets[block]) - begin
            num_rows = min(manifest.block_rows, rows_left)
            piece = data[place : place + int(shards.block_lengths[block])]
            yield reader.read(piece, int(shards.block_checksums[block]), num_rows, dataset.locate(path), block - first)
            rows_left -= num_rows
            report_progress((block + 1 - first) / (stop - first))


def _as_rows(block: PackedBlock) -> PackedRows:
    lists = {
        name: RowLists(of_kind.offsets, values)
        for of_kind in (block.lists(Per.SEQUENCE, 0), block.lists(Per.SEGMENT, 0))
        for name, values in of_kind.values.items()
    }
    return PackedRows(block.input_ids, lists, block.word_starts)
