"""Blocks of packed rows: read, validated, and every stored value that indexes memory checked against its range.

The loader and `verify` read rows through this module alone, so a dataset that `verify` calls sound never fails in a
loader. Beside the checksum and Arrow's own reading, 15 us a block of 256 rows of 512, validating takes 5 us, viewing
and checking values 20 us, and each copy of the masks that is read 20 us, of the 1.4 ms that a loader needs for the
batches of such a block.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from maskmill.pipeline.masking.numba_masks import count_selected
from maskmill.pipeline.storage.arrow_layout import BatchLayout
from maskmill.pipeline.storage.arrow_reader import check_block, read_batch
from maskmill.pipeline.storage.arrow_views import BatchBuffers
from maskmill.schemas.errors import ShardCorruptError
from maskmill.schemas.manifest import PackedManifest
from maskmill.schemas.rows import MIN_SEGMENT_TOKENS, MIN_SEQUENCE_TOKENS, id_type, packed_row_schema

_FIRST_MASK = 5
_ID_BUFFERS, _LIST_BUFFERS = 3, 4  # of the column of ids, and of each column of lists
_SEQUENCES, _SEGMENTS = "sequence_lengths", "segment_lengths"
_MASKS = ("positions", "input_ids", "labels")
_PLACE, _LENGTH, _DOCUMENT, _OFFSET = map(np.dtype, (np.int32, np.uint16, np.uint64, np.uint32))

FAULTS = (
    "",
    "a token is outside the vocabulary",
    "it has no sequence",
    "a sequence has fewer than three tokens",
    "its sequences are longer than the row",
    "a segment has no token",
    "its segments do not fill its sequences",
    "not every segment has a document and an offset",
    "not every masked position has an id and a label",
    "more positions are masked than the masking of the dataset selects",
    "the masked positions do not rise",
    "a masked position is outside its sequences",
    "an id or a label of a masked position is outside the vocabulary",
    "its lists do not begin where those of the row before end",
)
"""By number: what may be wrong with a row that Arrow finds nothing wrong with."""


class StoredMasks(NamedTuple):
    """One stored copy of the masks of a block: row r has the values from `offsets[r]` to `offsets[r + 1]`.

    Attributes:
        offsets: int32 (R + 1,).
        positions: uint16, rising in each row.
        input_ids: What the model reads there; of the rows' type.
        labels: The true ids; of the rows' type.
    """

    offsets: npt.NDArray[np.int32]
    positions: npt.NDArray[np.uint16]
    input_ids: npt.NDArray[Any]
    labels: npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class PackedBlock:
    """The R rows of a block as arrays, without a copy where the block is not compressed.

    Attributes:
        input_ids: uint16 or uint32 (R, S).
        sequence_offsets: int32 (R + 1,): row r has the sequences from `sequence_offsets[r]` on.
        sequence_lengths: uint16.
        segment_offsets: int32 (R + 1,), of all that belongs to segments.
        segment_lengths: uint16.
        segment_document: uint64.
        segment_offset: uint32.
        masks: Those copies that were asked for.
    """

    input_ids: npt.NDArray[Any]
    sequence_offsets: npt.NDArray[np.int32]
    sequence_lengths: npt.NDArray[np.uint16]
    segment_offsets: npt.NDArray[np.int32]
    segment_lengths: npt.NDArray[np.uint16]
    segment_document: npt.NDArray[np.uint64]
    segment_offset: npt.NDArray[np.uint32]
    masks: dict[int, StoredMasks]

    def __len__(self) -> int:
        return len(self.input_ids)


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
        self._id_type = np.dtype(id_type(self._vocab_size).to_pandas_dtype())
        self._most_masked = count_selected(manifest.seq_len, manifest.masking.rate_ppm)
        self.schema = packed_row_schema(manifest.seq_len, self._vocab_size, manifest.copies)
        self._layout = BatchLayout.of(self.schema, self._most_items())
        self.most_bytes = self._layout.most_bytes(manifest.block_rows)

    def _most_items(self) -> dict[str, int]:
        """The most values that a row has in each column of lists."""
        seq_len = self._manifest.seq_len
        segments = dict.fromkeys((_SEGMENTS, "segment_document", "segment_offset"), seq_len // MIN_SEGMENT_TOKENS)
        masks = {f"mask_{copy}_{name}": self._most_masked for copy in range(self._manifest.copies) for name in _MASKS}
        return {_SEQUENCES: seq_len // MIN_SEQUENCE_TOKENS} | segments | masks

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
        buffers = read_batch(data, self._layout, path, f"block {block}", num_rows, self._manifest.compression)
        seq_len = self._manifest.seq_len
        ids = buffers.view(_ID_BUFFERS - 1, self._id_type, num_rows * seq_len).reshape(num_rows, seq_len)
        sequences, segments = (_view_lists(buffers, column, _LENGTH, num_rows) for column in (1, 2))
        documents, offsets = (
            _view_lists(buffers, 3, _DOCUMENT, num_rows),
            _view_lists(buffers, 4, _OFFSET, num_rows),
        )
        used = np.empty(num_rows, np.int64)
        fault, row = _check_rows(ids, self._vocab_size, sequences, segments, (documents[0], offsets[0]), used)
        if fault:
            raise self._refuse(path, block, fault, row)
        masks = {copy: self._read_masks(buffers, copy, used, path, block) for copy in copies}
        return PackedBlock(ids, *sequences, *segments, documents[1], offsets[1], masks)

    def _read_masks(
        self, buffers: BatchBuffers, copy: int, used: npt.NDArray[np.int64], path: str, block: int
    ) -> StoredMasks:
        first = _FIRST_MASK + len(_MASKS) * copy
        kinds = (_LENGTH, self._id_type, self._id_type)
        lists = [_view_lists(buffers, first + number, kind, len(used)) for number, kind in enumerate(kinds)]
        offsets, values = zip(*lists, strict=True)
        fault, row = _check_masks(used, self._vocab_size, self._most_masked, offsets, values)
        if fault:
            raise self._refuse(path, block, fault, row, f"mask_{copy}: ")
        return StoredMasks(offsets[0], *values)

    def _refuse(self, path: str, block: int, fault: int, row: int, column: str = "") -> ShardCorruptError:
        return ShardCorruptError(
            "the row is invalid",
            path=path,
            place=f"block {block}, row {block * self._manifest.block_rows + row}",
            expected=f"rows of {self._manifest.seq_len} tokens below {self._vocab_size}",
            found=column + FAULTS[fault],
            action="write the dataset again",
        )


def _view_lists(
    buffers: BatchBuffers, column: int, dtype: np.dtype[Any], num_rows: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[Any]]:
    """A column of lists as int32 offsets (R + 1,) and all values."""
    first = _ID_BUFFERS + _LIST_BUFFERS * (column - 1)
    offsets = buffers.view(first + 1, _PLACE, num_rows + 1)
    return offsets, buffers.view(first + 3, dtype, int(offsets[-1]))


@njit(cache=True, nogil=True)
def _check_rows(ids: Any, vocab_size: int, sequences: Any, segments: Any, provenance: Any, used: Any) -> Any:
    """The first of `FAULTS` that a row has, and the row; fills `used`, tokens up to the end of the last sequence."""
    sequence_offsets, sequence_lengths = sequences
    segment_offsets, segment_lengths = segments
    document_offsets, token_offsets = provenance
    seq_len = np.int64(ids.shape[1])
    if sequence_offsets[0] != 0 or segment_offsets[0] != 0 or document_offsets[0] != 0 or token_offsets[0] != 0:
        return 13, 0
    greatest = np.uint32(0)
    for r in range(len(ids)):
        row = ids[r]
        for i in range(row.shape[0]):
            greatest = max(greatest, np.uint32(row[i]))
        if greatest >= vocab_size:
            return 1, r
        if sequence_offsets[r + 1] == sequence_offsets[r]:
            return 2, r
        used[r] = _add_lengths(sequence_lengths, sequence_offsets[r], sequence_offsets[r + 1], MIN_SEQUENCE_TOKENS)
        if used[r] < 0 or used[r] > seq_len:
            return 3 if used[r] < 0 else 4, r
        filled = _add_lengths(segment_lengths, segment_offsets[r], segment_offsets[r + 1], MIN_SEGMENT_TOKENS)
        if filled != used[r]:
            return 5 if filled < 0 else 6, r
        if document_offsets[r + 1] != segment_offsets[r + 1] or token_offsets[r + 1] != segment_offsets[r + 1]:
            return 7, r
    return 0, -1


@njit(cache=True, nogil=True)
def _add_lengths(lengths: Any, first: int, stop: int, least: int) -> Any:
    """The sum of some lengths; -1 if one of them is below the least."""
    total = np.int64(0)
    for i in range(first, stop):
        if lengths[i] < least:
            return -1
        total += np.int64(lengths[i])
    return total


@njit(cache=True, nogil=True)
def _check_masks(used: Any, vocab_size: int, most: int, offsets: Any, values: Any) -> Any:
    """The same for one stored copy of the masks."""
    starts, id_starts, label_starts = offsets
    positions, shown, labels = values
    if starts[0] != 0 or id_starts[0] != 0 or label_starts[0] != 0:
        return 13, 0
    is_rising, greatest = True, np.uint32(0)
    for r in range(len(used)):
        first, stop = starts[r], starts[r + 1]
        if id_starts[r + 1] != stop or label_starts[r + 1] != stop:
            return 8, r
        if stop - first > most:
            return 9, r
        row, ids, true_ids = positions[first:stop], shown[first:stop], labels[first:stop]  # views: loops vectorise
        for i in range(1, row.shape[0]):
            is_rising = is_rising & (row[i] > row[i - 1])
        if not is_rising:
            return 10, r
        if row.shape[0] and row[-1] >= used[r]:
            return 11, r
        for i in range(row.shape[0]):
            greatest = max(greatest, np.uint32(ids[i]), np.uint32(true_ids[i]))
        if greatest >= vocab_size:
            return 12, r
    return 0, -1
