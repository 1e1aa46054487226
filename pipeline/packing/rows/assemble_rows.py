"""Write sequences into rows of token ids, once it is planned which row each goes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.pipeline.packing.cutting.cut_rules import MAX_SEQUENCE_TOKENS
from maskmill.pipeline.packing.cutting.split_documents import Segments
from maskmill.pipeline.packing.cutting.token_columns import TokenColumns, TokenIds, TokenType
from maskmill.pipeline.packing.fitting.best_fit import sort_longest_first
from maskmill.pipeline.packing.rows.order_rows import order_rows
from maskmill.pipeline.packing.rows.packed_rows import PackedRows, RowLists
from maskmill.pipeline.packing.sequences.row_plan import RowPlan
from maskmill.schemas.mask_vocabulary import MaskVocabulary
from maskmill.schemas.rows import SEQUENCE_LABELS, id_type


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """The ids that rows have besides those of documents, and the type of all.

    Attributes:
        cls_id: Id of `[CLS]`.
        sep_id: Id of `[SEP]`.
        pad_id: Id of `[PAD]`.
        dtype: Type of the ids in rows, see `maskmill.schemas.rows.id_type`.
    """

    cls_id: int
    sep_id: int
    pad_id: int
    dtype: TokenType

    @classmethod
    def from_vocabulary(cls, vocabulary: MaskVocabulary) -> SpecialIds:
        """The special ids of a vocabulary."""
        dtype = id_type(vocabulary.vocab_size).to_pandas_dtype()
        return cls(vocabulary.cls_id, vocabulary.sep_id, vocabulary.pad_id, dtype)


def assemble_rows(
    columns: TokenColumns, plan: RowPlan, special: SpecialIds, document_shard: int = 0, seed: int = 0
) -> PackedRows:
    """Writes every row: for each sequence `[CLS]`, then its segments, each closed by `[SEP]`; at the end `[PAD]`.

    Within a row sequences are longest first, equal ones in the planned order. Rows are in the order of a keyed hash
    of their first segment (see `order_rows`). Each token is written once, into the one large array; 15 million tokens
    take 17 ms on one core once the array's memory is mapped.

    Args:
        columns: The documents.
        plan: D segments in Q sequences in R rows of S positions, see `plan_rows`.
        special: `[CLS]`, `[SEP]` and `[PAD]`.
        document_shard: Number of the document shard that the documents are from.
        seed: Key of the hash that orders rows.

    Returns:
        R rows.

    Raises:
        ValueError: A row holds too much or nothing, a sequence has no segment, a segment reaches past its document,
            a document or row index is out of range, or an id does not fit in `special.dtype`.
    """
    offsets = columns.offsets
    segments = plan.segments
    _check_id_range(columns.ids, special)
    _check_segments(offsets, segments)
    _check_sequences(plan)
    if not 0 <= document_shard < 1 << 32:
        raise ValueError(f"document_shard: expected 0..2^32 - 1, found {document_shard}")
    lengths = plan.sequence_lengths
    sequences_in_row = _check_rows(lengths, plan.row_of_sequence, plan.num_rows, plan.seq_len)

    by_row = _group_by_row(plan.row_of_sequence, sequences_in_row, sort_longest_first(lengths, plan.seq_len))
    group_start = np.cumsum(sequences_in_row) - sequences_in_row
    leading = plan.first_segment[by_row[group_start]]
    document_ids = segments.document.astype(np.uint64) | np.uint64(document_shard << 32)
    written = order_rows(document_ids[leading], segments.start[leading], seed)

    sequence_offsets = np.zeros(plan.num_rows + 1, np.int32)
    np.cumsum(sequences_in_row[written], out=sequence_offsets[1:])
    sequences = _concatenate_groups(by_row, group_start, written, sequence_offsets)
    placed, begins_sequence, segments_before = _list_segments(sequences, plan.first_segment)
    segment_offsets = segments_before[sequence_offsets]
    dtype = special.dtype
    input_ids = np.empty((plan.num_rows, plan.seq_len), dtype)
    placed_segments = _PlacedSegments(
        first_token=offsets[segments.document[placed]] + segments.start[placed],
        num_tokens=segments.num_tokens[placed],
        begins_sequence=begins_sequence,
        row_offsets=segment_offsets,
    )
    special_ids = (dtype(special.cls_id), dtype(special.sep_id), dtype(special.pad_id))
    _write_rows(columns.ids, placed_segments, special_ids, input_ids)
    word_starts = None
    if columns.word_starts is not None:
        word_starts = np.zeros(input_ids.shape, np.bool_)
        _write_word_starts(columns.word_starts, placed_segments, word_starts)
    segment_lengths = (segments.num_tokens[placed] + begins_sequence + 1).astype(np.uint16)
    lists: dict[str, RowLists[Any]] = {
        "sequence_lengths": RowLists(sequence_offsets, lengths[sequences].astype(np.uint16)),
        "segment_lengths": RowLists(segment_offsets, segment_lengths),
        "segment_document": RowLists(segment_offsets, document_ids[placed]),
        "segment_offset": RowLists(segment_offsets, segments.start[placed]),
    }
    if plan.labels is not None:
        lists[SEQUENCE_LABELS] = RowLists(sequence_offsets, plan.labels[sequences])
    return PackedRows(input_ids, lists, word_starts)


def _list_segments(
    sequences: npt.NDArray[np.int64], first_segment: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], npt.NDArray[np.int32]]:
    """The segments of sequences end to end (D,), which of them begin one (D,), and how many precede each (Q + 1,).

    Arrow counts the values of a list column in 32 bits, so more segments than that fit in no shard.
    """
    first = first_segment[sequences]
    num_segments = first_segment[sequences + 1] - first
    before = np.zeros(sequences.size + 1, np.int32)
    np.cumsum(num_segments, out=before[1:])
    placed = np.repeat(first - before[:-1], num_segments) + np.arange(before[-1])
    begins_sequence = np.zeros(placed.size, np.bool_)
    begins_sequence[before[:-1]] = True
    return placed, begins_sequence, before


def _check_id_range(ids: TokenIds, special: SpecialIds) -> None:
    largest = int(ids.max()) if ids.size else 0
    limit = int(np.iinfo(special.dtype).max)
    special_ids = (special.cls_id, special.sep_id, special.pad_id)
    if not 0 <= min(special_ids) <= max(largest, *special_ids) <= limit:
        raise ValueError(
            f"ids: expected 0..{limit} for rows of {np.dtype(special.dtype)}; "
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


def _check_sequences(plan: RowPlan) -> None:
    first = plan.first_segment
    if first.size == 0 or first[0] != 0 or first[-1] != len(plan.segments) or (first[1:] <= first[:-1]).any():
        raise ValueError(f"first_segment: expected values that rise from 0 to {len(plan.segments)}, the segments")
    if plan.labels is not None and plan.labels.shape != plan.row_of_sequence.shape:
        raise ValueError(f"labels: expected {plan.row_of_sequence.size}, one a sequence, found {plan.labels.size}")


def _check_rows(
    lengths: npt.NDArray[np.int32], row_of_sequence: npt.NDArray[np.int64], num_rows: int, seq_len: int
) -> npt.NDArray[np.int64]:
    """Checks the packing and counts the sequences of each row, int64 (R,)."""
    if row_of_sequence.shape != lengths.shape:
        raise ValueError(f"row_of_sequence: expected {lengths.size} rows, found {row_of_sequence.size}")
    if lengths.size and (int(row_of_sequence.min()) < 0 or int(row_of_sequence.max()) >= num_rows):
        raise ValueError(f"row_of_sequence: expected 0..{num_rows - 1}")
    if lengths.size and int(lengths.max()) > MAX_SEQUENCE_TOKENS:
        raise ValueError(f"sequences: expected at most {MAX_SEQUENCE_TOKENS} tokens, found {lengths.max()}")
    sequences_in_row = np.bincount(row_of_sequence, minlength=num_rows)
    if num_rows and int(sequences_in_row.min()) == 0:
        raise ValueError(f"row_of_sequence: row {int(sequences_in_row.argmin())} has no sequence")
    # Sums of at most 2^31 positions are exact in the float64 that bincount adds in.
    used = np.bincount(row_of_sequence, weights=lengths, minlength=num_rows)
    if num_rows and int(used.max()) > seq_len:
        raise ValueError(f"row {int(used.argmax())}: expected at most {seq_len} tokens, found {int(used.max())}")
    return sequences_in_row


@njit(cache=True, nogil=True)
def _group_by_row(
    row_of_sequence: npt.NDArray[np.int64],
    sequences_in_row: npt.NDArray[np.int64],
    packing_order: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Sequences grouped by row, within a row as in `packing_order`."""
    place = np.cumsum(sequences_in_row) - sequences_in_row
    by_row = np.empty(packing_order.size, np.int64)
    for sequence in packing_order:
        row = row_of_sequence[sequence]
        by_row[place[row]] = sequence
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


class _PlacedSegments(NamedTuple):
    """D segments in the order they are written.

    Attributes:
        first_token: Where each begins in the ids, (D,).
        num_tokens: Of each, (D,).
        begins_sequence: Whether `[CLS]` is written before it, (D,).
        row_offsets: Row r has segments `row_offsets[r]` to `row_offsets[r + 1] - 1`; (R + 1,).
    """

    first_token: npt.NDArray[np.int64]
    num_tokens: npt.NDArray[np.int32]
    begins_sequence: npt.NDArray[np.bool_]
    row_offsets: npt.NDArray[np.int32]


@njit(cache=True, nogil=True)
def _write_rows(
    ids: TokenIds,
    segments: _PlacedSegments,
    special: tuple[np.uint16 | np.uint32, np.uint16 | np.uint32, np.uint16 | np.uint32],
    out: TokenIds,
) -> None:
    cls_id, sep_id, pad_id = special
    for row in range(out.shape[0]):
        target = out[row]
        position = 0
        for segment in range(segments.row_offsets[row], segments.row_offsets[row + 1]):
            if segments.begins_sequence[segment]:
                target[position] = cls_id
                position += 1
            count = segments.num_tokens[segment]
            first = segments.first_token[segment]
            source = ids[first : first + count]
            inside = target[position : position + count]
            for token in range(count):
                inside[token] = source[token]
            position += count
            target[position] = sep_id
            position += 1
        for rest in range(position, target.size):
            target[rest] = pad_id


@njit(cache=True, nogil=True)
def _write_word_starts(starts: npt.NDArray[np.bool_], segments: _PlacedSegments, out: npt.NDArray[np.bool_]) -> None:
    """Write whether a word starts at each token, in the places that `_write_rows` gives them; others stay false."""
    for row in range(out.shape[0]):
        target = out[row]
        position = np.int64(0)
        for segment in range(segments.row_offsets[row], segments.row_offsets[row + 1]):
            position += np.int64(segments.begins_sequence[segment])
            count = segments.num_tokens[segment]
            first = segments.first_token[segment]
            source = starts[first : first + count]
            inside = target[position : position + count]
            for token in range(count):
                inside[token] = source[token]
            inside[0] = True  # in the middle of a word too: no unit reaches over the end of a segment
            position += np.int64(count) + 1
