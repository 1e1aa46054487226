"""The counts of datasets as names and values, for tables and reports; `maskmill.schemas.terms` explains the names."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from itertools import accumulate

from maskmill.pipeline.run.mask import Masked
from maskmill.pipeline.run.prepare import Prepared
from maskmill.pipeline.run.stages import label_stage, place_stage
from maskmill.schemas.counts import DocumentCounts
from maskmill.schemas.manifest import DocumentsManifest, PackedManifest
from maskmill.schemas.masking import Masking
from maskmill.schemas.printable import make_printable
from maskmill.schemas.source_counts import SourceCounts
from maskmill.schemas.wording import count_of, size_of

SHOWN_SOURCES = 30
SHOWN_LANGUAGES = 3
SHOWN_CHARACTERS = 60


def run_lines(prepared: Prepared, output: str) -> list[tuple[str, str]]:
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
    return [*lines, ("output", output)]


def document_lines(manifest: DocumentsManifest) -> list[tuple[str, str]]:
    """The counts of all documents that were read, one per line."""
    counts = manifest.counts
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.quarantined_by_reason.items())
    return [
        ("documents read", f"{counts.read:,}"),
        ("  written", f"{counts.written:,}"),
        ("  held out", f"{counts.held_out:,}"),
        ("  duplicates", f"{counts.duplicates:,}"),
        *([("  near duplicates", f"{counts.near_duplicates:,}")] if counts.near_duplicates else []),
        ("  quarantined", f"{counts.quarantined:,}" + (f" ({reasons})" if reasons else "")),
        *_filtered_lines(counts),
        ("text", f"{manifest.text_bytes / 1e6:,.1f} MB in {count_of(manifest.num_shards, 'shard')}"),
    ]


def _filtered_lines(counts: DocumentCounts) -> list[tuple[str, str]]:
    """How many documents filters have dropped, for each reason, the most frequent first, and how many they repaired."""
    reasons = sorted(counts.filtered_by_reason.items(), key=lambda item: (-item[1], item[0]))
    lines = [("  filtered", counts.filtered), *((f"    {reason}", count) for reason, count in reasons)]
    files = (counts.evaluation_texts, counts.evaluation_whole, counts.evaluation_too_short)
    texts, whole, too_short = (sum(numbers.values()) for numbers in files)
    evaluation = f"{count_of(texts, 'text')}, {whole:,} compared whole, {too_short:,} too short to compare"
    lines += [("repaired", counts.repaired), ("share evaluation text", counts.contaminated)]
    shown = [(name, f"{count:,}") for name, count in lines if count]
    return [*shown, ("evaluation files", evaluation)] if texts else shown


def source_rows(counts: DocumentCounts) -> list[dict[str, str]]:
    """What became of the documents of each source, those with the most text first, by the names of columns."""
    largest = sorted(counts.sources, key=lambda one: (-one.text_bytes, one.source))
    with_languages = any(one.languages for one in largest)
    rows = []
    for one in largest[:SHOWN_SOURCES]:
        numbers = {"read": one.read, "kept": one.kept, "duplicates": one.duplicates + one.near_duplicates}
        numbers |= {"filtered": one.filtered, "quarantined": one.quarantined}
        languages = sorted(one.languages.items(), key=lambda item: (-item[1], item[0]))[:SHOWN_LANGUAGES]
        rows.append(
            {
                "source": make_printable(one.source, SHOWN_CHARACTERS) or "all sources",
                **{name: f"{number:,}" for name, number in numbers.items()},
                "text": f"{one.text_bytes / 1e6:,.1f} MB",
                "median": _describe_median(one),
                **(
                    {"languages": ", ".join(f"{name} {number:,}" for name, number in languages)}
                    if with_languages
                    else {}
                ),
            }
        )
    return rows


def _describe_median(source: SourceCounts) -> str:
    """The size of the text in the middle, to a power of two."""
    if not source.kept:
        return ""
    power = next(power for power, sum_ in enumerate(accumulate(source.lengths)) if 2 * sum_ >= source.kept)
    return f"{size_of(1 << power)} to {size_of(2 << power)}"


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


def masked_lines(masked: Masked) -> list[str]:
    """What `mask` has made of a dataset, and what to do next."""
    manifest, quoted = masked.manifest, shlex.quote(masked.url)
    copies = count_of(manifest.copies, "static copy", "static copies")
    rows = count_of(manifest.counts.rows, "row")
    settings = ", ".join(f"{name} = {value}" for name, value in manifest.masking.show().items())
    lines = ["nothing to do: the dataset has these static copies"] if masked.is_unchanged else []
    lines.append(f"{masked.url}: {copies} of {rows}, {settings}")
    if masked.old_files:
        lines.append(
            f"{count_of(masked.old_files, 'file')} of earlier versions left for loaders that read them; when none does:"
        )
        lines.append(f"  maskmill mask {quoted} --remove-old")
    lines += ["next:", f"  maskmill verify {quoted}  # re-reads and checks everything"]
    return lines


def count_lines(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Counts by name, one per line."""
    return [(name.replace("_", " "), f"{count:,}") for name, count in counts.items()]
