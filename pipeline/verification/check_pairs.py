"""Check sequences that are pairs of segments: their labels against where their segments are from, and their counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.storage.packed_blocks import PackedBlock
from maskmill.pipeline.verification.check_provenance import Places
from maskmill.pipeline.verification.findings import MAX_FINDINGS_PER_SHARD, Finding
from maskmill.schemas.pack_section import Pairs
from maskmill.schemas.rows import SEQUENCE_LABELS


@dataclass(frozen=True)
class PairCheck:
    """What the pairs of a dataset may be.

    Attributes:
        pairs: Which pairs they are.
        others: Whether B may be from another document.
    """

    pairs: Pairs
    others: bool

    def find_faults(self, block: PackedBlock, places: Places) -> npt.NDArray[np.bool_]:
        """Find the pairs of a block that are not what their label says, bool (Q,).

        Both segments of a document follow each other, possibly with a gap, since each may have lost tokens.

        Args:
            block: Its reader has checked that every sequence is two segments.
            places: Where its segments are from.
        """
        labels = block.sequences.values[SEQUENCE_LABELS]
        is_other = places.document[::2] != places.document[1::2]
        end = places.offset + places.length
        follows = ~is_other & (end[::2] <= places.offset[1::2])
        precedes = ~is_other & (end[1::2] <= places.offset[::2])
        label_1 = np.zeros_like(is_other)
        if self.others:
            label_1 |= is_other
        if self.pairs is Pairs.SOP:
            label_1 |= precedes
        faults: npt.NDArray[np.bool_] = np.where(labels == 0, ~follows, ~label_1)
        return faults


def count_pairs(block: PackedBlock, places: Places) -> dict[str, int]:
    """The counts of pairs in a block, by the names of `PackingCounts`."""
    labels = block.sequences.values[SEQUENCE_LABELS]
    is_other = places.document[::2] != places.document[1::2]
    return {
        "pairs": len(labels),
        "pairs_of_label_1": int(np.count_nonzero(labels)),
        "tokens_of_others": int(places.length[1::2][is_other].sum()),
    }


def check_origins(places: Places, shard: int, path: str) -> tuple[int, list[Finding]]:
    """Compare the origins of all pairs of a document shard with it.

    Returns:
        The number of documents of which a pair was made: those of the first segments; and the findings.
    """
    wrong = np.flatnonzero(places.document >> np.uint64(32) != shard)
    findings = [
        Finding(
            path,
            f"document {document >> 32}:{document & 0xFFFFFFFF}: a segment of a pair is from another document shard, "
            f"expected {shard}",
        )
        for document in places.document[wrong[:MAX_FINDINGS_PER_SHARD]].tolist()
    ]
    return len(np.unique(places.document[::2])), findings
