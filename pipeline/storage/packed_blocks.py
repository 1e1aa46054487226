"""Blocks of packed rows: read, validated, and every stored value that indexes memory checked against its range.

The loader and `verify` read rows through this module alone, so a dataset that `verify` calls sound never fails in a
loader. Beside the checksum, 6 us a block of 256 rows of 512, validating takes 5 us, viewing and checking values 25 us,
and each copy of the masks that is read 20 us, of the 1.4 ms that a loader needs for the batches of such a block.
(Arrow's own reading would take 15 us more. Whatever is accepted without it, Arrow accepts: see `flatbuffers`.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maskmill.pipeline.storage.arrow_batches import check_block, read_batch, view_batch
from maskmill.pipeline.storage.arrow_layout import BatchLayout
from maskmill.pipeline.storage.arrow_views import BatchBuffers
from maskmill.pipeline.storage.packed_values import (
    ROW_FAULTS,
    check_masks,
    check_pairs,
    check_rows,
    find_beyond,
    find_difference,
)
from maskmill.schemas.errors import ShardCorruptError
from maskmill.schemas.manifest import PackedManifest
from maskmill.schemas.rows import (
    MASK_POSITIONS,
    SEGMENT_LENGTHS,
    SEQUENCE_LENGTHS,
    Per,
    RowColumn,
    columns_per,
    most_values,
    packed_row_schema,
)

_LIST_BUFFERS, _TOKEN_BUFFERS = 4, 3  # of a column of lists, and of one with a value for each position
_PLACE = np.dtype(np.int32)

_NOT_IN_STEP = {
    Per.SEQUENCE: "not every sequence has a value in every column",
    Per.SEGMENT: "not every segment has a document and an offset",
    Per.MASKED: "not every masked position has an id and a label",
}
_OUTSIDE = {Per.MASKED: "an id or a label of a masked position is outside the vocabulary"}


_Refuse = Callable[[int, str], ShardCorruptError]
"""Builds the error for a row, given its number in the block and what is wrong."""


class Lists(NamedTuple):
    """The lists of rows, of all columns of one kind: row r has the values from `offsets[r]` to `offsets[r + 1]`.

    Attributes:
        offsets: int32 (R + 1,).
        values: Of each column, by its name.
    """

    offsets: npt.NDArray[np.int32]
    values: dict[str, npt.NDArray[Any]]

    def values_of(self, row: int) -> dict[str, npt.NDArray[Any]]:
        """The values of one row, by the names of the columns."""
        start, stop = self.offsets[row : row + 2]
        return {name: values[start:stop] for name, values in self.values.items()}


@dataclass(frozen=True, slots=True, eq=False)
class PackedBlock:
    """The R rows of a block as arrays, without a copy where the block is not compressed.

    Attributes:
        input_ids: uint16 or uint32 (R, S).
        sequences: What a row has for each sequence.
        segments: What it has for each segment.
        masks: What it has for each masked position, of those copies that were asked for.
        word_starts: Whether a word starts at a position, bool (R, S); `None` where it is not stored.
    """

    input_ids: npt.NDArray[Any]
    sequences: Lists
    segments: Lists
    masks: dict[int, Lists]
    word_starts: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    def lists(self, per: Per, copy: int) -> Lists:
        """The lists of a kind; of the masks, those of a copy."""
        if per is Per.MASKED:
            return self.masks[copy]
        return self.sequences if per is Per.SEQUENCE else self.segments


class _Stored(NamedTuple):
    """A column of lists as it is in a block.

    Attributes:
        name: In `Lists.values`.
        shown_name: In the file.
        first_buffer: Its first buffer in the block.
        dtype: Of its values.
        limit: Values must be below it; `None` if there is no limit, or none that the type could exceed.
    """

    name: str
    shown_name: str
    first_buffer: int
    dtype: np.dtype[Any]
    limit: int | None


class PackedBlocks:
    """Reads the blocks of one dataset.

    Args:
        manifest: Of the dataset; with it, the size of everything that a block may hold is known.

    Attributes:
        schema: Of its shards.
        most_bytes: The most bytes that a block takes, in a file or in memory.
    """

    def __init__(self, manifest: PackedManifest) -> None:
        self._manifest = manifest
        self._vocab_size = manifest.vocabulary.vocab_size
        self._most_masked = manifest.masking.most_predicted(manifest.seq_len)
        self._has_pairs = manifest.pairs is not None
        has_words = manifest.has_word_starts
        self.schema = packed_row_schema(
            manifest.seq_len, self._vocab_size, manifest.copies, pairs=self._has_pairs, words=has_words
        )
        ids, *flags = (self._locate(column, column.name) for column in columns_per(Per.TOKEN, words=has_words))
        self._ids, self._word_starts = ids, flags[0] if flags else None
        self._lists = {
            per: tuple(self._locate(column, column.name) for column in columns_per(per, pairs=self._has_pairs))
            for per in (Per.SEQUENCE, Per.SEGMENT)
        }
        self._masks = tuple(
            tuple(self._locate(column, column.name_of(copy)) for column in columns_per(Per.MASKED))
            for copy in range(manifest.copies)
        )
        self._layout = BatchLayout.of(self.schema, self._most_items())
        self.most_bytes = self._layout.most_bytes(manifest.block_rows)

    def _locate(self, column: RowColumn, shown_name: str) -> _Stored:
        before = [field.type for field in self.schema][: self.schema.get_field_index(shown_name)]
        first_buffer = sum(_TOKEN_BUFFERS if pa.types.is_fixed_size_list(one) else _LIST_BUFFERS for one in before)
        dtype = np.dtype(column.type_of(self._vocab_size).to_pandas_dtype())
        limit = column.limit_of(self._vocab_size)
        limit = None if limit is None or limit > int(np.iinfo(dtype).max) else limit
        return _Stored(column.name, shown_name, first_buffer, dtype, limit)

    def _most_items(self) -> dict[str, int]:
        """The most values that a row has in each column of lists."""
        most = most_values(self._manifest.seq_len, self._most_masked)
        lists = {column.name: most[per] for per, columns in self._lists.items() for column in columns}
        return lists | {column.shown_name: most[Per.MASKED] for columns in self._masks for column in columns}

    def read(
        self,
        data: pa.Buffer | bytes,
        checksum: int,
        num_rows: int,
        path: str,
        block: int,
        copies: Iterable[int] = (),
    ) -> PackedBlock:
        """Read a block.

        Args:
            data: Its bytes.
            checksum: xxh3-64 of them.
            num_rows: R, as the table of shards says it; at least 1.
            path: Its shard, for messages.
            block: Its number, for messages.
            copies: Which stored masks are read too; the structure of the others is validated, their values are not.

        Raises:
            ShardCorruptError: It is not what was written, or holds a value that is out of range.
        """
        check_block(data, checksum, path, block)
        buffers = view_batch(data, self._layout, path, f"block {block}", num_rows, self._manifest.compression)
        refuse = partial(self._refuse, path, block)
        seq_len = self._manifest.seq_len
        ids = buffers.view(self._ids.first_buffer + 2, self._ids.dtype, num_rows * seq_len).reshape(num_rows, seq_len)
        if self._ids.limit is not None and (index := find_beyond(ids.reshape(-1), self._ids.limit)) >= 0:
            raise refuse(index // seq_len, "a token is outside the vocabulary")
        sequences, segments = kinds = [
            _view_lists(buffers, columns, num_rows, refuse) for columns in self._lists.values()
        ]
        bounds = (
            (sequences.offsets, sequences.values[SEQUENCE_LENGTHS]),
            (segments.offsets, segments.values[SEGMENT_LENGTHS]),
        )
        used = np.empty(num_rows, np.int64)
        fault, row = check_rows(seq_len, *bounds, used)
        if not fault and self._has_pairs:
            fault, row = check_pairs(*bounds)
        if fault:
            raise refuse(row, ROW_FAULTS[fault])
        for (per, columns), lists in zip(self._lists.items(), kinds, strict=True):
            _check_lists(buffers, per, columns, lists, refuse)
        masks = {copy: self._read_masks(buffers, copy, used, refuse) for copy in copies}
        return PackedBlock(ids, sequences, segments, masks, self._read_word_starts(buffers, num_rows))

    def read_by_arrow(self, data: pa.Buffer | bytes, num_rows: int, path: str, block: int) -> None:
        """Read a block as other programs do, to see that they can.

        Raises:
            ShardCorruptError: Arrow does not read it.
        """
        read_batch(data, self._layout, path, f"block {block}", num_rows, self._manifest.compression)

    def _read_word_starts(self, buffers: BatchBuffers, num_rows: int) -> npt.NDArray[np.bool_] | None:
        """Read one bit for each position, the first of a byte its lowest, as a byte for each."""
        if self._word_starts is None:
            return None
        count = num_rows * self._manifest.seq_len
        bits = buffers.view(self._word_starts.first_buffer + 2, np.dtype(np.uint8), -(-count // 8))
        flags = np.unpackbits(bits, count=count, bitorder="little").view(np.bool_)
        return flags.reshape(num_rows, self._manifest.seq_len)

    def _read_masks(self, buffers: BatchBuffers, copy: int, used: npt.NDArray[np.int64], refuse: _Refuse) -> Lists:
        def refuse_copy(row: int, found: str) -> ShardCorruptError:
            return refuse(row, f"mask_{copy}: {found}")

        lists = _view_lists(buffers, self._masks[copy], len(used), refuse_copy)
        _check_lists(buffers, Per.MASKED, self._masks[copy], lists, refuse_copy)
        fault, row = check_masks(used, self._most_masked, lists.offsets, lists.values[MASK_POSITIONS])
        if fault:
            raise refuse_copy(row, ROW_FAULTS[fault])
        return lists

    def _refuse(self, path: str, block: int, row: int, found: str) -> ShardCorruptError:
        return ShardCorruptError(
            "the row is invalid",
            path=path,
            place=f"block {block}, row {block * self._manifest.block_rows + row}",
            expected=f"rows of {self._manifest.seq_len} tokens below {self._vocab_size}",
            found=found,
            action="write the dataset again",
        )


def _view_lists(buffers: BatchBuffers, columns: tuple[_Stored, ...], num_rows: int, refuse: _Refuse) -> Lists:
    """All columns of one kind, to be checked by `_check_lists`; the offsets are those of the first."""
    values = {}
    for column in reversed(columns):
        offsets = buffers.view(column.first_buffer + 1, _PLACE, num_rows + 1)
        if offsets[0]:
            raise refuse(0, "its lists do not begin where those of the row before end")
        values[column.name] = buffers.view(column.first_buffer + 3, column.dtype, int(offsets[-1]))
    return Lists(offsets, values)


def _check_lists(buffers: BatchBuffers, per: Per, columns: tuple[_Stored, ...], lists: Lists, refuse: _Refuse) -> None:
    """Refuse columns of one kind whose lists are not equally long, and values that are not below their limits."""
    for column in columns[1:]:
        own = buffers.view(column.first_buffer + 1, _PLACE, len(lists.offsets))
        if (index := find_difference(lists.offsets, own)) >= 0:
            raise refuse(index - 1, _NOT_IN_STEP[per])
    for column in columns:
        if column.limit is not None and (index := find_beyond(lists.values[column.name], column.limit)) >= 0:
            row = int(np.searchsorted(lists.offsets, index, side="right")) - 1
            raise refuse(row, _OUTSIDE.get(per, f"a value of {column.shown_name} is not below {column.limit}"))
