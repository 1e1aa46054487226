"""What the masks of a million rows of real text come to, and a million pairs of its segments, beside what papers say.

No peer is run: the figures to compare with are those of the papers' rules, by arithmetic. The rows are those of one
text, masked in as many epochs as it takes. Lengths are those that are drawn; units at the end of a segment, or where
the budget is filled, have fewer words. Pairs are made of the same text again and again; a chunk of one sentence has the
label 1 by BERT's rule, so that there are some more of these.
"""

from __future__ import annotations

import os
from fractions import Fraction
from typing import Any

from maskmill.pipeline.masking.strategies.table import find_strategy
from maskmill.pipeline.run.prepare import prepare
from maskmill.schemas.counts import PackingCounts
from maskmill.schemas.masking import Masking
from maskmill.schemas.pack_section import MAX_DUPLICATES, PackSection, Pairs
from tests.benchmarks.bench_masks import read_rows
from tests.benchmarks.mask_statistics import MaskStatistics, count_masks
from tests.benchmarks.measuring import Figure, find_text, make_run_file, prepare_packed

ROWS = 1_000_000
PAIRS = 1_000_000
STRATEGIES: dict[str, tuple[dict[str, Any], str]] = {
    "token": ({}, "BERT"),
    "token, bernoulli": ({"selection": "bernoulli"}, "Hugging Face's collator"),
    "whole_word": ({"strategy": "whole_word"}, "BERT, whole words"),
    "ngram": ({"strategy": "ngram"}, "ALBERT"),
    "span": ({"strategy": "span"}, "SpanBERT"),
    "span, clipped": ({"strategy": "span", "span_lengths": "clipped"}, "Megatron"),
    "rate for each sequence": ({"per_sequence_rate": (0.0, 1.0)}, "masked diffusion"),
}
SHOWN_LENGTHS = 4


def measure(scratch: str) -> list[Figure]:
    """Rates, shares and lengths."""
    packed, name = prepare_packed(scratch)
    rows, _, tables = read_rows(packed)
    epochs = -(-ROWS // len(rows))
    figures = []
    for strategy, (settings, paper) in STRATEGIES.items():
        masking = Masking(**settings)
        counted = count_masks(rows, epochs, masking, tables)
        figures += _compare(f"{counted.rows / 1e6:.1f} M rows of {name}: {strategy}", paper, masking, counted)
    return figures + [_balance(scratch, pairs, paper) for pairs, paper in ((Pairs.NSP, "BERT"), (Pairs.SOP, "ALBERT"))]


def _balance(scratch: str, pairs: Pairs, paper: str) -> Figure:
    """The labels of pairs of rows of 128, as many as it takes."""
    path, name = find_text("eltec-eng", scratch)
    settings = make_run_file([path], os.path.join(scratch, "packing"), workers=1)
    counts = PackingCounts.model_validate(dict.fromkeys(PackingCounts.model_fields, 0))
    duplicates = 1
    while counts.pairs < PAIRS and duplicates < MAX_DUPLICATES:
        duplicates = min(MAX_DUPLICATES, -(-PAIRS * duplicates // max(1, counts.pairs)) if counts.pairs else 1)
        named = {"name": f"{pairs}{duplicates}", "seq_len": 128, "pairs": pairs, "duplicates": duplicates}
        pack = PackSection.model_validate(named)
        (manifest,) = prepare(settings.model_copy(update={"pack": pack}), str).packed
        counts = manifest.counts
    work = f"{counts.pairs / 1e6:.1f} M pairs of {name}: {pairs}, label 1"
    return Figure(work, 100 * counts.pairs_of_label_1 / counts.pairs, paper, 50.0, "%")


def _compare(work: str, paper: str, masking: Masking, counted: MaskStatistics) -> list[Figure]:
    low, high = (ppm / 10_000 for ppm in masking.rate_bounds_ppm)
    figures = [
        Figure(f"{work}, selected", 100 * counted.rate, paper, (low + high) / 2, "%"),
        Figure(f"{work}, shown as [MASK]", 100 * counted.masked / counted.selected, paper, 80.0, "%"),
        Figure(f"{work}, shown as they are", 100 * counted.kept / counted.selected, paper, 10.0, "%"),
    ]
    shares = find_strategy(masking).list_length_shares(masking)
    if len(shares) > 1:
        mean = float(sum((n * share for n, share in enumerate(shares, 1)), Fraction(0)))
        figures.append(Figure(f"{work}, words of a unit", counted.mean_drawn, paper, mean, "words"))
        for n, share in enumerate(shares[:SHOWN_LENGTHS], 1):
            drawn = 100 * int(counted.drawn[n]) / int(counted.drawn.sum())
            figures.append(Figure(f"{work}, units of {n} words", drawn, paper, 100 * float(share), "%"))
    return figures
