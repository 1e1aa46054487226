"""Cut documents into segments, each short enough for a row.

A document that fits stays whole: a cut takes context from both its sides, and best-fit packing fills the rows
all the same ("Fewer Truncations Improve Language Modeling", arXiv 2404.10830). A longer one becomes pieces as
full as word starts allow, and a remainder.

    tokens   w1 w2 ##a w3 | w4 ##b w5 | w6 w7 ##c        cuts (|) fall before a token that is no continuation
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from pipeline.packing.token_columns import TokenIds, check_ids, check_offsets
from schemas.errors import ConfigError, InputDataError

SPECIAL_TOKENS_PER_SEQUENCE = 2  # [CLS] and [SEP]; one segment a sequence
MAX_SEQUENCE_TOKENS = 2**16 - 1  # lengths are stored as uint16


class Cut(StrEnum):
    """Where a document longer than a row may be cut."""

    WORD = "word"
    TOKEN = "token"  # noqa: S105 - a place to cut, not a password


@dataclass(frozen=True, slots=True)
class Segments:
    """Contiguous pieces of documents in document order (D segments), and what cutting them cost.

    Attributes:
        document: Index of the document each segment is from, int64 (D,).
        start: Tokens of the document before the segment, uint32 (D,).
        num_tokens: Tokens in the segment without `[CLS]` and `[SEP]`, at least 1, int32 (D,).
        documents_without_tokens: Documents that gave no segment.
        cuts: Cuts made.
        cuts_inside_words: Those of them before a continuation token.
    """

    document: npt.NDArray[np.int64]
    start: npt.NDArray[np.uint32]
    num_tokens: npt.NDArray[np.int32]
    documents_without_tokens: int
    cuts: int
    cuts_inside_words: int

    def __len__(self) -> int:
        return self.document.size

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Positions each segment takes in a row, its sequence's `[CLS]` and `[SEP]` included, int32 (D,)."""
        return self.num_tokens + np.int32(SPECIAL_TOKENS_PER_SEQUENCE)


def max_segment_tokens(seq_len: int) -> int:
    """The most tokens a segment may have, without special tokens, in rows of `seq_len`."""
    return min(seq_len, MAX_SEQUENCE_TOKENS) - SPECIAL_TOKENS_PER_SEQUENCE


def split_documents(
    ids: npt.NDArray[Any],
    offsets: npt.NDArray[Any],
    is_continuation: npt.NDArray[np.bool_],
    seq_len: int,
    min_segment: int = 16,
    cut: Cut | str = Cut.WORD,
) -> Segments:
    """Cuts every document that is longer than a row at word starts, and no other document.

    Each cut stands at the last word start that still fits. Where that leaves a remainder below `min_segment`,
    the last cut moves to the last word start that gives the remainder enough, unless the piece before it
    would then become as short as the remainder was. Only where the rest of one word alone is longer than a
    row does a cut fall inside it. Linear time: of the tokens only those around cuts are looked at.

    Args:
        ids: Token ids of all documents without special tokens, shape (T,).
        offsets: Document d is `ids[offsets[d] : offsets[d + 1]]`; shape (N + 1,).
        is_continuation: For every token id, whether it continues a word (`##`); shape (vocab,).
        seq_len: Token positions in a row, `[CLS]` and `[SEP]` included.
        min_segment: Fewest tokens in the remainder of a cut document.
        cut: `word`, or `token` for cuts anywhere (those inside words are counted).

    Returns:
        The segments in order of (document, start).

    Raises:
        ConfigError: `seq_len` holds no token, `min_segment` is over half a row, or `cut` is unknown.
        InputDataError: A document has more than 2^32 - 1 tokens.
        ValueError: The arrays do not fit together.
    """
    mode = _check_settings(seq_len, min_segment, cut)
    offsets = check_offsets(offsets, ids.size)
    document_tokens = np.diff(offsets)
    too_long = np.flatnonzero(document_tokens >= 1 << 32)
    if too_long.size:
        raise InputDataError(
            "a document has more tokens than an offset into it can count",
            place=f"document {too_long[0]} of its shard",
            expected="at most 4,294,967,295 tokens",
            found=f"{document_tokens[too_long[0]]:,}",
            action="split the document in the source",
        )
    ids = check_ids(ids)
    max_tokens = max_segment_tokens(seq_len)
    if ids.size and (document_tokens > max_tokens).any() and int(ids.max()) >= is_continuation.size:
        raise ValueError(f"ids: expected below {is_continuation.size}, the vocabulary, found {ids.max()}")
    forbidden = is_continuation if mode is Cut.WORD else np.zeros_like(is_continuation)
    num_segments = _count_segments(ids, offsets, forbidden, max_tokens, min_segment)
    document = np.empty(num_segments, np.int64)
    start = np.empty(num_segments, np.uint32)
    num_tokens = np.empty(num_segments, np.int32)
    _write_segments(ids, offsets, forbidden, max_tokens, min_segment, document, start, num_tokens)

    is_cut = start > 0
    cut_before = offsets[document[is_cut]] + start[is_cut]
    return Segments(
        document=document,
        start=start,
        num_tokens=num_tokens,
        documents_without_tokens=int(np.count_nonzero(document_tokens == 0)),
        cuts=int(np.count_nonzero(is_cut)),
        cuts_inside_words=int(np.count_nonzero(is_continuation[ids[cut_before]])),
    )


def _check_settings(seq_len: int, min_segment: int, cut: Cut | str) -> Cut:
    if seq_len <= SPECIAL_TOKENS_PER_SEQUENCE:
        raise ConfigError(
            "a row has no place for a token",
            path="pack.seq_len",
            expected="at least 3: [CLS], a token and [SEP]",
            found=str(seq_len),
            action="raise pack.seq_len",
        )
    if not 1 <= min_segment <= max(1, seq_len // 2):
        raise ConfigError(
            "the shortest segment does not go with the length of a row",
            path="pack.min_segment",
            expected=f"1 to {max(1, seq_len // 2)}, half of seq_len {seq_len}",
            found=str(min_segment),
            action="lower pack.min_segment or raise pack.seq_len",
        )
    try:
        return Cut(cut)
    except ValueError:
        raise ConfigError(
            "unknown place to cut documents",
            path="pack.cut",
            expected=" or ".join(f'"{mode}"' for mode in Cut),
            found=f'"{cut}"',
            action="set pack.cut to one of them",
        ) from None


@njit(cache=True, nogil=True)
def _find_word_start(ids: TokenIds, forbidden: npt.NDArray[np.bool_], low: int, high: int) -> int:
    """The largest position in (low, high] where a cut may stand, or `low`."""
    for position in range(high, low, -1):
        if not forbidden[ids[position]]:
            return position
    return low


@njit(cache=True, nogil=True)
def _end_segment(
    ids: TokenIds,
    forbidden: npt.NDArray[np.bool_],
    start: int,
    end: int,
    max_tokens: int,
    min_segment: int,
) -> int:
    """Where the segment that begins at `start` ends in a document that ends at `end` (positions in ids)."""
    if end - start <= max_tokens:
        return end
    fitting: int = _find_word_start(ids, forbidden, start, start + max_tokens)
    inside_word = fitting == start
    if inside_word:
        fitting = start + max_tokens
    remainder = end - fitting
    if remainder >= min_segment:
        return fitting
    if inside_word:
        return end - min_segment
    # The piece before stays longer than the remainder was, so the new remainder is shorter than that piece was
    # and fits in a row.
    earliest = start + remainder + 1
    earlier: int = _find_word_start(ids, forbidden, earliest - 1, end - min_segment)
    return earlier if earlier >= earliest else fitting


@njit(cache=True, nogil=True)
def _count_segments(
    ids: TokenIds,
    offsets: npt.NDArray[np.int64],
    forbidden: npt.NDArray[np.bool_],
    max_tokens: int,
    min_segment: int,
) -> int:
    num_segments = 0
    for document in range(offsets.size - 1):
        position = offsets[document]
        end = offsets[document + 1]
        while position < end:
            position = _end_segment(ids, forbidden, position, end, max_tokens, min_segment)
            num_segments += 1
    return num_segments


@njit(cache=True, nogil=True)
def _write_segments(
    ids: TokenIds,
    offsets: npt.NDArray[np.int64],
    forbidden: npt.NDArray[np.bool_],
    max_tokens: int,
    min_segment: int,
    out_document: npt.NDArray[np.int64],
    out_start: npt.NDArray[np.uint32],
    out_num_tokens: npt.NDArray[np.int32],
) -> None:
    segment = 0
    for document in range(offsets.size - 1):
        first = offsets[document]
        position = first
        end = offsets[document + 1]
        while position < end:
            stop = _end_segment(ids, forbidden, position, end, max_tokens, min_segment)
            out_document[segment] = document
            out_start[segment] = position - first
            out_num_tokens[segment] = stop - position
            position = stop
            segment += 1
