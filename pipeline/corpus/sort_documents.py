"""Second level of the exchange: sort an interval of the hash's range, drop duplicates, write document shards.

A unit of several shards (a corpus of more shards than buckets) first spreads its documents over one scratch file a
shard, so that memory holds one shard at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.corpus.exchange import CorpusContext
from maskmill.pipeline.corpus.exchange_index import iter_pieces
from maskmill.pipeline.corpus.hash_documents import assign_to_intervals, comparison_of
from maskmill.pipeline.corpus.number_places import number_places
from maskmill.pipeline.corpus.order_documents import Ordered, order_documents, order_scratch, spread_over_scratch
from maskmill.pipeline.corpus.plan import SortUnit
from maskmill.pipeline.corpus.source_tally import SourceTally, TalliedSources, count_of_split
from maskmill.pipeline.engine.stage import Stage
from maskmill.pipeline.engine.units import UnitOutcome
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.schemas.documents import DOCUMENT_SCHEMA, NUMBERED_SCHEMA
from maskmill.schemas.layout import documents_folder, numbered_folder, shard_path
from maskmill.schemas.receipt import Details, ShardReceipt
from maskmill.schemas.rows import BLOCK_BYTES

SORT_BYTES_PER_SHARD = 4
MIN_SORT_BYTES = 16 << 20
MAX_SORT_BYTES = 1 << 30
"""Limit of the documents sorted in memory at once; Arrow's 32-bit offsets end at 2 GiB."""


class SortDetails(Details):
    """What became of the documents by source.

    Attributes:
        sources: Duplicates, and, unless near duplicates are dropped afterwards, documents written.
    """

    counted: ClassVar[frozenset[str]] = frozenset({"written", "duplicates", "text_bytes"})

    sources: TalliedSources


SortedShard = tuple[int, Iterator[Ordered]]


def sort_documents(context: CorpusContext, unit: SortUnit) -> UnitOutcome[SortDetails]:
    """Write the document shards of one interval; the unit of the sort stage.

    Raises:
        ConfigError: The disk that TMPDIR names is full.
        ShardCorruptError: A piece of the exchange is not what the map stage wrote.
        StaleArtifactError: An object of the exchange is gone.
    """
    is_last = context.run.documents.near_duplicates is None
    folder_of, schema = (documents_folder, DOCUMENT_SCHEMA) if is_last else (numbered_folder, NUMBERED_SCHEMA)
    shards: list[ShardReceipt] = []
    counts = {"written": 0, "duplicates": 0, "text_bytes": 0}
    sources = SourceTally()

    def select_documents(tables: Iterable[Ordered]) -> Iterator[pa.Table]:
        for table, duplicates in tables:
            counts["written"] += table.num_rows
            counts["duplicates"] += len(duplicates)
            sources.add(duplicates, "duplicates")
            counts["text_bytes"] += int(_lengths(table, "text").sum())
            if is_last:
                sources.add_texts(table, count_of_split(unit.split))
            else:
                table = table.append_column(schema.field("place"), pa.array(number_places(table)))
            yield table.select(schema.names).replace_schema_metadata(schema.metadata)

    with tempfile.TemporaryDirectory(prefix="maskmill-sort-") as folder:
        for shard, tables in _iter_shards(context, unit, folder):
            before = counts["text_bytes"]
            path = shard_path(folder_of(unit.split), shard)
            blocks = cut_blocks(select_documents(tables))
            receipt = write_blocks(context.output, path, schema, blocks, first_row_id=shard << 32)
            shards.append(receipt.model_copy(update={"text_bytes": counts["text_bytes"] - before}))
    return UnitOutcome(shards, counts, SortDetails(sources=sources.tallied()))


SORT = Stage("shuffle and shard", "sorting the documents by their hashes", SortUnit, SortDetails, sort_documents)


def _iter_shards(context: CorpusContext, unit: SortUnit, folder: str) -> Iterator[SortedShard]:
    deduplicate = context.run.documents.deduplicate
    compare = comparison_of(deduplicate) if deduplicate else None
    limit_bytes = min(max(SORT_BYTES_PER_SHARD * context.shard_bytes, MIN_SORT_BYTES), MAX_SORT_BYTES)
    pieces = iter_pieces(context.output, unit)
    num_shards = unit.stop_shard - unit.first_shard
    if num_shards == 1:
        yield unit.first_shard, order_documents(pieces, compare, limit_bytes, folder)
        return

    def shard_of(piece: pa.RecordBatch) -> npt.NDArray[np.int64]:
        return assign_to_intervals(piece.column("hash_high").to_numpy(), unit.num_shards) - unit.first_shard

    for shard, part in enumerate(spread_over_scratch(pieces, shard_of, num_shards, folder), unit.first_shard):
        yield shard, order_scratch(part, compare, limit_bytes, folder)


def cut_blocks(tables: Iterable[pa.Table]) -> Iterator[pa.RecordBatch]:
    """Record batches of about 256 KiB each, at places that depend on the documents and not on the tables.

    A block takes documents until one more would make its texts, ids and sources more than 256 KiB; a document
    larger than that is a block of its own.
    """
    rest: pa.Table | None = None
    for table in tables:
        whole = (pa.concat_tables([rest, table]) if rest is not None else table).combine_chunks()
        sizes = sum((_lengths(whole, name) for name in ("doc_id", "source", "text")), start=np.int64(0))
        ends = np.cumsum(sizes)
        start, filled = 0, 0
        while start < whole.num_rows:
            stop = max(start + 1, int(np.searchsorted(ends, filled + BLOCK_BYTES, side="right")))
            if stop == whole.num_rows:
                break
            yield _copy_rows(whole, start, stop)
            start, filled = stop, int(ends[stop - 1])
        rest = pa.Table.from_batches([_copy_rows(whole, start, whole.num_rows)]) if start < whole.num_rows else None
    if rest is not None:
        yield from rest.to_batches()


def _copy_rows(table: pa.Table, start: int, stop: int) -> pa.RecordBatch:
    """Copy rows to arrays of their own: a slice would be written with its parent's offsets."""
    rows = table.take(pa.array(np.arange(start, stop))).combine_chunks()
    return rows.to_batches()[0]


def _lengths(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    """UTF-8 bytes of each text of a column, `(N,)`."""
    lengths: npt.NDArray[np.int64] = pc.binary_length(table.column(name)).to_numpy().astype(np.int64)
    return lengths
