"""What the masks of a million rows of real text come to, and a million pairs of its segments, beside what papers say.

The rows are those of one text, masked in as many epochs as it takes. No peer is run but for the words of all selected
units: at the end of a segment, or where the budget is filled, they have fewer words than were drawn, and spans that
meet are one. So these are held against the same rule in plain Python, over `RULE_ROWS` rows. The papers' shares are
those of units as drawn: they are held against the first unit of each row, see `mask_statistics`. Pairs are made of the
same text again and again; a chunk of one sentence has the label 1 by BERT's rule, so that there are some more of these.
"""

from __future__ import annotations

import functools
import os
import random
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmill.pipeline.masking.strategies.table import find_strategy
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.pipeline.run.prepare import prepare
from maskmill.schemas.counts import PackingCounts
from maskmill.schemas.masking import Masking
from maskmill.schemas.pack_section import MAX_DUPLICATES, PackSection, Pairs
from tests.benchmarks import python_masks
from tests.benchmarks.bench_masks import read_rows
from tests.benchmarks.mask_statistics import MaskStatistics, count_first_units, count_masks, find_mean
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
RULES: dict[str, python_masks.Select] = {
    "ngram": python_masks.select_ngrams,
    "span": python_masks.select_spans,
    "span, clipped": functools.partial(python_masks.select_spans, weights=python_masks.CLIPPED_WEIGHTS),
}
RULE_ROWS = 20_000
FIRST_UNIT_RATE = 0.04
"""At which the first span is alone in nearly half of all rows."""
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
        work = f"{counted.rows / 1e6:.1f} M rows of {name}: {strategy}"
        figures += _compare(work, paper, masking, counted)
        if strategy in RULES:
            figures += _compare_first(work, paper, rows, epochs, masking, tables)
            figures += _compare_selected(work, paper, rows, RULES[strategy], counted, tables)
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
    return [
        Figure(f"{work}, selected", 100 * counted.rate, paper, (low + high) / 2, "%"),
        Figure(f"{work}, shown as [MASK]", 100 * counted.masked / counted.selected, paper, 80.0, "%"),
        Figure(f"{work}, shown as they are", 100 * counted.kept / counted.selected, paper, 10.0, "%"),
    ]


def _compare_first(
    work: str, paper: str, rows: NDArray[Any], epochs: int, masking: Masking, tables: MaskTables
) -> list[Figure]:
    """The first unit of each row, beside the paper's shares."""
    units = count_first_units(rows, epochs, masking.model_copy(update={"rate": FIRST_UNIT_RATE}), tables)
    shares = find_strategy(masking).list_length_shares(masking)
    mean = float(sum((n * share for n, share in enumerate(shares, 1)), Fraction(0)))
    first = f"{work}, of {units.sum() / 1e3:.0f} thousand first units"
    return [Figure(f"{first}, words", find_mean(units), paper, mean, "words")] + [
        Figure(f"{first}, {n} words", _share_of(units, n), paper, 100 * float(share), "%")
        for n, share in enumerate(shares[:SHOWN_LENGTHS], 1)
    ]


def _compare_selected(
    work: str,
    paper: str,
    rows: NDArray[Any],
    rule: python_masks.Select,
    counted: MaskStatistics,
    tables: MaskTables,
) -> list[Figure]:
    """All units that are selected, beside those of the rule in Python."""
    some = np.resize(rows, (RULE_ROWS, rows.shape[1]))
    units = python_masks.count_units(some.tolist(), tables.kinds.tolist(), rule, random.Random(0))
    peer = f"{paper}'s rule in Python"
    means = find_mean(counted.units), find_mean(units)
    shown = min(SHOWN_LENGTHS, int(units.nonzero()[0].max()))
    return [Figure(f"{work}, of all units, words", means[0], peer, means[1], "words")] + [
        Figure(f"{work}, of all units, {n} words", _share_of(counted.units, n), peer, _share_of(units, n), "%")
        for n in range(1, shown + 1)
    ]


def _share_of(units: NDArray[np.int64], words: int) -> float:
    return float(100 * units[words] / units.sum())
