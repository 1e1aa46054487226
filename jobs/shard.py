"""The first part of a run: raw text to document shards."""

from __future__ import annotations

from collections import Counter

from jobs.open_run import Run
from pipeline.corpus.exchange_index import write_index
from pipeline.corpus.map_documents import CorpusContext, check_quarantined, map_documents
from pipeline.corpus.plan import (
    SortUnit,
    documents_folder,
    plan_buckets,
    plan_map_units,
    plan_sort_units,
)
from pipeline.corpus.sort_documents import sort_documents
from pipeline.engine.stage import Finished, iter_receipts, run_stage
from pipeline.storage.datasets import MANIFEST, read_manifest, write_manifest, write_shard_table
from schemas.errors import InputDataError
from schemas.manifest import DocumentCounts, DocumentsManifest


def shard(run: Run) -> list[DocumentsManifest]:
    """Write the document shards; nothing is done where they stand.

    Returns:
        The manifest of the documents to train on, then that of the held-out ones if there are any.

    Raises:
        InputDataError: A file cannot be read, or too much of the input is bad.
    """
    datasets = [False, True] if run.settings.documents.held_out else [False]
    if run.output.exists(f"{documents_folder(held_out=False)}/{MANIFEST}"):
        _drop_work(run)
        return [read_manifest(run.output.below(documents_folder(held_out)), DocumentsManifest) for held_out in datasets]
    context = CorpusContext(run.output, run.settings, run.inputs)
    buckets = plan_buckets(run.inputs, run.shard_bytes, run.settings.documents.held_out)
    map_units = plan_map_units(run.inputs, run.shard_bytes, buckets)
    total_bytes = sum(file.assumed_text_bytes for file in run.inputs)
    limit = run.settings.input.max_quarantined
    read = Counter[str]()
    bytes_read = 0

    def check(finished: Finished) -> None:
        nonlocal bytes_read
        read.update(finished.counts)
        bytes_read += sum(run.inputs[index].assumed_text_bytes for index in map_units[finished.unit].files)
        check_quarantined(read, bytes_read, total_bytes, limit)

    run_stage(run.engine(), map_documents, context, run.output, map_units, run.hear, check)
    totals = write_index(run.output, map_units)
    counts = Counter(totals.counts)
    check_quarantined(counts, total_bytes, total_bytes, limit)
    if not counts["read"]:
        raise InputDataError("the inputs hold no document", path="input.paths", action="check the files")

    sort_units = plan_sort_units(totals.text_bytes, run.shard_bytes, buckets)
    run_stage(run.engine(), sort_documents, context, run.output, sort_units, run.hear)
    return _write_manifests(run, sort_units, counts)


def _write_manifests(run: Run, units: list[SortUnit], counts: Counter[str]) -> list[DocumentsManifest]:
    written = {False: 0, True: 0}
    text_bytes = {False: 0, True: 0}
    tables: dict[bool, tuple[int, str]] = {}
    for held_out in (False, True):
        chosen = [unit for unit in units if unit.held_out is held_out]
        if not chosen:
            continue
        receipts = []
        for receipt in iter_receipts(run.output, chosen):
            counts["duplicates"] += receipt.counts["duplicates"]
            written[held_out] += receipt.counts["written"]
            text_bytes[held_out] += receipt.counts["text_bytes"]
            receipts += receipt.shards
        tables[held_out] = write_shard_table(run.output, documents_folder(held_out), receipts)
    reasons = {
        name.removeprefix("quarantined: "): count
        for name, count in sorted(counts.items())
        if name.startswith("quarantined: ")
    }
    document_counts = DocumentCounts(
        read=counts["read"],
        written=written[False],
        held_out=written[True],
        duplicates=counts["duplicates"],
        quarantined=counts["quarantined"],
        quarantined_by_reason=reasons,
    )
    manifests = {}
    for held_out, (num_shards, checksum) in sorted(tables.items(), reverse=True):
        # The documents to train on come last: their manifest says that the whole part is done.
        manifests[held_out] = write_manifest(
            run.output,
            documents_folder(held_out),
            DocumentsManifest(
                run_fingerprint=run.fingerprint,
                num_shards=num_shards,
                shards_checksum=checksum,
                held_out=held_out,
                documents=written[held_out],
                text_bytes=text_bytes[held_out],
                counts=document_counts,
            ),
        )
    _drop_work(run)
    return [manifest for _, manifest in sorted(manifests.items())]


def _drop_work(run: Run) -> None:
    run.drop_work("map", "sort", folders=["work/exchange"])
