"""A map unit's documents out of another output that has read the same files, instead of out of the files.

What is read there is checked like any other file: checksums, schema, counts. Hashes are computed again, so that what
is written depends on the documents alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.corpus.exchange import (
    EMPTY_FILES,
    EXCHANGE_SCHEMA,
    MAX_OFFSET,
    MISNAMED_FILES,
    WITHOUT_ID,
    WITHOUT_SOURCE,
    CorpusContext,
    KeptUnit,
    MapDetails,
    UnitNotes,
    exchange_path,
)
from maskmill.pipeline.corpus.filters import table as filters
from maskmill.pipeline.corpus.formats.document_block import Reason
from maskmill.pipeline.corpus.formats.table import name_format
from maskmill.pipeline.corpus.hash_documents import comparison_of, hash_documents
from maskmill.pipeline.corpus.judge_quarantine import REASON
from maskmill.pipeline.corpus.name_content import list_advice
from maskmill.pipeline.corpus.partition_runs import DocumentRun
from maskmill.pipeline.corpus.plan_map_units import MapUnit
from maskmill.pipeline.corpus.source_tally import LANGUAGE, sum_sources
from maskmill.pipeline.corpus.source_tally import REASON as FILTER_REASON
from maskmill.pipeline.corpus.take_share import SHARE
from maskmill.pipeline.engine.activity import report_progress
from maskmill.pipeline.engine.receipts import read_left_receipt
from maskmill.pipeline.storage.arrow_batches import read_block
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.arrow_reader import open_whole
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.documents import QUARANTINE_SCHEMA
from maskmill.schemas.errors import ShardCorruptError, StaleArtifactError
from maskmill.schemas.layout import quarantined_inputs_path
from maskmill.schemas.receipt import Receipt
from maskmill.schemas.run_file import DocumentsSection
from maskmill.schemas.source_counts import MAX_SOURCES
from maskmill.schemas.wording import count_of

MAX_RUN_FILE_BYTES = 2 << 30
"""Of a run's record batches: 128 MiB of documents and one of 1 GiB more, within Arrow's 32-bit offsets."""
COUNTS = {
    "read",
    "text_bytes",
    "duplicates",
    "quarantined",
    filters.FILTERED,
    filters.REPAIRED,
    filters.CONTAMINATED,
    WITHOUT_ID,
    WITHOUT_SOURCE,
    EMPTY_FILES,
    MISNAMED_FILES,
}
"""What a map unit counts, beside the reasons for which it has rejected documents, and what filters count by name."""
_BY_SOURCE = ("read", "duplicates", "quarantined", filters.FILTERED, filters.REPAIRED)
ADVICE = "restore it in that output, or drop input.reuse to read the files themselves"


@contextmanager
def advised_reuse() -> Iterator[None]:
    """Say of what is wrong with the reused output what to do about it here.

    Raises:
        ShardCorruptError: As inside.
        StaleArtifactError: As inside.
    """
    try:
        yield
    except (ShardCorruptError, StaleArtifactError) as error:
        error.action = ADVICE
        raise


@dataclass(frozen=True)
class _LeftUnit:
    """A unit in another output: its number there, and where its object is."""

    output: Store
    number: int

    @property
    def path(self) -> str:
        return exchange_path(self.number)

    @property
    def shown(self) -> str:
        return self.output.locate(self.path)


def take_runs(context: CorpusContext, unit: MapUnit, notes: UnitNotes) -> Iterator[DocumentRun]:
    """The documents of a unit's files, as reading the files gives them; fills `notes`. One run at a time is in memory.

    Raises:
        ShardCorruptError: What the reused output has of the unit is not what was written.
        StaleArtifactError: It is gone, or has become that of other files.
    """
    if context.reused is None or unit.taken_from is None:
        raise ValueError("a unit that is not to be taken from another output")
    left = _LeftUnit(context.reused, unit.taken_from)
    with advised_reuse():
        receipt = read_left_receipt(left.output, unit.stage, left.number, MapDetails)
        details, kept = receipt.details, receipt.details.kept
        if kept is None or kept.key != unit.key:
            raise StaleArtifactError(
                "the reused output has become that of other files while it was read",
                path=left.shown,
                expected=f"key {unit.key}",
                found=f"key {kept.key}" if kept else "no key",
            )
        rows, text_bytes = 0, [0, 0]
        stops = list(accumulate(kept.runs))
        for start, stop in pairwise([0, *stops]):
            run = _read_run(left, details, slice(start, stop), len(unit.paths), context.run.documents)
            rows += len(run.order)
            lengths = pc.binary_length(run.documents.column("text")).to_numpy().astype(np.int64)
            for split, is_of_split in enumerate((~run.held_out, run.held_out)):
                text_bytes[split] += int(lengths[is_of_split].sum())
            yield run
            report_progress(stop / stops[-1])
        reasons = _take_quarantine(left, kept, context.output, unit.unit)
        _check_counts(receipt, rows, reasons, left.shown)
        _check_text_bytes(receipt, text_bytes, left.shown)
        _check_filtered(receipt, context, unit, left.shown)
        _check_left_out(receipt, context, unit, left.shown)
        _check_sources(receipt, left.shown)
        _check_odd_files(receipt, unit, left.shown)
        holds_as_stored = not name_format(unit.inputs[0].format).compresses_itself
        if details.lines > (sum(unit.sizes_bytes) if unit.is_part else 0) and (holds_as_stored or not unit.is_part):
            raise _damaged(left.shown, f"{details.lines} lines in files of {count_of(sum(unit.sizes_bytes), 'byte')}")
    notes.counts.update(receipt.counts)
    notes.sources.merge(details.sources)
    notes.text_bytes, notes.lines = details.text_bytes, details.lines
    notes.quarantined = kept.quarantined
    notes.matches = details.matches
    notes.first_empty, notes.first_misnamed = details.first_empty, details.first_misnamed


def _read_run(
    left: _LeftUnit, details: MapDetails, chosen: slice, num_files: int, settings: DocumentsSection
) -> DocumentRun:
    """One run: its record batches, which follow each other in the object, put together."""
    offsets, lengths = details.offsets[chosen], details.lengths[chosen]
    if offsets[0] > MAX_OFFSET or sum(lengths) > MAX_RUN_FILE_BYTES:
        raise _damaged(left.shown, f"a run of {sum(lengths)} bytes at {offsets[0]}, which is larger than any")
    if offsets[1:] != list(accumulate(lengths, initial=offsets[0]))[1:-1]:
        raise _damaged(left.shown, "record batches of a run that do not follow each other")
    try:
        data = pa.py_buffer(left.output.read_range(left.path, offsets[0], sum(lengths)))
    except FileNotFoundError:
        raise StaleArtifactError(
            "an object of the exchange is gone", path=left.shown, expected="what the map stage wrote", found="no file"
        ) from None
    if data.size != sum(lengths):
        raise _damaged(left.shown, f"{data.size} bytes from {offsets[0]}, not {sum(lengths)}")
    blocks, held_out = [], []
    for number, (offset, length) in enumerate(zip(offsets, lengths, strict=True), chosen.start):
        piece = data.slice(offset - offsets[0], length)
        block = read_block(piece, EXCHANGE_SCHEMA, details.checksums[number], left.shown, number)
        if block.num_rows != details.rows[number]:
            raise _damaged(left.shown, f"{block.num_rows} documents in block {number}, not {details.rows[number]}")
        if not block.num_rows:
            raise _damaged(left.shown, f"no document in block {number}")
        held_out.append(_check_hashes(block, settings, left.shown, number))
        if block.column("file").to_numpy().max() >= num_files:
            raise _damaged(left.shown, f"documents in block {number} of a file that is none of the unit's")
        blocks.append(block)
    documents = pa.concat_batches(blocks)
    file, line = (documents.column(name).to_numpy() for name in ("file", "line"))
    return DocumentRun(documents, np.lexsort((line, file)), np.concatenate(held_out))


def _check_hashes(block: pa.RecordBatch, settings: DocumentsSection, path: str, number: int) -> npt.NDArray[np.bool_]:
    """Which documents are held out; their hashes must be those of their texts."""
    texts = block.column("text").cast(pa.binary()).to_pylist()
    hashes = hash_documents(texts, settings.seed, settings.held_out, comparison_of(settings.deduplicate))
    for name, computed in (("hash_high", hashes.high), ("hash_low", hashes.low)):
        if (block.column(name).to_numpy() != computed).any():
            raise _damaged(path, f"documents in block {number} whose hashes are not those of their texts")
    return hashes.held_out


def _take_quarantine(left: _LeftUnit, kept: KeptUnit, output: Store, unit: int) -> Counter[str]:
    """Write the unit's rejected inputs; returns how many there are of each reason."""
    reasons = Counter[str]()
    for part, checksum in enumerate(kept.quarantined):
        file = open_whole(left.output, quarantined_inputs_path(left.number, part), checksum, QUARANTINE_SCHEMA)
        batches = list(file.iter_batches())
        for batch in batches:
            reasons.update(batch.column("reason").to_pylist())
        write_blocks(output, quarantined_inputs_path(unit, part), QUARANTINE_SCHEMA, batches)
    return reasons


def _check_counts(receipt: Receipt[MapDetails], rows: int, reasons: Counter[str], path: str) -> None:
    """What the receipt counts must be what its object and its quarantine hold."""
    counts = Counter(receipt.counts)
    expected = {f"{REASON}{reason}": count for reason, count in reasons.items()}
    counted = {name: count for name, count in receipt.counts.items() if name.startswith(REASON)}
    of_filters = {name for name in receipt.counts if name.startswith(filters.PREFIXES)}
    is_known = receipt.counts.keys() - counted.keys() - of_filters <= COUNTS and reasons.keys() <= set(map(str, Reason))
    kept = rows + counts["duplicates"] + counts[filters.FILTERED]
    adds_up = counts["quarantined"] == reasons.total() and counts["read"] == kept + reasons.total()
    if not (is_known and adds_up and counted == expected):
        found = f"{rows} documents and {reasons.total()} rejected ones, where it counts {dict(receipt.counts)}"
        raise _damaged(path, found)


def _check_text_bytes(receipt: Receipt[MapDetails], kept: Sequence[int], path: str) -> None:
    """The text of what was read is that of what is kept, and of duplicates."""
    said = receipt.details.text_bytes
    has_duplicates = bool(receipt.counts.get("duplicates"))
    if any(most < least or (most > least and not has_duplicates) for most, least in zip(said, kept, strict=True)):
        raise _damaged(path, f"documents of {list(kept)} bytes, where it counts {said}")


def _check_filtered(receipt: Receipt[MapDetails], context: CorpusContext, unit: MapUnit, path: str) -> None:
    """What filters have dropped adds up, and only filters that are on have dropped anything."""
    found = receipt.counts.get(filters.FILTERED, 0)
    reasons = filters.count_by(FILTER_REASON, receipt.counts)
    enabled = {name for name, _ in context.run.all_filters[unit.table].enabled()}
    if context.run.input[unit.table].share is not None:
        enabled.add(SHARE)
    if not {reason.partition(":")[0] for reason in reasons} <= enabled:
        raise _damaged(path, "documents dropped by filters that are off")
    if found != sum(reasons.values()):
        raise _damaged(path, f"{count_of(found, 'filtered document')}, but other numbers by reason")
    repaired = receipt.counts.get(filters.REPAIRED, 0)
    if repaired > (receipt.counts.get("read", 0) if "repair_unicode" in enabled else 0):
        raise _damaged(path, f"{count_of(repaired, 'repaired document')} of fewer, or without repair")
    contaminated = receipt.counts.get(filters.CONTAMINATED, 0)
    by_file = filters.count_by(filters.CONTAMINATED_BY, receipt.counts)
    known = {file.path for file in context.evaluation.files} if context.evaluation else set()
    matched = {match.file for match in receipt.details.matches}
    if not (by_file.keys() | matched) <= known or contaminated > receipt.counts.get("read", 0):
        raise _damaged(path, "documents that share text with evaluation files that are none of this run")
    if not max(by_file.values(), default=0) <= contaminated <= sum(by_file.values()):
        raise _damaged(path, f"{count_of(contaminated, 'document')} with evaluation text, but other numbers by file")


def _check_sources(receipt: Receipt[MapDetails], path: str) -> None:
    """The counts by source add up to the others, and there are no more sources than are counted apart."""
    sources = receipt.details.sources
    total = sum_sources(sources)
    reasons = {name: count for name, count in receipt.counts.items() if name.startswith(FILTER_REASON)}
    by_reason = {name: count for name, count in total.items() if name.startswith(FILTER_REASON)}
    adds_up = all(total[name] == receipt.counts.get(name, 0) for name in _BY_SOURCE) and by_reason == reasons
    is_known = all(name in _BY_SOURCE or name.startswith((FILTER_REASON, LANGUAGE)) for name in total)
    if not (adds_up and is_known) or len(sources.counts) > (1 if sources.is_one else MAX_SOURCES):
        raise _damaged(path, f"counts of {count_of(len(sources.counts), 'source')} that do not add up to those of all")


def _check_left_out(receipt: Receipt[MapDetails], context: CorpusContext, unit: MapUnit, path: str) -> None:
    """Limit how many documents were left out, of which nothing is kept: a document has at least one byte.

    What a compressed file holds has no useful limit; see `docs/trust.md`.
    """
    size_bytes = sum(unit.sizes_bytes)
    is_plain = not any(file.compression or name_format(file.format).compresses_itself for file in unit.inputs)
    for name, noun in (("duplicates", "duplicate"), (filters.FILTERED, "filtered document")):
        found = receipt.counts.get(name, 0)
        if found and name == "duplicates" and not context.run.documents.deduplicate:
            raise _damaged(path, f"{count_of(found, noun)}, where none are left out")
        if found > size_bytes and is_plain:
            raise _damaged(path, f"{count_of(found, noun)} in files of {count_of(size_bytes, 'byte')}")


def _check_odd_files(receipt: Receipt[MapDetails], unit: MapUnit, path: str) -> None:
    """What is said of odd files must be of the unit's own: a warning of this run shows it."""
    details = receipt.details
    for name, first, possible in (
        (EMPTY_FILES, details.first_empty, lambda file: {file}),
        (MISNAMED_FILES, details.first_misnamed, list_advice),
    ):
        count = receipt.counts.get(name, 0)
        is_of_unit = any(first in possible(file) for file in unit.paths) if first else count == 0
        is_of_unit &= not (count and name == EMPTY_FILES and unit.is_part)
        if not (is_of_unit and bool(first) <= count <= len(unit.paths)):
            raise _damaged(path, f"{count} {name} of {len(unit.paths)}, the first {first}")


def _damaged(path: str, found: str) -> ShardCorruptError:
    return ShardCorruptError(
        "what another output has read is not as the map stage writes it",
        path=path,
        expected="what its receipt says",
        found=found,
    )
