"""Pairs for sentence order prediction, as ALBERT makes them."""

from __future__ import annotations

from maskmill.pipeline.packing.sequences.pair_chunks import PairRule, place_pairs
from maskmill.pipeline.packing.sequences.placed import Building, Placed


def place_sentence_order(building: Building) -> Placed:
    """Make pairs of consecutive parts of a document, label 0, half of them swapped, label 1.

    Lan et al., "ALBERT" (arXiv 1909.11942, section 3.1, and their code). One sentence has no order: a chunk has at
    least two here, and a single sentence at the end of a document is left out. With `pack.sop_random_single` such
    chunks get a B from another document and the label 1, as in ALBERT's code, which teaches topics besides order.
    """
    return place_pairs(building, PairRule(others=False, swaps=True, singles=building.pack.sop_random_single))
