"""The first part of a run: raw text to document shards."""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import xxhash

from maskmill.pipeline.corpus.exchange import CorpusContext, MapDetails
from maskmill.pipeline.corpus.exchange_index import INDEX_PATH, write_index
from maskmill.pipeline.corpus.filters import table as filters
from maskmill.pipeline.corpus.filters.document_match import DocumentMatch, write_matches
from maskmill.pipeline.corpus.filters.evaluation_index import IndexPlace
from maskmill.pipeline.corpus.judge_quarantine import CorpusGuard, check_quarantined, count_reasons
from maskmill.pipeline.corpus.judge_settings import check_documents_left, iter_unmatched
from maskmill.pipeline.corpus.map_documents import MAP
from maskmill.pipeline.corpus.near_duplicates.keep_stage import KeepDetails
from maskmill.pipeline.corpus.near_duplicates.plan import KeepUnit
from maskmill.pipeline.corpus.plan import (
    SortUnit,
    plan_buckets,
    plan_shard_bytes,
    plan_sort_units,
)
from maskmill.pipeline.corpus.plan_map_units import (
    RANGE_BYTES,
    MapUnit,
    explain_whole,
    plan_group_bytes,
    plan_map_units,
)
from maskmill.pipeline.corpus.quarantine import find_examples
from maskmill.pipeline.corpus.read_evaluation import index_evaluation
from maskmill.pipeline.corpus.sort_documents import SORT, SortDetails
from maskmill.pipeline.corpus.source_tally import REASON, SourceTally
from maskmill.pipeline.engine.receipts import Receipts
from maskmill.pipeline.engine.units import Finished
from maskmill.pipeline.run.drop_near_duplicates import drop_near_duplicates
from maskmill.pipeline.run.open_run import Run
from maskmill.pipeline.run.parts import Part
from maskmill.pipeline.run.reuse_output import plan_reuse
from maskmill.pipeline.run.stages import STAGES
from maskmill.pipeline.storage.datasets import MANIFEST, read_manifest, write_manifest
from maskmill.pipeline.storage.shard_table import write_shard_table
from maskmill.schemas.counts import DocumentCounts
from maskmill.schemas.errors import StaleArtifactError
from maskmill.schemas.layout import (
    EVALUATION_INDEX,
    EXCHANGE,
    INPUT_MARKS,
    NEAR_DUPLICATES,
    QUARANTINE,
    DataSplit,
    documents_folder,
    is_of_quarantined_inputs,
)
from maskmill.schemas.manifest import DocumentsManifest
from maskmill.schemas.receipt import Receipt, ShardReceipt
from maskmill.schemas.wording import count_of, size_of


def make_documents(run: Run) -> list[DocumentsManifest]:
    """Write the document shards, unless they are already written.

    Returns:
        The manifest of the documents to train on, then that of the held-out ones if there are any.

    Raises:
        InputDataError: A file cannot be read, too much of the input is bad, or no document is left.
        ConfigError: All documents are held out.
        StaleArtifactError: The held-out documents are gone. They are not read again: the raw text may have changed
            since, and everything else was made from the documents as they were.
    """
    folders = [documents_folder(split) for split in run.splits]
    if run.is_whole(folders[0]):  # its manifest is written last
        gone = [folder for folder in folders if not run.is_whole(folder)]
        if gone:
            raise StaleArtifactError(
                "these documents are gone",
                path=run.output.locate(gone[0]),
                expected=f"a {MANIFEST} and its shards",
                found="no manifest",
                action="restore the folder from a copy, or give another output.url",
            )
        _drop_work(run)
        return [_read_own(run, folder) for folder in folders]
    _begin_again_if_inputs_changed(run)
    documents = run.settings.documents
    buckets = plan_buckets(run.inputs.assumed_text_bytes, run.shard_bytes, documents.held_out)
    group_bytes = plan_group_bytes(documents, run.shard_bytes, run.inputs.assumed_text_bytes)
    map_units = plan_map_units(run.inputs, group_bytes, buckets, run.settings.input, appendable=documents.appendable)
    _note_whole_files(run)
    reused, map_units = plan_reuse(run, map_units) if documents.appendable else (None, map_units)
    wanted, evaluation = run.settings.filters.decontamination, None
    if wanted is not None:
        evaluation = index_evaluation(run.output, run.evaluation.files, run.evaluation.digest, wanted)
    libraries = {name: version for own in run.settings.all_filters for name, version in own.libraries().items()}
    context = CorpusContext(run.output, run.settings, run.inputs.assumed_text_bytes, reused, libraries, evaluation)

    def guard_corpus(finished: Receipts[MapUnit, MapDetails]) -> Callable[[Finished], None]:
        guard = CorpusGuard(
            run.settings.max_quarantined,
            array("q", (unit.assumed_text_bytes for unit in map_units)),
            ((receipt.unit, receipt.counts) for receipt in finished),
            partial(find_examples, run.output),
        )
        return lambda done: guard.finish_unit(done.unit, done.counts)

    mapped = run.run_stage(Part.SHARD, MAP, context, map_units, guard_corpus)
    totals = write_index(run.output, mapped)
    counts = Counter(totals.counts)
    check_quarantined(counts, 1, 1, run.settings.max_quarantined, partial(find_examples, run.output))
    check_documents_left(totals, len(run.inputs), documents)
    for message in iter_unmatched(totals, run.inputs, run.settings.input, documents):
        run.warn(message)

    if evaluation is not None:  # else the receipts of all units would be read once more for nothing
        write_matches(run.output, _iter_matches(mapped))
    shard_bytes = plan_shard_bytes(sum(totals.text_bytes), documents.shard_mb)
    sort_units = plan_sort_units(totals.text_bytes, shard_bytes, buckets, documents.held_out)
    sorted_ = run.run_stage(Part.SHARD, SORT, context, sort_units)
    if documents.near_duplicates is None:
        return _write_manifests(run, sorted_, counts, totals.sources, evaluation)
    kept = drop_near_duplicates(run, context, documents.near_duplicates, sorted_, counts, totals.sources)
    return _write_manifests(run, kept, counts, totals.sources, evaluation)


def _iter_matches(mapped: Receipts[MapUnit, MapDetails]) -> Iterator[DocumentMatch]:
    """What documents share with evaluation text; in parts of files their lines are counted on."""
    lines = 0
    for unit, receipt in mapped.pairs():
        lines = lines if unit.start else 0
        for match in receipt.details.matches:
            yield match.in_file(unit.paths[0], lines) if unit.is_part else match
        lines += receipt.details.lines


def _note_whole_files(run: Run) -> None:
    """Say which file keeps one worker busy while the others wait, since it cannot be read in parts."""
    workers = run.settings.engine.workers or len(os.sched_getaffinity(0))
    most_bytes = max(RANGE_BYTES, run.inputs.assumed_text_bytes // workers)
    tables = run.settings.input
    large = (file for file in run.inputs if file.assumed_text_bytes > most_bytes)
    whole = [(file, reason) for file in large if (reason := explain_whole(file, tables[file.table]))]
    if whole and workers > 1:
        file, reason = whole[0]
        others = f", nor can {count_of(len(whole) - 1, 'other file')}" if len(whole) > 1 else ""
        run.note(
            f"{file.path}, {size_of(file.size_bytes)}, cannot be read in parts{others}: {reason}; to spread it over "
            "workers, write it as uncompressed JSON lines or Parquet, or as several files"
        )


def _begin_again_if_inputs_changed(run: Run) -> None:
    """Read the inputs again if any was modified since units read it, even if its size is the same.

    A file that was only copied back is read again too, since only its modification time is known; the result is the
    same. The new marks are written last: if this driver is killed before, the next one starts over as well.
    """
    marks = xxhash.xxh3_128_hexdigest("\n".join(file.mark for file in run.inputs).encode()).encode()
    if not run.output.create(INPUT_MARKS, marks) and run.output.read_bytes(INPUT_MARKS) != marks:
        run.warn("input files were modified since the run began; reading all of them again")
        stale = [documents_folder(split) for split in reversed(DataSplit)]
        _drop_receipts(run, *stale)  # there may be fewer shards or fewer bad lines than before
        for path in run.output.list(QUARANTINE):
            if is_of_quarantined_inputs(path):
                run.output.delete(path)
        run.output.write_bytes(INPUT_MARKS, marks)


def _read_own(run: Run, folder: str) -> DocumentsManifest:
    manifest = read_manifest(run.output.below(folder), DocumentsManifest)
    return run.check_own(Part.SHARD, manifest, f"{folder}/{MANIFEST}")


def _write_manifests(
    run: Run,
    finished: Receipts[SortUnit, SortDetails] | Receipts[KeepUnit, KeepDetails],
    counts: Counter[str],
    sources: SourceTally,
    evaluation: IndexPlace | None,
) -> list[DocumentsManifest]:
    """Write the tables of shards and the manifests, from the receipts of the stage that wrote the document shards."""
    written = dict.fromkeys(DataSplit, 0)
    text_bytes = dict.fromkeys(DataSplit, 0)
    tables: dict[DataSplit, tuple[int, str]] = {}
    for split in DataSplit:
        chosen = finished.select(partial(_is_of, split))
        if not len(chosen):
            continue

        def iter_shards(chosen: Iterable[Receipt[Any]], split: DataSplit) -> Iterator[ShardReceipt]:
            for receipt in chosen:
                for name in ("duplicates", "near_duplicates"):
                    counts[name] += receipt.counts.get(name, 0)
                sources.merge(receipt.details.sources)
                written[split] += receipt.counts["written"]
                text_bytes[split] += receipt.counts["text_bytes"]
                yield from receipt.shards

        tables[split] = write_shard_table(run.output, documents_folder(split), iter_shards(chosen, split))
    plain = ("read", "duplicates", "quarantined", filters.FILTERED, filters.REPAIRED, filters.CONTAMINATED)
    compared = () if evaluation is None else evaluation.files
    summed = {
        **{name: counts[name] for name in plain},
        "written": written[DataSplit.TRAIN],
        "held_out": written[DataSplit.HELD_OUT],
        "quarantined_by_reason": count_reasons(counts),
        "filtered_by_reason": filters.count_by(REASON, counts),
        "near_duplicates": counts["near_duplicates"],
        "contaminated_by_file": filters.count_by(filters.CONTAMINATED_BY, counts),
        "evaluation_texts": {file.path: file.texts for file in compared},
        "evaluation_whole": {file.path: file.whole for file in compared if file.whole},
        "evaluation_too_short": {file.path: file.too_short for file in compared if file.too_short},
        "sources": sources.summarise(),
    }
    document_counts = run.add_up(DocumentCounts, summed, MAP)
    manifests = []
    # The documents to train on come last: their manifest marks the whole part as finished.
    for split, (num_shards, checksum) in reversed(tables.items()):
        manifest = DocumentsManifest(
            run_fingerprint=run.fingerprints[Part.SHARD],
            num_shards=num_shards,
            shards_checksum=checksum,
            held_out=split.is_held_out,
            documents=written[split],
            text_bytes=text_bytes[split],
            counts=document_counts,
        )
        manifests.append(write_manifest(run.output, documents_folder(split), manifest))
    _drop_work(run)
    return manifests[::-1]


def _is_of(split: DataSplit, unit: SortUnit | KeepUnit) -> bool:
    return unit.split is split


def _drop_work(run: Run) -> None:
    """Delete what finished documents no longer need; an appendable run keeps the output of its map stage for others.

    The marks stay with it: if the documents are lost, input files may be modified before they are made again.
    """
    if run.settings.documents.appendable:
        run.drop_work(*STAGES[Part.SHARD][1:], folders=[NEAR_DUPLICATES])  # all but what the map stage wrote
        run.output.delete(INDEX_PATH)
        run.output.delete(EVALUATION_INDEX)
        return
    _drop_receipts(run)
    run.output.delete(INPUT_MARKS)
    run.output.delete(EVALUATION_INDEX)


def _drop_receipts(run: Run, *folders: str) -> None:
    run.drop_work(*STAGES[Part.SHARD], folders=[EXCHANGE, NEAR_DUPLICATES, *folders])
