"""How full rows are, and how far from the fewest possible."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.packing.lower_bound import lower_bound_l2
from pipeline.packing.split_documents import SPECIAL_TOKENS_PER_SEQUENCE, Segments


@dataclass(frozen=True, slots=True)
class FillStatistics:
    """What fills the positions of some rows; every position is a token, a special token or padding.

    Attributes:
        tokens: Document tokens in them.
        special_tokens: `[CLS]` and `[SEP]`.
        padding: `[PAD]`.
        num_rows_l2: Rows that no packing of these segments goes below (Martello and Toth's L2).
    """

    tokens: int
    special_tokens: int
    padding: int
    num_rows_l2: int


def measure_fill(segments: Segments, num_rows: int, seq_len: int) -> FillStatistics:
    """Counts what fills `num_rows` rows of `seq_len` positions into which all `segments` were packed."""
    tokens = int(segments.num_tokens.sum(dtype="int64"))
    special_tokens = SPECIAL_TOKENS_PER_SEQUENCE * len(segments)
    return FillStatistics(
        tokens=tokens,
        special_tokens=special_tokens,
        padding=num_rows * seq_len - tokens - special_tokens,
        num_rows_l2=lower_bound_l2(segments.lengths, seq_len),
    )
