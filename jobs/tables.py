"""The tables at the end of a command, each with an explanation of its terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from maskmill.jobs.terms import TERMS, table_of_terms
from maskmill.jobs.tokenizer_report import table_of_sources, tables_side_by_side
from maskmill.pipeline.run.prepare import Prepared
from maskmill.pipeline.run.stages import label_stage, place_stage
from maskmill.schemas.counts import DocumentCounts, SourceReport
from maskmill.schemas.manifest import DocumentsManifest, PackedManifest
from maskmill.schemas.masking import Masking
from maskmill.schemas.wording import count_of


def tables_of_run(prepared: Prepared, compared: Mapping[str, Sequence[SourceReport]], output: str) -> list[Table]:
    """The tables of a finished run: how the tokenizer encodes the text, and the run in numbers."""
    own = prepared.tokenizer.sources if prepared.tokenizer is not None else ()
    tables = [table_of_sources(own)] if own else []
    tables += tables_side_by_side(compared) if compared else ()
    terms = [table_of_terms(str(column.header) for table in tables for column in table.columns)] if tables else []
    return [*tables, *terms, table_of_run(prepared, output)]


def table_of_run(prepared: Prepared, output: str) -> Table:
    """What a run made: documents, tokens, rows, and the rate of every stage that ran now."""
    lines = document_lines(prepared.documents[0])
    if prepared.tokenizer is not None:
        how = "trained" if prepared.tokenizer.trained else "brought"
        lines.append(("vocabulary", f"{count_of(prepared.tokenizer.vocab_size, 'piece')}, {how}"))
    for packed in prepared.packed:
        lines += [] if packed.held_out else packed_lines(packed)
    for stage in sorted(prepared.ran, key=place_stage):
        timing = prepared.timings[stage]
        pace = f", {timing['mb_per_second']:.1f} MB/s" if timing["text_bytes"] else ""
        reused = timing["units"] - timing["ran"]
        before = f", {reused:,} done before" if reused else ""
        lines.append(
            (label_stage(stage), f"{count_of(timing['ran'], 'unit')}, {timing['seconds']:.1f} s{pace}{before}")
        )
    return table_of_pairs("", [*lines, ("output", output)])


def document_lines(manifest: DocumentsManifest) -> list[tuple[str, str]]:
    """The counts of all documents that were read, one per line."""
    counts = manifest.counts
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.quarantined_by_reason.items())
    return [
        ("documents read", f"{counts.read:,}"),
        ("  written", f"{counts.written:,}"),
        ("  held out", f"{counts.held_out:,}"),
        ("  duplicates", f"{counts.duplicates:,}"),
        ("  quarantined", f"{counts.quarantined:,}" + (f" ({reasons})" if reasons else "")),
        *_filtered_lines(counts),
        ("text", f"{manifest.text_bytes / 1e6:,.1f} MB in {count_of(manifest.num_shards, 'shard')}"),
    ]


def _filtered_lines(counts: DocumentCounts) -> list[tuple[str, str]]:
    """How many documents filters have dropped, and a line for each reason, the most frequent first."""
    if not counts.filtered:
        return []
    reasons = sorted(counts.filtered_by_reason.items(), key=lambda item: (-item[1], item[0]))
    return [("  filtered", f"{counts.filtered:,}"), *((f"    {reason}", f"{count:,}") for reason, count in reasons)]


def packed_lines(manifest: PackedManifest) -> list[tuple[str, str]]:
    """The counts of a packed dataset, one per line."""
    counts = manifest.counts
    places = max(1, counts.rows * manifest.seq_len)
    made = (
        f"{counts.pairs:,} {manifest.pairs}, {counts.pairs_of_label_1 / max(1, counts.pairs):.1%} with label 1, "
        f"{counts.pairs_truncated:,} truncated"
    )
    cuts = f"{counts.cuts:,}, {counts.cuts_inside_words:,} inside words, {counts.cuts_to_fill:,} to fill rows"
    only = manifest.explain_only_label()
    over = [counts.rows - bound for bound in (counts.rows_lower_bound_l1, counts.rows_lower_bound_l2)]
    segmenter = manifest.vocabulary.segmenter
    return [
        ("tokens", f"{counts.tokens_in_rows:,}"),
        ("rows", f"{counts.rows:,} of {manifest.seq_len} in {count_of(manifest.num_shards, 'shard')}"),
        ("  fill", f"{1 - counts.padding / places:.2%}, text {manifest.text_fill_ppm / 1e6:.2%}"),
        ("  above the fewest", f"{count_of(over[0], 'row')} above the bound L1, {over[1]:,} above L2"),
        ("  cuts", cuts) if manifest.pairs is None else ("  pairs", made),
        *([] if only is None else [("  labels", only)]),
        ("  set aside", f"{count_of(counts.quarantined, 'document')}, {counts.too_long:,} of them longer than a row"),
        *([] if segmenter is None else [("  word boundaries", f"in Chinese and Japanese by {segmenter}")]),
        ("  static copies", f"{manifest.copies}{_name_masks(manifest.masking) if manifest.copies else ''}"),
        ("  special in text", f"{counts.special_in_text:,}"),
        ("  proven by sample", f"{count_of(counts.proof_documents, 'document')}, {counts.proof_bytes / 1e6:.1f} MB"),
    ]


def _name_masks(masking: Masking) -> str:
    return f", by the strategy {masking.strategy} at a rate of {masking.rate}"


def table_of_pairs(title: str, lines: list[tuple[str, Any]], *, explain: bool = True) -> Table:
    """A table of names and values with a title, and below it the meaning of the names."""
    table = Table(title=title or None, show_header=False, box=None, pad_edge=False, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines:
        table.add_row(name, str(value))
    terms = [name.strip() for name, _ in lines if name.strip() in TERMS]
    if explain and terms:
        table.add_row("", "")
        for name in terms:
            table.add_row(name, TERMS[name], style="dim")
    return table


def say_gap(gap: float) -> str:
    """Compare a held-out loss with the unigram entropy, in nats; a positive gap means that the loss is below it."""
    return f"{abs(gap):.3f} nats {'below' if gap >= 0 else 'above'} the unigram entropy"
