"""Write segments into rows of token ids, once it is known which row each goes to."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from pipeline.packing.best_fit import sort_longest_first
from pipeline.packing.order_rows import order_rows
from pipeline.packing.packed_rows import PackedRows, RowLists
from pipeline.packing.split_documents import Segments
from pipeline.packing.token_columns import TokenIds, TokenType, check_ids, check_offsets


def assemble_rows(
    ids: npt.NDArray[Any],
    offsets: npt.NDArray[Any],
    segments: Segments,
    row_of_segment: npt.NDArray[np.int64],
    num_rows: int,
    *,
    seq_len: int,
    cls_id: int,
    sep_id: int,
    pad_id: int,
    dtype: TokenType,
    document_shard: int = 0,
    seed: int = 0,
) -> PackedRows:
    """Writes every row: `[CLS]` tokens `[SEP]` for each segment, then `[PAD]`.

    Within a row segments stand as the packer placed them, longest first. Rows stand in the order of a keyed
    hash of their first segment (see `order_rows`). Each token is written once, into the one large array; 15
    million tokens take 17 ms on one core once the array's memory is mapped.

    Args:
        ids: Token ids of all documents without special tokens, shape (T,).
        offsets: Document d is `ids[offsets[d] : offsets[d + 1]]`; shape (N + 1,).
        segments: The D segments.
        row_of_segment: The packer's row for each segment, int64 (D,).
        num_rows: Rows the packer opened (R).
        seq_len: Positions in a row (S).
        cls_id: Id of `[CLS]`.
        sep_id: Id of `[SEP]`.
        pad_id: Id of `[PAD]`.
        dtype: Type of the ids in rows, see `schemas.rows.id_type`.
        document_shard: Number of the document shard that the documents are from.
        seed: Key of the hash that orders rows.

    Returns:
        R rows.

    Raises:
        ValueError: A row holds too much or nothing, a segment reaches past its document, a document or row
            index is out of range, or an id does not fit in `dtype`.
    """
    offsets = check_offsets(offsets, ids.size)
    ids = check_ids(ids)
    _check_id_range(ids, (cls_id, sep_id, pad_id), dtype)
    _check_segments(offsets, segments)
    if not 0 <= document_shard < 1 << 32:
        raise ValueError(f"document_shard: expected 0..2^32 - 1, found {document_shard}")
    lengths = segments.lengths
    segments_in_row = _check_rows(lengths, row_of_segment, num_rows, seq_len)

    by_row = _group_by_row(row_of_segment, segments_in_row, sort_longest_first(lengths, seq_len))
    group_start = np.cumsum(segments_in_row) - segments_in_row
    first_segment = by_row[group_start]
    shard_bits = np.uint64(document_shard << 32)
    document_ids = segments.document.astype(np.uint64) | shard_bits
    written = order_rows(document_ids[first_segment], segments.start[first_segment], seed)

    list_offsets = np.zeros(num_rows + 1, np.int32)
    np.cumsum(segments_in_row[written], out=list_offsets[1:])
    placed = _concatenate_groups(by_row, group_start, written, list_offsets)
    segment_lengths = RowLists(list_offsets, lengths[placed].astype(np.uint16))
    input_ids = np.empty((num_rows, seq_len), dtype)
    _write_rows(
        ids,
        offsets[segments.document[placed]] + segments.start[placed],
        segments.num_tokens[placed],
        list_offsets,
        dtype(cls_id),
        dtype(sep_id),
        dtype(pad_id),
        input_ids,
    )
    return PackedRows(
        input_ids=input_ids,
        sequence_lengths=segment_lengths,  # one segment a sequence
        segment_lengths=segment_lengths,
        segment_document=RowLists(list_offsets, document_ids[placed]),
        segment_offset=RowLists(list_offsets, segments.start[placed]),
    )


def _check_id_range(ids: TokenIds, special_ids: tuple[int, ...], dtype: TokenType) -> None:
    largest = int(ids.max()) if ids.size else 0
    limit = int(np.iinfo(dtype).max)
    if not 0 <= min(special_ids) <= max(largest, *special_ids) <= limit:
        raise ValueError(
            f"ids: expected 0..{limit} for rows of {np.dtype(dtype)}; "
            f"found up to {largest}, special tokens {special_ids}"
        )


def _check_segments(offsets: npt.NDArray[np.int64], segments: Segments) -> None:
    if len(segments) == 0:
        return
    document = segments.document
    if int(document.min()) < 0 or int(document.max()) >= offsets.size - 1:
        raise ValueError(f"segments: expected documents below {offsets.size - 1}, the number of documents")
    stop = offsets[document] + segments.start + segments.num_tokens
    if int(segments.num_tokens.min()) < 1 or (stop > offsets[document + 1]).any():
        raise ValueError("segments: expected at least one token each, all within the document")


def _check_rows(
    lengths: npt.NDArray[np.int32], row_of_segment: npt.NDArray[np.int64], num_rows: int, seq_len: int
) -> npt.NDArray[np.int64]:
    """Checks the packing and counts the segments of each row, int64 (R,)."""
    if row_of_segment.shape != lengths.shape:
        raise ValueError(f"row_of_segment: expected {lengths.size} rows, found {row_of_segment.size}")
    if lengths.size and (int(row_of_segment.min()) < 0 or int(row_of_segment.max()) >= num_rows):
        raise ValueError(f"row_of_segment: expected 0..{num_rows - 1}")
    segments_in_row = np.bincount(row_of_segment, minlength=num_rows)
    if num_rows and int(segments_in_row.min()) == 0:
        raise ValueError(f"row_of_segment: row {int(segments_in_row.argmin())} has no segment")
    # Sums of at most 2^31 positions are exact in the float64 that bincount adds in.
    used = np.bincount(row_of_segment, weights=lengths, minlength=num_rows)
    if num_rows and int(used.max()) > seq_len:
        raise ValueError(f"row {int(used.argmax())}: expected at most {seq_len} tokens, found {int(used.max())}")
    return segments_in_row


@njit(cache=True, nogil=True)
def _group_by_row(
    row_of_segment: npt.NDArray[np.int64],
    segments_in_row: npt.NDArray[np.int64],
    packing_order: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Segments grouped by row, within a row as in `packing_order`."""
    place = np.cumsum(segments_in_row) - segments_in_row
    by_row = np.empty(packing_order.size, np.int64)
    for segment in packing_order:
        row = row_of_segment[segment]
        by_row[place[row]] = segment
        place[row] += 1
    return by_row


@njit(cache=True, nogil=True)
def _concatenate_groups(
    by_row: npt.NDArray[np.int64],
    group_start: npt.NDArray[np.int64],
    written: npt.NDArray[np.int64],
    list_offsets: npt.NDArray[np.int32],
) -> npt.NDArray[np.int64]:
    """The groups of `by_row` in the order `written` gives."""
    placed = np.empty(by_row.size, np.int64)
    for row in range(written.size):
        source = group_start[written[row]]
        for place in range(list_offsets[row], list_offsets[row + 1]):
            placed[place] = by_row[source]
            source += 1
    return placed


@njit(cache=True, nogil=True)
def _write_rows(
    ids: TokenIds,
    first_token: npt.NDArray[np.int64],
    num_tokens: npt.NDArray[np.int32],
    list_offsets: npt.NDArray[np.int32],
    cls_id: np.uint16 | np.uint32,
    sep_id: np.uint16 | np.uint32,
    pad_id: np.uint16 | np.uint32,
    out: TokenIds,
) -> None:
    for row in range(out.shape[0]):
        target = out[row]
        position = 0
        for segment in range(list_offsets[row], list_offsets[row + 1]):
            count = num_tokens[segment]
            source = ids[first_token[segment] : first_token[segment] + count]
            target[position] = cls_id
            inside = target[position + 1 : position + 1 + count]
            for token in range(count):
                inside[token] = source[token]
            position += 1 + count
            target[position] = sep_id
            position += 1
        for rest in range(position, target.size):
            target[rest] = pad_id
