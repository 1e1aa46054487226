"""The places of every bucket's pieces: written once between map and sort, read by each sort unit for its buckets.

The index is read by sort units instead of being sent to them: at 10 TB it has 4 * 10^7 lines.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from maskmill.pipeline.corpus.exchange import (
    EMPTY_FILES,
    EXCHANGE_SCHEMA,
    MAX_OFFSET,
    WITHOUT_ID,
    WITHOUT_SOURCE,
    MapDetails,
    exchange_path,
)
from maskmill.pipeline.corpus.hash_documents import assign_to_intervals
from maskmill.pipeline.corpus.plan import SortUnit
from maskmill.pipeline.corpus.plan_map_units import MapUnit
from maskmill.pipeline.corpus.source_tally import SourceTally
from maskmill.pipeline.engine.receipts import Receipts
from maskmill.pipeline.storage.arrow_batches import read_block
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.arrow_reader import ArrowFile
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import ShardCorruptError, StaleArtifactError
from maskmill.schemas.layout import EXCHANGE

INDEX_PATH = f"{EXCHANGE}/index.arrow"
INDEX_SCHEMA = pa.schema(
    [
        pa.field("bucket", pa.uint32(), nullable=False),
        pa.field("unit", pa.uint32(), nullable=False),
        pa.field("offset", pa.uint64(), nullable=False),
        pa.field("length", pa.uint64(), nullable=False),
        pa.field("checksum", pa.uint64(), nullable=False),
        pa.field("first_file", pa.uint32(), nullable=False),
        pa.field("lines_before", pa.uint64(), nullable=False),
    ]
)
OF_TABLES = ("read", "quarantined", WITHOUT_ID, WITHOUT_SOURCE)
"""Counts that are kept for each input table."""
GROUP_LINES = 1 << 20
"""Lines that the driver holds at a time, some 30 MiB."""
MAX_PIECE_BYTES = 4 << 30
"""Limit of a map unit's documents of one bucket: 128 MiB of text and one more document."""
READ_AHEAD_BYTES = 32 << 20
READ_AHEAD_THREADS = 8

Piece = tuple[int, int, int, int, int, int]
"""Map unit, offset, length and checksum; then the place of the unit's first file in the run, and the lines of that file
before what the unit has read of it."""


@dataclass(frozen=True)
class ExchangeTotals:
    """Totals of the map stage.

    Attributes:
        counts: Of the receipts.
        tables: `OF_TABLES` of them for each input table, by its number from 0.
        text_bytes: Of the documents to train on and of the held-out ones, duplicates among them.
        sources: What became of the documents, by source.
        first_empty: Path of the first file without a document; empty where there is none.
        first_misnamed: What to do with the first file that is not what its name says; empty where there is none.
    """

    counts: Counter[str]
    tables: dict[int, Counter[str]]
    text_bytes: tuple[int, int]
    sources: SourceTally
    first_empty: str = ""
    first_misnamed: str = ""


def write_index(output: Store, mapped: Receipts[MapUnit, MapDetails]) -> ExchangeTotals:
    """Write where the pieces of every bucket lie, in the order of (file, line) within a bucket.

    The units are taken in groups of about a million lines; of each group the file has one record batch a bucket.
    """
    counts, sources = Counter[str](), SourceTally()
    tables: defaultdict[int, Counter[str]] = defaultdict(Counter)
    text_bytes = [0, 0]
    first_empty = first_misnamed = ""
    num_buckets = mapped.units[0].num_buckets + mapped.units[0].num_held_out_buckets

    def iter_units() -> Iterator[tuple[MapUnit, MapDetails, int]]:
        nonlocal first_empty, first_misnamed
        lines = read = 0  # of the parts of a file before this one
        for unit, receipt in mapped.pairs():
            details = receipt.details
            if not unit.start:
                lines = read = 0
            counts.update(receipt.counts)
            sources.merge(details.sources)
            tables[unit.table].update({name: receipt.counts.get(name, 0) for name in OF_TABLES})
            text_bytes[0] += details.text_bytes[0]
            text_bytes[1] += details.text_bytes[1]
            read += receipt.counts.get("read", 0)
            empty = details.first_empty
            if unit.is_part and unit.stop == unit.sizes_bytes[0] and not read:
                counts[EMPTY_FILES] += 1
                empty = unit.paths[0]
            first_empty = first_empty or empty
            first_misnamed = first_misnamed or details.first_misnamed
            yield unit, details, lines
            lines += details.lines

    write_blocks(output, INDEX_PATH, INDEX_SCHEMA, _iter_groups(iter_units(), num_buckets))
    return ExchangeTotals(counts, tables, (text_bytes[0], text_bytes[1]), sources, first_empty, first_misnamed)


def _iter_groups(units: Iterable[tuple[MapUnit, MapDetails, int]], num_buckets: int) -> Iterator[pa.RecordBatch]:
    group: list[pa.RecordBatch] = []
    lines = 0
    for unit, details, lines_before in units:
        bucket = details.buckets
        number, first_file, before = ([one] * len(bucket) for one in (unit.unit, unit.first_file, lines_before))
        values = [bucket, number, details.offsets, details.lengths, details.checksums, first_file, before]
        arrays = [pa.array(value, kind.type) for value, kind in zip(values, INDEX_SCHEMA, strict=True)]
        group.append(pa.record_batch(arrays, schema=INDEX_SCHEMA))
        lines += len(bucket)
        if lines >= GROUP_LINES:
            yield from _split_group(group, num_buckets)
            group, lines = [], 0
    if group:
        yield from _split_group(group, num_buckets)


def _split_group(group: list[pa.RecordBatch], num_buckets: int) -> Iterator[pa.RecordBatch]:
    whole = pa.concat_batches(group)
    buckets = whole.column("bucket").to_numpy()
    order = np.argsort(buckets, kind="stable")
    bounds = np.searchsorted(buckets[order], np.arange(num_buckets + 1))
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        yield whole.take(pa.array(order[start:stop]))


def iter_pieces(output: Store, unit: SortUnit) -> Iterator[pa.RecordBatch]:
    """The documents of the unit's shards, bucket by bucket, in the order of (file, line) within each.

    Their columns `file` and `line` are of the whole run: the place of a document's file among all inputs, and its line
    in the whole file, which is also in its id if it has none of its own. No two documents have the same of both.

    Raises:
        ShardCorruptError: A piece is not what the map stage wrote.
        StaleArtifactError: An object of the exchange is gone.
    """
    for (number, offset, _, checksum, *place), data in _read_pieces(output, list_pieces(output, unit)):
        batch = read_block(data, EXCHANGE_SCHEMA, checksum, output.locate(exchange_path(number)), offset)
        batch = _place_in_run(batch, *place)
        shard = assign_to_intervals(batch.column("hash_high").to_numpy(), unit.num_shards)
        inside = (shard >= unit.first_shard) & (shard < unit.stop_shard)
        if inside.any():
            yield batch if inside.all() else batch.filter(pa.array(inside))


def _place_in_run(batch: pa.RecordBatch, first_file: int, lines_before: int) -> pa.RecordBatch:
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    columns["file"] = pa.array(batch.column("file").to_numpy() + np.uint32(first_file))
    if lines_before:
        columns["line"] = pa.array(batch.column("line").to_numpy() + np.uint64(lines_before))
        ids = zip(*(columns[name].to_pylist() for name in ("doc_id", "line", "is_numbered")), strict=True)
        renumbered = [f"{name.rpartition('#')[0]}#{line}" if is_made else name for name, line, is_made in ids]
        columns["doc_id"] = pa.array(renumbered, pa.string())
    return pa.record_batch(list(columns.values()), schema=EXCHANGE_SCHEMA)


def list_pieces(output: Store, unit: SortUnit) -> list[Piece]:
    """Where the pieces of the unit's buckets lie, in the order of their documents."""
    try:
        with output.open_input(INDEX_PATH) as file:
            index = ArrowFile(file, INDEX_SCHEMA, output.locate(INDEX_PATH))
            if len(index) % unit.num_buckets:
                raise _not_an_index(output, f"{len(index)} record batches for {unit.num_buckets} buckets")
            groups = range(0, len(index), unit.num_buckets)
            batches = [index.read(group + bucket) for bucket in unit.buckets for group in groups]
            columns = [[batch.column(name).to_pylist() for batch in batches] for name in INDEX_SCHEMA.names[1:]]
    except FileNotFoundError:
        raise _gone(output, INDEX_PATH) from None
    pieces = [piece for parts in zip(*columns, strict=True) for piece in zip(*parts, strict=True)]
    if any(piece[1] > MAX_OFFSET or piece[2] > MAX_PIECE_BYTES for piece in pieces):
        raise _not_an_index(output, f"a piece of more than {MAX_PIECE_BYTES} bytes, or beyond {MAX_OFFSET}")
    return pieces


def _not_an_index(output: Store, found: str) -> ShardCorruptError:
    return ShardCorruptError(
        "the index of the exchange has changed since it was written",
        path=output.locate(INDEX_PATH),
        found=found,
        action="delete work/ in the output, then run the same command again",
    )


def _read_pieces(output: Store, pieces: Sequence[Piece]) -> Iterator[tuple[Piece, bytes]]:
    """The bytes of the pieces in order; from an object store some are prefetched while one is being sorted."""

    def read(piece: Piece) -> bytes:
        number, offset, length, *_ = piece
        try:
            return output.read_range(exchange_path(number), offset, length)
        except FileNotFoundError:
            raise _gone(output, exchange_path(number)) from None

    if not output.capabilities.parallel_reads:
        yield from ((piece, read(piece)) for piece in pieces)
        return
    pool = ThreadPoolExecutor(READ_AHEAD_THREADS)
    try:
        waiting: deque[tuple[Piece, Future[bytes]]] = deque()
        waiting_bytes = 0
        for piece in pieces:
            while waiting and waiting_bytes + piece[2] > READ_AHEAD_BYTES:
                first, answer = waiting.popleft()
                waiting_bytes -= first[2]
                yield first, answer.result()
            waiting.append((piece, pool.submit(read, piece)))
            waiting_bytes += piece[2]
        while waiting:
            first, answer = waiting.popleft()
            yield first, answer.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _gone(output: Store, path: str) -> StaleArtifactError:
    return StaleArtifactError(
        "an object of the exchange is gone",
        path=output.locate(path),
        expected="what the map stage wrote",
        found="no file",
        action="delete work/ in the output, then run the same command again",
    )
