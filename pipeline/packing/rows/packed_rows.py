"""Rows as arrays, laid out as the columns of a packed shard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.packing.cutting.token_columns import TokenIds

Value = TypeVar("Value", np.uint16, np.uint32, np.uint64)


@dataclass(frozen=True, slots=True)
class RowLists(Generic[Value]):
    """One list of values a row: row r has `values[offsets[r] : offsets[r + 1]]`, as in an Arrow list array.

    Attributes:
        offsets: int32 (R + 1,), from 0 to the number of values.
        values: All rows' values end to end.
    """

    offsets: npt.NDArray[np.int32]
    values: npt.NDArray[Value]

    def slice(self, start: int, stop: int) -> RowLists[Value]:
        """Rows start..stop - 1; values are a view, offsets begin at 0 again."""
        first = self.offsets[start]
        return RowLists(
            offsets=self.offsets[start : stop + 1] - first,
            values=self.values[first : self.offsets[stop]],
        )


@dataclass(frozen=True, slots=True)
class PackedRows:
    """R packed rows of S token ids and their boundaries.

    A sequence is `[CLS]` and its segments, each closed by `[SEP]`. `[PAD]` stands only after the last sequence of a
    row.

    Attributes:
        input_ids: uint16 or uint32 (R, S).
        sequence_lengths: Tokens of each sequence, special tokens included; uint16.
        segment_lengths: Tokens of each segment, special tokens counted with the segment before them and
            `[CLS]` with the first; uint16.
        segment_document: Document shard * 2^32 + row in it, of each segment; uint64.
        segment_offset: Tokens of the document before each segment; uint32.
    """

    input_ids: TokenIds
    sequence_lengths: RowLists[np.uint16]
    segment_lengths: RowLists[np.uint16]
    segment_document: RowLists[np.uint64]
    segment_offset: RowLists[np.uint32]

    def __len__(self) -> int:
        return len(self.input_ids)

    def slice(self, start: int, stop: int) -> PackedRows:
        """Rows start..stop - 1 as views, for writing block by block; `stop` may lie past the last row.

        Raises:
            ValueError: Not 0 <= start <= stop, or start lies past the last row.
        """
        stop = min(stop, len(self))
        if not 0 <= start <= stop:
            raise ValueError(f"rows: expected a range within 0..{len(self)}, found {start}..{stop}")
        return PackedRows(
            input_ids=self.input_ids[start:stop],
            sequence_lengths=self.sequence_lengths.slice(start, stop),
            segment_lengths=self.segment_lengths.slice(start, stop),
            segment_document=self.segment_document.slice(start, stop),
            segment_offset=self.segment_offset.slice(start, stop),
        )
