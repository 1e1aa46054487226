"""One batch of rows as one run of bytes: what travels to a device in a single copy.

    | marks | words | content | rows | masks, their numbers | ends: cu_seqlens, then of pairs turns, starts, labels
    fixed by B, S, C and the width of an id                  as many as there are

Ids travel as they are stored, 2 or 4 bytes wide, a quarter or half of what the model reads. Ends of sequences travel
instead of lengths: their number, which shapes `cu_seqlens`, has to be known on the host, and a batch of 32 rows has
some hundred of them where its lengths take 11 KB of mostly empty places. So do, for datasets of pairs, the places where
the second segment of a sequence begins (for padding its end, as if it had none), and for the N sequences that are no
padding, where they begin and their labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from numba import njit

from maskmill.pipeline.loader.batches.mark_pairs import FoundPairs, find_pairs
from maskmill.pipeline.loader.rows.row_batch import RowBatch
from maskmill.pipeline.loader.rows.stage_rows import dtype_of, take_lists, take_rows
from maskmill.schemas.rows import (
    MASK_INPUT_IDS,
    MASK_LABELS,
    MASK_POSITIONS,
    SEQUENCE_LENGTHS,
    Per,
    columns_per,
    most_values,
)

_ALIGNMENT_BYTES = 16
_SIGNED = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By width: unsigned words are viewed as signed ones, which every kernel of torch accepts."""


class Span(NamedTuple):
    """Where an array lies in the bytes."""

    start_bytes: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def stop_bytes(self) -> int:
        """Where it ends."""
        return self.start_bytes + int(np.prod(self.shape)) * self.dtype.itemsize


@dataclass(frozen=True)
class TransferLayout:
    """Where everything lies that is sent of batches of one shape.

    Attributes:
        spans: Of each array by its name; `ends` is the last, as long as it can ever be.
        seq_len: S.
        has_pairs: Whether sequences are pairs.
    """

    spans: dict[str, Span]
    seq_len: int
    has_pairs: bool

    @property
    def capacity_bytes(self) -> int:
        """The most bytes that a batch takes."""
        return self.spans["ends"].stop_bytes


class Written(NamedTuple):
    """What is known on the host of a batch that was written to a buffer.

    Attributes:
        num_bytes: To send.
        num_ends: Entries of `cu_seqlens`.
        num_pairs: N, sequences that are pairs.
        max_seqlen: The longest sequence, or padding.
    """

    num_bytes: int
    num_ends: int
    num_pairs: int
    max_seqlen: int


class SentPairs(NamedTuple):
    """The pairs of a batch on a device.

    Attributes:
        turns: int32, for each interval of `cu_seqlens` where its second segment begins, its end if it has none.
        starts: int32 `(N,)`, where sequences begin in the flattened B * S positions.
        labels: int32 `(N,)`.
    """

    turns: torch.Tensor
    starts: torch.Tensor
    labels: torch.Tensor


class SentRows(NamedTuple):
    """The rows of a batch on a device: views of what was sent.

    Attributes:
        marks: int64 `(3, B)`, row ids, epochs and datasets.
        row_words: int64 `(2, 3, B)`, see `derive_row_words`.
        content: int32 `(B,)`, positions of a row before its padding.
        rows: int16 or int32 `(B, S)`, the bits of unsigned ids: `widen` them.
        cu_seqlens: int32, the ends of sequences and paddings.
        pairs: Of datasets of pairs.
        lists: `(B, C)` of each column of masks, by its name: `widen` them. C is 0 if they are drawn on the device.
        counts: int32 `(B,)`, how many values of a column a row has.
    """

    marks: torch.Tensor
    row_words: torch.Tensor
    content: torch.Tensor
    rows: torch.Tensor
    cu_seqlens: torch.Tensor
    pairs: SentPairs | None
    lists: dict[str, torch.Tensor]
    counts: dict[str, torch.Tensor]


class WrittenMasks(NamedTuple):
    """Where the masks of a batch lie in a buffer, and its rows.

    Attributes:
        rows: uint16 or uint32 `(B, S)`.
        positions: uint16 `(B, C)`.
        shown: Of the rows' dtype, `(B, C)`, what the model reads there.
        wanted: Of the rows' dtype, `(B, C)`, the true ids.
        counts: int32 `(B,)`, how many entries of a row count.
    """

    rows: npt.NDArray[Any]
    positions: npt.NDArray[np.uint16]
    shown: npt.NDArray[Any]
    wanted: npt.NDArray[Any]
    counts: npt.NDArray[np.int32]


_SENT_LISTS = columns_per(Per.MASKED)
"""The lists that are sent as they are staged; of sequences and segments, the ends are sent instead."""


def lay_out_transfer(batch: RowBatch, num_sent: int) -> TransferLayout:
    """Lay out the bytes of batches.

    Args:
        batch: One with the shapes of all.
        num_sent: C, the most masks of a row that are sent; 0 where they are drawn on the device.
    """
    num_rows, seq_len, ids = len(batch), batch.staged.seq_len, batch.staged.rows.dtype
    most = most_values(seq_len, num_sent)
    most_ends = num_rows * (most[Per.SEQUENCE] + 1) + 1  # a row adds its sequences, and its padding if there is any
    fields: list[tuple[str, tuple[int, ...], npt.DTypeLike]] = [
        ("marks", (3, num_rows), np.int64),
        ("row_words", (2, 3, num_rows), np.int64),
        ("content", (num_rows,), np.int32),
        ("rows", (num_rows, seq_len), ids),
    ]
    for column in _SENT_LISTS:
        fields.append((f"counts/{column.name}", (num_rows,), np.int32))
        fields.append((f"lists/{column.name}", (num_rows, most[column.per]), dtype_of(column, ids)))
    fields.append(("ends", (most_ends * (4 if batch.staged.has_pairs else 1),), np.int32))
    spans: dict[str, Span] = {}
    start = 0
    for name, shape, dtype in fields:
        spans[name] = Span(start, shape, np.dtype(dtype))
        start = -(-spans[name].stop_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
    return TransferLayout(spans, seq_len, batch.staged.has_pairs)


def write_rows(
    layout: TransferLayout, batch: RowBatch, row_words: npt.NDArray[np.int64], buffer: npt.NDArray[np.uint8]
) -> Written:
    """Write a batch to a buffer of at least `layout.capacity_bytes`.

    Args:
        layout: Of batches of this shape.
        batch: Not kept.
        row_words: int64 `(2, 3, B)`.
        buffer: uint8, overwritten.
    """
    arrays = {name: _view_array(buffer, span) for name, span in layout.spans.items()}
    staged, slots, places, targets = batch.staged, batch.slots, batch.places, np.arange(len(batch))
    arrays["marks"][:] = batch.row_ids.view(np.int64), batch.epochs, batch.datasets
    arrays["row_words"][:] = row_words
    take_rows(staged.rows, slots, places, targets, arrays["rows"])
    for column in _SENT_LISTS:
        out, counts = arrays[f"lists/{column.name}"], arrays[f"counts/{column.name}"]
        take_lists(staged.lists[column.per], column.name, slots, places, targets, out, counts)
    sequences = staged.lists[Per.SEQUENCE]
    lengths = sequences.values[SEQUENCE_LENGTHS]
    num_ends, longest = _close_sequences(
        lengths, sequences.counts, slots, places, layout.seq_len, arrays["content"], arrays["ends"]
    )
    ends = layout.spans["ends"]
    num_pairs, num_values = 0, int(num_ends)
    if layout.has_pairs:
        pairs = find_pairs(batch)
        num_pairs = len(pairs.starts)
        num_values = _append_pairs(pairs, int(num_ends), arrays["ends"])
    num_bytes = ends.start_bytes + num_values * ends.dtype.itemsize
    return Written(num_bytes, int(num_ends), num_pairs, int(longest))


def view_masks(layout: TransferLayout, buffer: npt.NDArray[np.uint8]) -> WrittenMasks:
    """See the rows and masks of a batch that `write_rows` wrote, to write masks that are not stored."""
    lists = (f"lists/{name}" for name in (MASK_POSITIONS, MASK_INPUT_IDS, MASK_LABELS))
    names = ("rows", *lists, f"counts/{MASK_POSITIONS}")
    return WrittenMasks(*(_view_array(buffer, layout.spans[name]) for name in names))


def read_rows(layout: TransferLayout, written: Written, sent: torch.Tensor) -> SentRows:
    """See the bytes of a batch, uint8 on any device, as what they are."""
    num_ends = written.num_ends
    num_values = 2 * (num_ends + written.num_pairs) - 1 if layout.has_pairs else num_ends
    spans = layout.spans | {"ends": layout.spans["ends"]._replace(shape=(num_values,))}
    seen = {name: _view_tensor(sent, span) for name, span in spans.items()}
    names = [column.name for column in _SENT_LISTS]
    lists, counts = ({name: seen.pop(f"{kind}/{name}") for name in names} for kind in ("lists", "counts"))
    ends = seen.pop("ends")
    pairs = _view_pairs(ends[num_ends:], num_ends - 1, written.num_pairs) if layout.has_pairs else None
    return SentRows(**seen, cu_seqlens=ends[:num_ends], pairs=pairs, lists=lists, counts=counts)


def widen(ids: torch.Tensor) -> torch.Tensor:
    """Signed words that hold the bits of unsigned ones, as int64."""
    return ids.to(torch.int64) & ((1 << 8 * ids.element_size()) - 1)


def _append_pairs(pairs: FoundPairs, num_ends: int, ends: npt.NDArray[np.int32]) -> int:
    """Write the values of `SentPairs` behind the ends of sequences; returns the number of all values."""
    turns = ends[num_ends : 2 * num_ends - 1]
    turns[:] = ends[1:num_ends]
    turns[np.searchsorted(ends[:num_ends], pairs.starts)] = pairs.turns
    rest = np.concatenate([pairs.starts, pairs.labels])
    ends[2 * num_ends - 1 : 2 * num_ends - 1 + len(rest)] = rest
    return 2 * num_ends - 1 + len(rest)


def _view_pairs(values: torch.Tensor, num_turns: int, num_pairs: int) -> SentPairs:
    turns, rest = values[:num_turns], values[num_turns:]
    return SentPairs(turns, rest[:num_pairs], rest[num_pairs:])


def _view_array(buffer: npt.NDArray[np.uint8], span: Span) -> npt.NDArray[Any]:
    return buffer[span.start_bytes : span.stop_bytes].view(span.dtype).reshape(span.shape)


def _view_tensor(sent: torch.Tensor, span: Span) -> torch.Tensor:
    return sent[span.start_bytes : span.stop_bytes].view(_SIGNED[span.dtype.itemsize]).view(span.shape)


@njit(cache=True, nogil=True)
def _close_sequences(
    lengths: Any, counts: Any, slots: Any, places: Any, seq_len: int, content: Any, ends: Any
) -> tuple[int, np.int64]:
    """Write the ends of sequences in the flattened rows, and of content in each; returns their number and maximum."""
    ends[0] = 0
    filled = 1
    longest = np.int64(0)
    for b in range(len(slots)):
        stop = np.int64(0)
        row = lengths[slots[b], places[b]]
        for j in range(counts[slots[b], places[b]]):
            length = np.int64(row[j])
            stop += length
            longest = max(longest, length)
            ends[filled] = b * seq_len + stop
            filled += 1
        content[b] = stop
        if stop < seq_len:
            longest = max(longest, seq_len - stop)
            ends[filled] = (b + 1) * seq_len
            filled += 1
    return filled, longest
