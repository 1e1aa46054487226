"""Cut documents into segments, each short enough for a row.

A document that fits stays whole: a cut takes context from both its sides, and best-fit packing fills the rows
all the same ("Fewer Truncations Improve Language Modeling", arXiv 2404.10830). A longer one becomes pieces as
full as the places to cut at allow, and a remainder.

    tokens   w1 w2 ##a w3 | w4 ##b w5 | w6 w7 ##c        cuts (|) fall before a token that is no continuation
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.pipeline.packing.cutting.token_columns import TokenIds, check_ids, check_offsets, check_sentence_starts
from maskmill.schemas.errors import ConfigError, InputDataError
from maskmill.schemas.run_file import Cut

SPECIAL_TOKENS_PER_SEQUENCE = 2  # [CLS] and [SEP] of a sequence with one segment
MAX_SEQUENCE_TOKENS = 2**16 - 1  # lengths are stored as uint16


@dataclass(frozen=True, slots=True)
class Segments:
    """Contiguous pieces of documents (D segments).

    Attributes:
        document: Index of the document each segment is from, int64 (D,).
        start: Tokens of the document before the segment, uint32 (D,).
        num_tokens: Tokens in the segment without `[CLS]` and `[SEP]`, at least 1, int32 (D,).
    """

    document: npt.NDArray[np.int64]
    start: npt.NDArray[np.uint32]
    num_tokens: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return self.document.size

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Positions each segment takes as a sequence of its own, `[CLS]` and `[SEP]` included, int32 (D,)."""
        return self.num_tokens + np.int32(SPECIAL_TOKENS_PER_SEQUENCE)

    @property
    def total_tokens(self) -> int:
        """Tokens of all segments, special tokens not counted."""
        return int(self.num_tokens.sum(dtype=np.int64))

    def select(self, chosen: npt.NDArray[Any]) -> Segments:
        """Some of the segments, by index or by a flag for each."""
        return Segments(self.document[chosen], self.start[chosen], self.num_tokens[chosen])


def max_segment_tokens(seq_len: int) -> int:
    """The most tokens a segment may have, without special tokens, in rows of `seq_len`."""
    return min(seq_len, MAX_SEQUENCE_TOKENS) - SPECIAL_TOKENS_PER_SEQUENCE


def split_documents(
    ids: npt.NDArray[Any],
    offsets: npt.NDArray[Any],
    is_continuation: npt.NDArray[np.bool_],
    seq_len: int,
    min_segment: int = 16,
    cut: Cut = Cut.WORD,
    sentence_starts: npt.NDArray[np.bool_] | None = None,
    *,
    leave_out_long: bool = False,
) -> Segments:
    """Cuts every document that is longer than a row, and no other document.

    Each cut stands at the last place that still fits: a sentence start where sentences are given, and where none of
    them fits a word start. Where that leaves a remainder below `min_segment`, the last cut moves to the last place of
    its kind that gives the remainder enough, unless the piece before it would then become as short as the remainder
    was. Only where the rest of one word alone is longer than a row does a cut fall inside it. Linear time: of the
    tokens only those around cuts are looked at.

    Args:
        ids: Token ids of all documents without special tokens, shape (T,).
        offsets: Document d is `ids[offsets[d] : offsets[d + 1]]`; shape (N + 1,).
        is_continuation: For every token id, whether it continues a word (`##`); shape (vocab,).
        seq_len: Token positions in a row, `[CLS]` and `[SEP]` included.
        min_segment: Fewest tokens in the remainder of a cut document.
        cut: `token` for cuts anywhere (those inside words are counted), else at words; `sentence` needs
            `sentence_starts`.
        sentence_starts: Whether a sentence starts at a token, shape (T,).
        leave_out_long: Give no segments of documents that would have to be cut.

    Returns:
        The segments in order of (document, start).

    Raises:
        ConfigError: `seq_len` holds no token, or `min_segment` is over half a row.
        InputDataError: A document has more than 2^32 - 1 tokens.
        ValueError: The arrays do not fit together, or sentences are missing.
    """
    _check_settings(seq_len, min_segment)
    if cut == Cut.SENTENCE and sentence_starts is None:
        raise ValueError("sentence_starts: expected a flag for every token, to cut at sentences")
    offsets = check_offsets(offsets, ids.size)
    document_tokens = np.diff(offsets)
    _check_document_tokens(document_tokens)
    ids = check_ids(ids)
    sentences = check_sentence_starts(sentence_starts, ids.size)
    max_tokens = max_segment_tokens(seq_len)
    if ids.size and (document_tokens > max_tokens).any() and int(ids.max()) >= is_continuation.size:
        raise ValueError(f"ids: expected below {is_continuation.size}, the vocabulary, found {ids.max()}")
    forbidden = np.zeros_like(is_continuation) if cut == Cut.TOKEN else is_continuation
    places = (ids, offsets, forbidden, sentences, max_tokens, min_segment, leave_out_long)
    num_segments = _count_segments(*places)
    segments = Segments(
        document=np.empty(num_segments, np.int64),
        start=np.empty(num_segments, np.uint32),
        num_tokens=np.empty(num_segments, np.int32),
    )
    _write_segments(*places, segments.document, segments.start, segments.num_tokens)
    return segments


def _check_settings(seq_len: int, min_segment: int) -> None:
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


def _check_document_tokens(document_tokens: npt.NDArray[np.int64]) -> None:
    too_long = np.flatnonzero(document_tokens >= 1 << 32)
    if too_long.size:
        raise InputDataError(
            "a document has more tokens than an offset into it can count",
            place=f"document {too_long[0]} of its shard",
            expected="at most 4,294,967,295 tokens",
            found=f"{document_tokens[too_long[0]]:,}",
            action="split the document in the source",
        )


@njit(cache=True, nogil=True)
def find_last_word_start(ids: TokenIds, forbidden: npt.NDArray[np.bool_], low: int, high: int) -> int:
    """The largest position in (low, high] whose token is not forbidden, or `low`."""
    for position in range(high, low, -1):
        if not forbidden[ids[position]]:
            return position
    return low


@njit(cache=True, nogil=True)
def find_last_sentence_start(sentences: npt.NDArray[np.bool_], low: int, high: int) -> int:
    """The largest position in (low, high] at which a sentence starts, or `low`."""
    for position in range(high, low, -1):
        if sentences[position]:
            return position
    return low


@njit(cache=True, nogil=True)
def _end_segment(
    ids: TokenIds,
    forbidden: npt.NDArray[np.bool_],
    sentences: npt.NDArray[np.bool_],
    start: int,
    end: int,
    max_tokens: int,
    min_segment: int,
) -> int:
    """Where the segment that begins at `start` ends in a document that ends at `end` (positions in ids)."""
    if end - start <= max_tokens:
        return end
    fitting: int = start
    if sentences.size:
        fitting = find_last_sentence_start(sentences, start, start + max_tokens)
    at_sentence = fitting > start
    if not at_sentence:
        fitting = find_last_word_start(ids, forbidden, start, start + max_tokens)
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
    if at_sentence:
        earlier: int = find_last_sentence_start(sentences, earliest - 1, end - min_segment)
    else:
        earlier = find_last_word_start(ids, forbidden, earliest - 1, end - min_segment)
    return earlier if earlier >= earliest else fitting


@njit(cache=True, nogil=True)
def _count_segments(
    ids: TokenIds,
    offsets: npt.NDArray[np.int64],
    forbidden: npt.NDArray[np.bool_],
    sentences: npt.NDArray[np.bool_],
    max_tokens: int,
    min_segment: int,
    leave_out_long: bool,
) -> int:
    num_segments = 0
    for document in range(offsets.size - 1):
        position = offsets[document]
        end = offsets[document + 1]
        if leave_out_long and end - position > max_tokens:
            continue
        while position < end:
            position = _end_segment(ids, forbidden, sentences, position, end, max_tokens, min_segment)
            num_segments += 1
    return num_segments


@njit(cache=True, nogil=True)
def _write_segments(
    ids: TokenIds,
    offsets: npt.NDArray[np.int64],
    forbidden: npt.NDArray[np.bool_],
    sentences: npt.NDArray[np.bool_],
    max_tokens: int,
    min_segment: int,
    leave_out_long: bool,
    out_document: npt.NDArray[np.int64],
    out_start: npt.NDArray[np.uint32],
    out_num_tokens: npt.NDArray[np.int32],
) -> None:
    segment = 0
    for document in range(offsets.size - 1):
        first = offsets[document]
        position = first
        end = offsets[document + 1]
        if leave_out_long and end - position > max_tokens:
            continue
        while position < end:
            stop = _end_segment(ids, forbidden, sentences, position, end, max_tokens, min_segment)
            out_document[segment] = document
            out_start[segment] = position - first
            out_num_tokens[segment] = stop - position
            position = stop
            segment += 1
