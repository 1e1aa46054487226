"""First level of the exchange: read raw files, reject what is bad, and partition documents by hash.

A map unit writes one object, see `exchange`. A unit of files that another output has read takes their documents from
there instead, see `take_unit`; what it writes is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from maskmill.pipeline.corpus.exchange import (
    EMPTY_FILES,
    EXCHANGE_SCHEMA,
    MISNAMED_FILES,
    WITHOUT_ID,
    WITHOUT_SOURCE,
    CorpusContext,
    KeptUnit,
    MapDetails,
    UnitNotes,
    exchange_path,
)
from maskmill.pipeline.corpus.filters.evaluation_index import open_index
from maskmill.pipeline.corpus.filters.libraries import require_libraries
from maskmill.pipeline.corpus.filters.table import filter_block
from maskmill.pipeline.corpus.formats.document_block import DocumentBlock, Reject
from maskmill.pipeline.corpus.formats.table import iter_documents, name_format
from maskmill.pipeline.corpus.hash_documents import comparison_of, find_duplicates, hash_documents, sort_by_hash
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.judge_quarantine import REASON, UnitGuard
from maskmill.pipeline.corpus.name_content import LOOKED_AT, advise_on_content
from maskmill.pipeline.corpus.open_input import OpenInput
from maskmill.pipeline.corpus.partition_runs import DocumentRun, WrittenBatches, partition_runs
from maskmill.pipeline.corpus.plan_map_units import MapUnit
from maskmill.pipeline.corpus.quarantine import Quarantine
from maskmill.pipeline.corpus.take_share import take_share
from maskmill.pipeline.corpus.take_unit import take_runs
from maskmill.pipeline.engine.activity import report_progress
from maskmill.pipeline.engine.stage import Stage
from maskmill.pipeline.engine.units import UnitOutcome
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.schemas.errors import InputDataError
from maskmill.schemas.run_file import DocumentsSection, InputSection

RUN_BYTES_PER_BUCKET = 512 << 10
"""Runs of two shards were tried: 30 MB of memory more to touch in every worker, 2.2 s for 183 MB instead of 1.8."""
MAX_RUN_BYTES = 128 << 20
"""With one document more, of 1 GiB at most, still within Arrow's 32-bit offsets. 512 buckets get 256 KiB each."""
MAX_RUN_DOCUMENTS = 1 << 20
DOCUMENT_OVERHEAD_BYTES = 200  # what the Python objects of a document take besides its text


@dataclass
class _OddFiles:
    """Files of a unit that deserve a warning."""

    empty: list[str] = field(default_factory=list)
    """Paths of those without a document."""
    advice: list[str] = field(default_factory=list)
    """Advice for each file that does not match its name."""

    def note_first_lines(self, rejects: Iterable[Reject]) -> None:
        """Check how a file begins whose first line was rejected."""
        starts = ((reject.path, reject.content[:LOOKED_AT]) for reject in rejects if reject.line == 1)
        self.advice += filter(None, (advise_on_content(path, start) for path, start in starts))


@dataclass
class _Run:
    """Documents gathered until they fill a run."""

    doc_id: list[str] = field(default_factory=list)
    source: list[str] = field(default_factory=list)
    text: list[bytes] = field(default_factory=list)
    file: list[int] = field(default_factory=list)
    line: list[int] = field(default_factory=list)
    is_numbered: list[bool] = field(default_factory=list)
    size_bytes: int = 0

    def add(self, file: int, block: DocumentBlock, start: int, stop: int, size_bytes: int) -> None:
        self.doc_id += block.doc_id[start:stop]
        self.source += block.source[start:stop]
        self.text += block.text[start:stop]
        self.file += [file] * (stop - start)
        self.line += block.line[start:stop]
        self.is_numbered += block.is_numbered[start:stop]
        self.size_bytes += size_bytes


def map_documents(context: CorpusContext, unit: MapUnit) -> UnitOutcome[MapDetails]:
    """Partition the documents of some files into buckets; the unit of the map stage.

    Raises:
        InputDataError: A file cannot be read, or more is being quarantined than `max_quarantined` allows.
        ShardCorruptError: What another output has of these files is not what was written.
        StaleArtifactError: It is gone, or has become that of other files.
    """
    notes, written = UnitNotes(), WrittenBatches()
    runs = _read_files(context, unit, notes) if unit.taken_from is None else take_runs(context, unit, notes)
    batches = partition_runs(runs, unit, written)
    receipt = write_blocks(context.output, exchange_path(unit.unit), EXCHANGE_SCHEMA, batches)
    details = MapDetails(
        buckets=written.buckets,
        rows=written.rows,
        text_bytes=notes.text_bytes,
        lines=notes.lines,
        offsets=receipt.block_offsets,
        lengths=receipt.block_lengths,
        checksums=receipt.block_checksums,
        first_empty=notes.first_empty,
        first_misnamed=notes.first_misnamed,
        matches=notes.matches,
        sources=notes.sources.tallied(),
        kept=KeptUnit(key=unit.key, runs=written.runs, quarantined=notes.quarantined) if unit.key else None,
    )
    return UnitOutcome([], dict(notes.counts), details)


MAP = Stage("read and partition", "reading the input files", MapUnit, MapDetails, map_documents)


def _read_files(context: CorpusContext, unit: MapUnit, notes: UnitNotes) -> Iterator[DocumentRun]:
    """The documents of the unit's files; fills `notes`."""
    quarantine, odd = Quarantine(context.output, unit.unit), _OddFiles()
    try:
        for run in _iter_runs(context, unit, notes, quarantine, odd):
            yield _hash_run(run, context.run.documents, notes)
    except InputDataError:
        quarantine.write()  # the job stops, most likely because of these: a person will want to look at them
        raise
    quarantine.write()
    notes.counts[EMPTY_FILES], notes.counts[MISNAMED_FILES] = len(odd.empty), len(odd.advice)
    notes.quarantined = quarantine.checksums
    notes.first_empty = odd.empty[0] if odd.empty else ""
    notes.first_misnamed = odd.advice[0] if odd.advice else ""


def _iter_runs(
    context: CorpusContext, unit: MapUnit, notes: UnitNotes, quarantine: Quarantine, odd: _OddFiles
) -> Iterator[_Run]:
    """The unit's documents in runs, cut by the documents' sizes alone, independent of read boundaries."""
    counts, settings = notes.counts, context.run.input[unit.table]
    limit_bytes = _plan_run_bytes(unit, context.run.documents)
    guard = UnitGuard(context.run.max_quarantined, context.assumed_text_bytes)
    choose = _choose_documents(context, unit, notes)
    run = _Run()
    unit_bytes, bytes_before = unit.assumed_text_bytes, 0
    for place, file in enumerate(unit.inputs):
        read_before = counts["read"]
        file_bytes = unit_bytes if unit.is_part else file.assumed_text_bytes
        with _open_part(file, unit, settings) if unit.is_part else OpenInput(file) as opened:
            for block in iter_documents(file, opened, settings):
                quarantine.add(block.rejects, opened.first_byte)
                if not unit.start:
                    odd.note_first_lines(block.rejects)
                _count_block(notes, file, block, settings)
                block = choose(block)
                bytes_of_file = opened.share_read * file_bytes
                guard.check(counts, bytes_of_file, quarantine.examples)
                report_progress((bytes_before + bytes_of_file) / max(1, unit_bytes))
                sizes = _measure_documents(block)
                start = 0
                while start < len(sizes):
                    stop, size_bytes = _fill_run(run, sizes, start, limit_bytes)
                    if stop == start:
                        yield run
                        run = _Run()
                        continue
                    run.add(place, block, start, stop, size_bytes)
                    start = stop
            guard.finish_file(file_bytes)
        if unit.is_part:
            notes.lines = counts["read"] if opened.line_ends is None else opened.line_ends
        elif counts["read"] == read_before:
            odd.empty.append(file.path)
        bytes_before += file_bytes
    if run.line:
        yield run


def _open_part(file: InputFile, unit: MapUnit, settings: InputSection) -> OpenInput:
    return OpenInput(file, unit.start, unit.stop, name_format(file.format).split(settings).new_boundary)


def _choose_documents(
    context: CorpusContext, unit: MapUnit, notes: UnitNotes
) -> Callable[[DocumentBlock], DocumentBlock]:
    """Gives what leaves out of a block what is not in its table's share, and what the table's filters drop."""
    share, filters = context.run.input[unit.table].share, context.run.all_filters[unit.table]
    has_filters = any(filters.enabled())
    require_libraries(filters, context.libraries)
    evaluation = None if context.evaluation is None else open_index(context.output, context.evaluation)

    def choose(block: DocumentBlock) -> DocumentBlock:
        if share is not None:
            block = take_share(block, share, context.run.documents.seed, notes.counts, notes.sources)
        if not has_filters:
            return block
        return filter_block(block, filters, notes.counts, notes.sources, evaluation, notes.matches)

    return choose


def _plan_run_bytes(unit: MapUnit, settings: DocumentsSection) -> int:
    """Bytes of a run; where others may take it, whatever number of buckets they have, it is cut for none."""
    if settings.appendable:
        return MAX_RUN_BYTES
    return min(RUN_BYTES_PER_BUCKET * (unit.num_buckets + unit.num_held_out_buckets), MAX_RUN_BYTES)


def _count_block(notes: UnitNotes, file: InputFile, block: DocumentBlock, settings: InputSection) -> None:
    counts = notes.counts
    notes.sources.add(block.source, "read")
    if block.rejects:
        own = notes.sources.of(file.source)
        own["read"] += len(block.rejects)
        own["quarantined"] += len(block.rejects)
    counts["read"] += len(block.line) + len(block.rejects)
    counts[WITHOUT_ID] += sum(block.is_numbered) if settings.id_field is not None else 0
    counts[WITHOUT_SOURCE] += block.without_source if settings.source_field is not None else 0
    counts["text_bytes"] += sum(map(len, block.text))
    for reject in block.rejects:
        counts["quarantined"] += 1
        counts[f"{REASON}{reject.reason}"] += 1


def _measure_documents(block: DocumentBlock) -> list[int]:
    """Approximate bytes that each document takes in memory; a character of an id takes up to four."""
    return [
        DOCUMENT_OVERHEAD_BYTES + len(text) + 4 * (len(doc_id) + len(source))
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


def _hash_run(run: _Run, settings: DocumentsSection, notes: UnitNotes) -> DocumentRun:
    compare = comparison_of(settings.deduplicate)
    hashes = hash_documents(run.text, settings.seed, settings.held_out, compare)
    lengths = np.fromiter(map(len, run.text), np.int64, len(run.text))
    for split, is_of_split in enumerate((~hashes.held_out, hashes.held_out)):
        notes.text_bytes[split] += int(lengths[is_of_split].sum())
    kept = np.arange(len(run.line))
    if settings.deduplicate:
        # Duplicates within a run are dropped here, so that a text that occurs a million times in a corpus reaches
        # the sort unit at most once per run.
        order = sort_by_hash(hashes.high, hashes.low)
        sorted_texts = [run.text[i] for i in order]
        duplicate = find_duplicates(hashes.high[order], hashes.low[order], sorted_texts, compare)
        notes.counts["duplicates"] += int(duplicate.sum())
        notes.sources.add((run.source[row] for row in order[duplicate]), "duplicates")
        kept = np.sort(order[~duplicate], kind="stable")
    documents = pa.record_batch(
        [
            pa.array(run.doc_id, pa.string()),
            pa.array(run.source, pa.string()),
            pa.array(run.text, pa.binary()).view(pa.string()),  # UTF-8, as formats and filters give it
            pa.array(run.file, pa.uint32()),
            pa.array(run.line, pa.uint64()),
            pa.array(run.is_numbered, pa.bool_()),
            pa.array(hashes.high),
            pa.array(hashes.low),
        ],
        schema=EXCHANGE_SCHEMA,
    )
    return DocumentRun(documents, kept, hashes.held_out)
