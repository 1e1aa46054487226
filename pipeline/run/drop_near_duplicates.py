"""Drop near duplicates between the sorting of documents and their shards; see `corpus.near_duplicates`."""

from __future__ import annotations

from collections import Counter

from maskmill.pipeline.corpus.exchange import CorpusContext
from maskmill.pipeline.corpus.near_duplicates.join_stage import CHANGED, JOIN
from maskmill.pipeline.corpus.near_duplicates.keep_stage import KEEP, KeepContext, KeepDetails
from maskmill.pipeline.corpus.near_duplicates.locate_stage import LOCATE
from maskmill.pipeline.corpus.near_duplicates.match_stage import MATCH
from maskmill.pipeline.corpus.near_duplicates.plan import (
    KeepUnit,
    plan_join_units,
    plan_keep_units,
    plan_locate_units,
    plan_match_units,
    plan_shard_groups,
    plan_sign_units,
    written_by,
)
from maskmill.pipeline.corpus.near_duplicates.records import Written, records_path
from maskmill.pipeline.corpus.near_duplicates.report import choose_largest, describe_clusters, list_shown
from maskmill.pipeline.corpus.near_duplicates.sign_stage import SIGN
from maskmill.pipeline.corpus.plan import SortUnit
from maskmill.pipeline.corpus.sort_documents import SortDetails
from maskmill.pipeline.corpus.source_tally import SourceTally
from maskmill.pipeline.engine.receipts import Receipts
from maskmill.pipeline.run.open_run import Run
from maskmill.pipeline.run.parts import Part
from maskmill.schemas.errors import ConfigError, ShardCorruptError
from maskmill.schemas.layout import NEAR_DUPLICATES, NEAR_DUPLICATES_REPORT, DataSplit, documents_folder
from maskmill.schemas.near_duplicates import NearDuplicatesSection

MAX_STEPS = 200
"""Stars until nothing changes, at most: a chain of a billion documents takes some 40."""


def drop_near_duplicates(
    run: Run,
    context: CorpusContext,
    settings: NearDuplicatesSection,
    sorted_: Receipts[SortUnit, SortDetails],
    counts: Counter[str],
    sources: SourceTally,
) -> Receipts[KeepUnit, KeepDetails]:
    """Write the document shards without near duplicates, and a report of the largest clusters.

    Args:
        run: The run.
        context: Of its units.
        settings: What a near duplicate is.
        sorted_: The receipts of the sort stage.
        counts: Of the map stage; exact duplicates are added.
        sources: The same by source.

    Returns:
        The receipts of the document shards.

    Raises:
        ConfigError: All documents to train on are near duplicates of held-out ones.
    """
    sort_units = list(sorted_.units)
    num_documents = 0
    for receipt in sorted_:
        counts["duplicates"] += receipt.counts["duplicates"]
        sources.merge(receipt.details.sources)
        num_documents += receipt.counts["written"]
    groups = plan_shard_groups(sort_units)
    signed = run.run_stage(Part.SHARD, SIGN, context, plan_sign_units(groups, num_documents, settings.bands))
    matched = run.run_stage(Part.SHARD, MATCH, context, plan_match_units(signed.units, num_documents))
    edges = _join(run, context, written_by(matched.units, matched.units[0].num_partitions))
    located = run.run_stage(Part.SHARD, LOCATE, context, plan_locate_units(edges, groups, sort_units))
    found = Counter[str]()
    for one in located:
        found.update({name: one.counts[name] for name in ("near_duplicates", "clusters")})
    largest = choose_largest(cluster for one in located for cluster in one.details.largest)
    keep_context = KeepContext(context, list_shown(largest))
    kept = run.run_stage(Part.SHARD, KEEP, keep_context, plan_keep_units(groups, located.units))
    _check_left(run, kept)
    if run.settings.documents.held_out and not any(
        receipt.counts["written"] for receipt in kept.select(lambda unit: unit.held_out)
    ):
        run.warn(
            "every held-out document is a near duplicate of an earlier one, so there is nothing to evaluate on: raise "
            "documents.held_out"
        )
    excerpts = {excerpt.number: excerpt for written in kept for excerpt in written.details.excerpts}
    report = describe_clusters(settings, dict(found), largest, excerpts)
    run.output.write_bytes(f"{documents_folder(DataSplit.TRAIN)}/{NEAR_DUPLICATES_REPORT}", report)
    return kept


def _join(run: Run, context: CorpusContext, edges: Written) -> Written:
    """Join documents until nothing changes; returns where the last edges are."""
    still = 0
    for step in range(MAX_STEPS):
        joined = run.run_stage(Part.SHARD, JOIN, context, plan_join_units(edges, step))
        for unit in range(edges.first_unit, edges.stop_unit):
            run.output.delete(records_path(edges.stage, unit))
        edges = written_by(joined.units, edges.num_partitions)
        still = 0 if sum(receipt.counts[CHANGED] for receipt in joined) else still + 1
        if still >= 2 and step % 2:  # neither star has changed anything
            return edges
    raise ShardCorruptError(
        "near duplicates are not joined after many rounds",
        path=run.output.locate(NEAR_DUPLICATES),
        found=f"edges that change in step {MAX_STEPS}",
        action="delete work/ in the output, then run the same command again",
    )


def _check_left(run: Run, kept: Receipts[KeepUnit, KeepDetails]) -> None:
    if any(receipt.counts["written"] for receipt in kept.select(lambda unit: not unit.held_out)):
        return
    raise ConfigError(
        "every document to train on is a near duplicate of a held-out one",
        path="documents.near_duplicates",
        expected="at least one document to train on",
        found=f"none in {run.output.display_url}",
        action="lower documents.held_out, or give another documents.seed",
    )
