"""First level of the exchange: read raw files, reject what is bad, and partition documents by hash.

A map unit writes one object. It is made of runs of bounded size; within a run the documents of each bucket form one
record batch, in the order they were read. So a bucket's documents, taken object by object and run by run, are in
the order of (path, line), and the first of exact duplicates is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from pydantic import model_validator

from maskmill.pipeline.corpus.hash_documents import assign_to_intervals, find_duplicates, hash_documents, sort_by_hash
from maskmill.pipeline.corpus.judge_quarantine import REASON, UnitGuard
from maskmill.pipeline.corpus.list_inputs import InputFile
from maskmill.pipeline.corpus.name_content import LOOKED_AT, advise_on_content
from maskmill.pipeline.corpus.open_input import OpenInput
from maskmill.pipeline.corpus.plan import MapUnit, plan_shard_bytes
from maskmill.pipeline.corpus.quarantine import Quarantine
from maskmill.pipeline.corpus.read_documents import DocumentBlock, Reject, iter_documents
from maskmill.pipeline.engine.activity import report_progress
from maskmill.pipeline.engine.stage import Stage
from maskmill.pipeline.engine.units import UnitOutcome
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.counts import Count
from maskmill.schemas.documents import DOCUMENT_SCHEMA
from maskmill.schemas.errors import InputDataError
from maskmill.schemas.layout import EXCHANGE
from maskmill.schemas.receipt import Details, UInt32, UInt64
from maskmill.schemas.run_file import InputSection, RunFile

EXCHANGE_SCHEMA = pa.schema([*DOCUMENT_SCHEMA, pa.field("hash_high", pa.uint64()), pa.field("hash_low", pa.uint64())])
RUN_BYTES_PER_BUCKET = 512 << 10
"""Runs of two shards were tried: 30 MB of memory more to touch in every worker, 2.2 s for 183 MB instead of 1.8."""
MAX_RUN_BYTES = 128 << 20
"""With one document more, of 1 GiB at most, still within Arrow's 32-bit offsets. 512 buckets get 256 KiB each."""
MAX_RUN_DOCUMENTS = 1 << 20
WITHOUT_ID, WITHOUT_SOURCE = "without id", "without source"
"""Counts of documents that do not have the key of `id_field` or `source_field`, where one is set."""
EMPTY_FILES, MISNAMED_FILES = "empty files", "misnamed files"
"""Counts of files that hold no document and nothing that was rejected, and of those that are not what their names say,
such as gzip under `.jsonl`."""
DOCUMENT_OVERHEAD_BYTES = 200  # what the Python objects of a document take besides its text


@dataclass(frozen=True)
class CorpusContext:
    """The context of every unit of the corpus's stages."""

    output: Store
    run: RunFile
    inputs: tuple[InputFile, ...]

    @property
    def shard_bytes(self) -> int:
        """Text wanted in a shard, in bytes."""
        return plan_shard_bytes(self.inputs, self.run.documents.shard_mb)


class MapDetails(Details):
    """Where the pieces of each bucket are in the object of a map unit, one value a record batch in every list.

    Attributes:
        buckets: The bucket.
        rows: Documents.
        text_bytes: UTF-8 bytes of their texts.
        offsets: Where it begins in the object, in bytes.
        lengths: In bytes.
        checksums: xxh3-64.
        first_empty: Path of the first file without a document; empty where there is none.
        first_misnamed: What to do with the first file that is not what its name says; empty where there is none.
    """

    buckets: list[UInt32]
    rows: list[Count]
    text_bytes: list[Count]
    offsets: list[Count]
    lengths: list[UInt32]
    checksums: list[UInt64]
    first_empty: str
    first_misnamed: str

    @model_validator(mode="after")
    def _are_of_the_same_batches(self) -> MapDetails:
        lists = (self.buckets, self.rows, self.text_bytes, self.offsets, self.lengths, self.checksums)
        if len(set(map(len, lists))) > 1:
            raise ValueError("its lists differ in length")
        return self


@dataclass
class _OddFiles:
    """Files of a unit that deserve a warning."""

    empty: list[str] = field(default_factory=list)
    """Paths of those without a document."""
    advice: list[str] = field(default_factory=list)
    """What to do with each of those that are not what their names say."""

    def note_first_lines(self, rejects: Iterable[Reject]) -> None:
        """Check how a file begins whose first line was rejected."""
        starts = ((reject.path, reject.content[:LOOKED_AT]) for reject in rejects if reject.line == 1)
        self.advice += filter(None, (advise_on_content(path, start) for path, start in starts))


@dataclass
class _Run:
    """Documents gathered until they fill a run."""

    doc_id: list[str] = field(default_factory=list)
    source: list[str] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    line: list[int] = field(default_factory=list)
    text: list[bytes] = field(default_factory=list)
    size_bytes: int = 0

    def add(self, path: str, block: DocumentBlock, start: int, stop: int, size_bytes: int) -> None:
        self.doc_id += block.doc_id[start:stop]
        self.source += block.source[start:stop]
        self.path += [path] * (stop - start)
        self.line += block.line[start:stop]
        self.text += block.text[start:stop]
        self.size_bytes += size_bytes


def map_documents(context: CorpusContext, unit: MapUnit) -> UnitOutcome[MapDetails]:
    """Partition the documents of some files into buckets; the unit of the map stage.

    Raises:
        InputDataError: A file cannot be read, or more is being quarantined than `max_quarantined` allows.
    """
    counts: Counter[str] = Counter()
    ranges: list[tuple[int, int, int]] = []
    odd = _OddFiles()
    receipt = write_blocks(
        context.output,
        exchange_path(unit.unit),
        EXCHANGE_SCHEMA,
        _iter_buckets(context, unit, counts, ranges, odd),
    )
    counts[EMPTY_FILES], counts[MISNAMED_FILES] = len(odd.empty), len(odd.advice)
    details = MapDetails(
        buckets=[bucket for bucket, _, _ in ranges],
        rows=[rows for _, rows, _ in ranges],
        text_bytes=[text_bytes for _, _, text_bytes in ranges],
        offsets=receipt.block_offsets,
        lengths=receipt.block_lengths,
        checksums=receipt.block_checksums,
        first_empty=odd.empty[0] if odd.empty else "",
        first_misnamed=odd.advice[0] if odd.advice else "",
    )
    return UnitOutcome([], dict(counts), details)


MAP = Stage("read and partition", "reading the input files", MapUnit, MapDetails, map_documents)


def exchange_path(unit: int) -> str:
    """The path of a map unit's object."""
    return f"{EXCHANGE}/{unit:06d}.arrow"


def _iter_buckets(
    context: CorpusContext,
    unit: MapUnit,
    counts: Counter[str],
    ranges: list[tuple[int, int, int]],
    odd: _OddFiles,
) -> Iterator[pa.RecordBatch]:
    """Record batches of one bucket each; fills `counts`, `odd` and, for each batch, `ranges`."""
    quarantine = Quarantine(context.output, unit.unit)
    try:
        for run in _iter_runs(context, unit, counts, quarantine, odd):
            yield from _partition(run, context.run, unit, counts, ranges)
    except InputDataError:
        quarantine.write()  # the job stops, most likely because of these: a person will want to look at them
        raise
    quarantine.write()


def _iter_runs(
    context: CorpusContext, unit: MapUnit, counts: Counter[str], quarantine: Quarantine, odd: _OddFiles
) -> Iterator[_Run]:
    """The unit's documents in runs, cut by the documents' sizes alone, independent of read boundaries."""
    num_buckets = unit.num_buckets + unit.num_held_out_buckets
    limit_bytes = min(RUN_BYTES_PER_BUCKET * num_buckets, MAX_RUN_BYTES)
    guard = UnitGuard(context.run.input.max_quarantined, sum(file.assumed_text_bytes for file in context.inputs))
    run = _Run()
    unit_bytes, bytes_before = sum(context.inputs[index].assumed_text_bytes for index in unit.files), 0
    for index in unit.files:
        file = context.inputs[index]
        read_before = counts["read"]
        with OpenInput(file) as opened:
            for block in iter_documents(file, opened, context.run.input):
                quarantine.add(block.rejects)
                odd.note_first_lines(block.rejects)
                _count_block(counts, block, context.run.input)
                bytes_of_file = opened.share_read * file.assumed_text_bytes
                guard.check(counts, bytes_of_file, quarantine.examples)
                report_progress((bytes_before + bytes_of_file) / max(1, unit_bytes))
                sizes = _measure_documents(file.path, block)
                start = 0
                while start < len(sizes):
                    stop, size_bytes = _fill_run(run, sizes, start, limit_bytes)
                    if stop == start:
                        yield run
                        run = _Run()
                        continue
                    run.add(file.path, block, start, stop, size_bytes)
                    start = stop
            guard.finish_file(file.assumed_text_bytes)
        if counts["read"] == read_before:
            odd.empty.append(file.path)
        bytes_before += file.assumed_text_bytes
    if run.line:
        yield run


def _count_block(counts: Counter[str], block: DocumentBlock, settings: InputSection) -> None:
    counts["read"] += len(block.line) + len(block.rejects)
    counts[WITHOUT_ID] += block.without_id if settings.id_field is not None else 0
    counts[WITHOUT_SOURCE] += block.without_source if settings.source_field is not None else 0
    counts["text_bytes"] += sum(map(len, block.text))
    for reject in block.rejects:
        counts["quarantined"] += 1
        counts[f"{REASON}{reject.reason}"] += 1


def _measure_documents(path: str, block: DocumentBlock) -> list[int]:
    """Approximate bytes that each document takes in memory; a character of an id takes up to four."""
    fixed = DOCUMENT_OVERHEAD_BYTES + 4 * len(path)
    return [
        fixed + len(text) + 4 * (len(doc_id) + len(source))
        for text, doc_id, source in zip(block.text, block.doc_id, block.source, strict=True)
    ]


def _fill_run(run: _Run, sizes: list[int], start: int, limit_bytes: int) -> tuple[int, int]:
    """How many documents from `start` on fit into a run, and their bytes; an empty run takes any document."""
    filled = run.size_bytes
    room = MAX_RUN_DOCUMENTS - len(run.line)
    stop = start
    while stop < len(sizes) and stop - start < room and (not filled or filled + sizes[stop] <= limit_bytes):
        filled += sizes[stop]
        stop += 1
    return stop, filled - run.size_bytes


def _partition(
    run: _Run, settings: RunFile, unit: MapUnit, counts: Counter[str], ranges: list[tuple[int, int, int]]
) -> Iterator[pa.RecordBatch]:
    hashes = hash_documents(run.text, settings.documents.seed, settings.documents.held_out)
    kept = np.arange(len(run.line))
    if settings.documents.deduplicate:
        # Duplicates within a run are dropped here, so that a text that occurs a million times in a corpus reaches
        # the sort unit at most once per run.
        order = sort_by_hash(hashes.high, hashes.low)
        sorted_texts = [run.text[i] for i in order]
        duplicate = find_duplicates(hashes.high[order], hashes.low[order], sorted_texts)
        counts["duplicates"] += int(duplicate.sum())
        kept = np.sort(order[~duplicate], kind="stable")
    bucket = np.where(
        hashes.held_out,
        unit.num_buckets + assign_to_intervals(hashes.high, max(1, unit.num_held_out_buckets)),
        assign_to_intervals(hashes.high, unit.num_buckets),
    )[kept]
    documents = pa.record_batch(
        [
            pa.array(run.doc_id, pa.string()),
            pa.array(run.source, pa.string()),
            pa.array(run.path, pa.string()),
            pa.array(run.line, pa.uint64()),
            pa.array(run.text, pa.string()),
            pa.array(hashes.high),
            pa.array(hashes.low),
        ],
        schema=EXCHANGE_SCHEMA,
    )
    text_bytes = np.fromiter(map(len, run.text), np.int64, len(run.text))
    order = np.argsort(bucket, kind="stable")
    numbers, starts = np.unique(bucket[order], return_index=True)
    stops = [*starts[1:].tolist(), len(order)]
    for number, start, stop in zip(numbers.tolist(), starts.tolist(), stops, strict=True):
        rows = kept[order[start:stop]]
        ranges.append((number, len(rows), int(text_bytes[rows].sum())))
        yield documents.take(pa.array(rows))
