"""The rules by which documents are cut into segments, checked once."""

from __future__ import annotations

from dataclasses import dataclass

from maskmill.schemas.errors import ConfigError
from maskmill.schemas.run_file import Cut, PackSection, Split

SPECIAL_TOKENS_PER_SEQUENCE = 2  # [CLS] and [SEP] of a sequence with one segment
MAX_SEQUENCE_TOKENS = 2**16 - 1  # lengths are stored as uint16
PPM = 1_000_000


def max_segment_tokens(seq_len: int) -> int:
    """The most tokens a segment may have, without special tokens, in rows of `seq_len`."""
    return min(seq_len, MAX_SEQUENCE_TOKENS) - SPECIAL_TOKENS_PER_SEQUENCE


@dataclass(frozen=True, slots=True)
class CutRules:
    """Which documents are cut, and where.

    Attributes:
        seq_len: Token positions in a row, `[CLS]` and `[SEP]` included.
        min_segment: Fewest tokens in the remainder of a cut document, or in a piece that fills a row.
        cut: `token` cuts anywhere (cuts inside words are counted), `word` at words, `sentence` at sentences.
        split: Which documents are cut: `never` leaves out those that would have to be.
        max_free: Positions of a row that may stay free, where documents are cut to fill rows.

    Raises:
        ConfigError: `seq_len` holds no token, or `min_segment` is over half a row.
    """

    seq_len: int
    min_segment: int = 16
    cut: Cut = Cut.WORD
    split: Split = Split.LONG
    max_free: int = 0

    def __post_init__(self) -> None:
        if self.seq_len <= SPECIAL_TOKENS_PER_SEQUENCE:
            raise ConfigError(
                "a row is too short to hold a token",
                path="pack.seq_len",
                expected="at least 3: [CLS], a token and [SEP]",
                found=str(self.seq_len),
                action="raise pack.seq_len",
            )
        if not 1 <= self.min_segment <= max(1, self.seq_len // 2):
            raise ConfigError(
                "the shortest segment does not fit the length of a row",
                path="pack.min_segment",
                expected=f"1 to {max(1, self.seq_len // 2)}, half of seq_len {self.seq_len}",
                found=str(self.min_segment),
                action="lower pack.min_segment or raise pack.seq_len",
            )

    @classmethod
    def from_pack(cls, pack: PackSection, seq_len: int) -> CutRules:
        """The rules of `[pack]` for rows of one length."""
        max_free = round(pack.max_waste * PPM) * seq_len // PPM
        return cls(seq_len, pack.min_segment, pack.cut, pack.split, max_free)

    @property
    def max_tokens(self) -> int:
        """The most tokens a segment may have."""
        return max_segment_tokens(self.seq_len)
