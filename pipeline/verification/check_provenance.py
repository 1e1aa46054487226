"""Check that the segments of each document, in whatever rows they are, make up the whole document."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.verification.findings import MAX_FINDINGS_PER_SHARD, Finding


@dataclass(frozen=True)
class Places:
    """Origins of the segments of some rows (D segments).

    Attributes:
        document: Document shard * 2^32 + row in it, uint64 (D,).
        offset: Tokens of the document before the segment, int64 (D,).
        length: Tokens of the segment, int64 (D,).
    """

    document: npt.NDArray[np.uint64]
    offset: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]

    @classmethod
    def join(cls, parts: list[Places]) -> Places:
        """Join the origins of several parts."""
        return cls(
            np.concatenate([np.zeros(0, np.uint64), *(part.document for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(part.offset for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(part.length for part in parts)]),
        )


def check_provenance(places: Places, shard: int, path: str) -> tuple[int, list[Finding]]:
    """Compare all segments of a document shard with each other.

    Args:
        places: The origins of all segments that should come from this document shard.
        shard: The number of the document shard.
        path: The path for findings.

    Returns:
        The number of segments that do not begin where another ends, as happens when the other pieces of a document
        are in another length bin; and the findings: segments that overlap, or belong to another shard.
    """
    order = np.lexsort((places.offset, places.document))
    document, offset, length = places.document[order], places.offset[order], places.length[order]
    begins = np.append(True, document[1:] != document[:-1])[: len(document)]
    expected = np.where(begins, 0, np.append(0, (offset + length)[:-1])[: len(document)])
    wrong = np.flatnonzero((offset < expected) | (document >> np.uint64(32) != shard))
    findings = [
        Finding(
            path,
            f"document {document[i] >> np.uint64(32)}:{document[i] & np.uint64(0xFFFFFFFF)}: a segment begins at token "
            f"{offset[i]}, expected {expected[i]} in document shard {shard}",
        )
        for i in wrong[:MAX_FINDINGS_PER_SHARD].tolist()
    ]
    return int(np.count_nonzero(offset > expected)), findings
