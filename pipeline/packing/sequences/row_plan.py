"""The plan of rows: which segments go where, before a row is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.packing.cutting.split_documents import Segments


@dataclass(frozen=True, slots=True)
class RowPlan:
    """D segments in Q sequences in R rows of one dataset, and the counts of its manifest.

    Attributes:
        seq_len: Positions in a row.
        segments: Pieces of documents, those of a sequence side by side.
        first_segment: Sequence q is segments `first_segment[q]` to `first_segment[q + 1] - 1`; int64 (Q + 1,).
        row_of_sequence: Row of every sequence, int64 (Q,); rows are numbered as they were opened.
        num_rows: R.
        documents: That belong to this dataset; = packed + without_tokens + unpaired + the number of too_long. With
            length bins a document belongs to the dataset that holds its first segment, one without tokens to the
            shortest bin's, one that is too long to the longest's.
        packed: Of them those with tokens in rows.
        without_tokens: Of them those that have no tokens.
        too_long: Of them those that are longer than a row and may not be cut, indices of documents, int64.
        tokens_encoded: Tokens of the packed documents, counted from where documents start and end: whatever planning
            loses or doubles makes it differ from `tokens_in_rows`. With length bins the pieces of a document that
            are in another dataset than its first are counted there.
        cuts: Segments that do not begin their document: `segments = packed + cuts`. 0 for pairs.
        cuts_to_fill: Cuts made only to fill a row.
        cuts_inside_sentences: Cuts at no sentence start; 0 where sentences are not known.
        cuts_inside_words: Cuts before a token that continues a word.
        special_tokens: `[CLS]` and `[SEP]`.
        padding: `[PAD]`.
        rows_lower_bound_l1: Rows that the sequences would fill if they could be poured.
        rows_lower_bound_l2: Martello and Toth's L2 of the lengths of the sequences.
        labels: Of the sequences, uint8 (Q,); `None` if they have none.
        pair_counts: `PAIR_COUNTS` of `maskmill.schemas.counts`, if sequences are pairs.
    """

    seq_len: int
    segments: Segments
    first_segment: npt.NDArray[np.int64]
    row_of_sequence: npt.NDArray[np.int64]
    num_rows: int
    documents: int
    packed: int
    without_tokens: int
    too_long: npt.NDArray[np.int64]
    tokens_encoded: int
    cuts: int
    cuts_to_fill: int
    cuts_inside_sentences: int
    cuts_inside_words: int
    special_tokens: int
    padding: int
    rows_lower_bound_l1: int
    rows_lower_bound_l2: int
    labels: npt.NDArray[np.uint8] | None = None
    pair_counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def tokens_in_rows(self) -> int:
        """Tokens of all segments, special tokens not counted."""
        return self.segments.total_tokens

    @property
    def sequence_lengths(self) -> npt.NDArray[np.int32]:
        """Positions each sequence takes in a row, `[CLS]` and every `[SEP]` included, int32 (Q,)."""
        return measure_sequences(self.segments, self.first_segment)


def measure_sequences(segments: Segments, first_segment: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Positions each sequence takes: its tokens, a `[SEP]` for each of its segments, and `[CLS]`; int32 (Q,)."""
    if first_segment.size == len(segments) + 1:
        return segments.lengths
    tokens_before = np.concatenate(([0], np.cumsum(segments.num_tokens, dtype=np.int64)))
    tokens = np.diff(tokens_before[first_segment])
    return (tokens + np.diff(first_segment) + 1).astype(np.int32)
