"""Rows as arrays, laid out as the columns of a packed shard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.packing.cutting.token_columns import TokenIds

Value = TypeVar("Value", np.uint8, np.uint16, np.uint32, np.uint64)


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

    A sequence is `[CLS]` and its segments, each closed by `[SEP]`. `[PAD]` occurs only after the last sequence of a
    row.

    Attributes:
        input_ids: uint16 or uint32 (R, S).
        lists: The `list_columns` of `maskmill.schemas.rows`, by name.
        word_starts: Whether a word starts at a position, bool (R, S); None where it is not stored. At [CLS], [SEP] and
            [PAD] none starts, at the first token of a segment one does.
    """

    input_ids: TokenIds
    lists: Mapping[str, RowLists[Any]]
    word_starts: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def sequence_lengths(self) -> RowLists[np.uint16]:
        """Tokens of each sequence, special tokens included."""
        return self.lists["sequence_lengths"]

    @property
    def segment_lengths(self) -> RowLists[np.uint16]:
        """Tokens of each segment, special tokens counted with the segment before them and `[CLS]` with the first."""
        return self.lists["segment_lengths"]

    @property
    def segment_document(self) -> RowLists[np.uint64]:
        """Document shard * 2^32 + row in it, of each segment."""
        return self.lists["segment_document"]

    @property
    def segment_offset(self) -> RowLists[np.uint32]:
        """Tokens of the document before each segment."""
        return self.lists["segment_offset"]

    def slice(self, start: int, stop: int) -> PackedRows:
        """Rows start..stop - 1 as views, for writing block by block; `stop` may lie past the last row.

        Raises:
            ValueError: Not 0 <= start <= stop, or start lies past the last row.
        """
        stop = min(stop, len(self))
        if not 0 <= start <= stop:
            raise ValueError(f"rows: expected a range within 0..{len(self)}, found {start}..{stop}")
        lists = {name: column.slice(start, stop) for name, column in self.lists.items()}
        word_starts = None if self.word_starts is None else self.word_starts[start:stop]
        return PackedRows(self.input_ids[start:stop], lists, word_starts)
