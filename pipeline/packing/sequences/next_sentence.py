"""Pairs for next sentence prediction, as BERT makes them."""

from __future__ import annotations

from maskmill.pipeline.packing.sequences.pair_chunks import PairRule, place_pairs
from maskmill.pipeline.packing.sequences.placed import Building, Placed

_RULE = PairRule(others=True, swaps=False, singles=True)


def place_next_sentence(building: Building) -> Placed:
    """Make pairs whose B follows A, label 0, or is from another document of the shard, label 1; half of them each.

    `create_instances_from_document` of Devlin et al., "BERT" (arXiv 1810.04805, appendix A.2, and their code). A chunk
    of one sentence always gets a B from another document. Only the other documents of the shard are candidates: where
    there is none, B always follows A, and a chunk has at least two sentences, as in `place_sentence_order`.
    """
    return place_pairs(building, _RULE)
