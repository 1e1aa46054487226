"""The tokens of many documents as arrays, checked once.

`ids` is one flat array of token ids; document `d` is `ids[offsets[d] : offsets[d + 1]]`, without `[CLS]` and `[SEP]`.
Compiled loops do not check bounds, so everything they index with is checked here, when `TokenColumns` are made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from maskmill.schemas.errors import InputDataError
from maskmill.schemas.run_file import Cut

TokenIds: TypeAlias = npt.NDArray[np.uint16 | np.uint32]
TokenType: TypeAlias = type[np.uint16 | np.uint32]


class CutPlaces(NamedTuple):
    """Allowed cuts, for compiled loops: at sentences if they are known, else before a token that is not forbidden.

    Attributes:
        ids: (T,).
        offsets: (N + 1,).
        forbidden: For every token id, whether no cut is made before it; (vocab,).
        sentences: Whether a sentence starts at a token, (T,); (0,) where sentences are not known.
    """

    ids: TokenIds
    offsets: npt.NDArray[np.int64]
    forbidden: npt.NDArray[np.bool_]
    sentences: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class TokenColumns:
    """T tokens of N documents, and what planning needs to know of each.

    Arrays of other integer types and layouts are taken and brought to these.

    Attributes:
        ids: Token ids without special tokens, uint16 or uint32 (T,).
        offsets: Document d is `ids[offsets[d] : offsets[d + 1]]`; int64 (N + 1,).
        is_continuation: For every token id, whether it continues a word (`##`); (vocab,).
        sentence_starts: Whether a sentence starts at a token, (T,); None where sentences are not known.
        word_starts: Whether a word starts at a token, (T,); None where `is_continuation` says it.

    Raises:
        InputDataError: A document has more than 2^32 - 1 tokens.
        ValueError: The arrays do not fit together.
    """

    ids: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]
    is_continuation: npt.NDArray[np.bool_]
    sentence_starts: npt.NDArray[np.bool_] | None = None
    word_starts: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        offsets = check_offsets(self.offsets, self.ids.size)
        _check_document_tokens(np.diff(offsets))
        ids = check_ids(self.ids)
        vocab_size = self.is_continuation.size
        if ids.size and int(ids.max()) >= vocab_size:
            raise ValueError(f"ids: expected below {vocab_size}, the vocabulary, found {ids.max()}")
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "offsets", offsets)
        for name in ("sentence_starts", "word_starts"):
            if (flags := getattr(self, name)) is not None:
                object.__setattr__(self, name, _check_flags(name, flags, ids.size))

    @property
    def document_tokens(self) -> npt.NDArray[np.int64]:
        """Tokens of every document, (N,)."""
        return np.diff(self.offsets)

    def without_sentences(self) -> TokenColumns:
        """A copy without the T bytes of sentence starts."""
        return self if self.sentence_starts is None else replace(self, sentence_starts=None)

    def find_places(self, cut: Cut) -> CutPlaces:
        """Places where a rule allows cuts.

        Raises:
            ValueError: Sentences are needed and not known.
        """
        if cut is Cut.SENTENCE and self.sentence_starts is None:
            raise ValueError("sentence_starts: expected a flag for every token, to cut at sentences")
        forbidden = np.zeros_like(self.is_continuation) if cut is Cut.TOKEN else self.is_continuation
        sentences = np.empty(0, np.bool_) if self.sentence_starts is None else self.sentence_starts
        return CutPlaces(self.ids, self.offsets, forbidden, sentences)


def check_offsets(offsets: npt.NDArray[Any], num_ids: int) -> npt.NDArray[np.int64]:
    """Checks where documents start and end in `num_ids` ids.

    Args:
        offsets: Where each document starts and the last one ends, any integer type, shape (N + 1,).
        num_ids: Length of the ids they point into.

    Returns:
        The offsets as int64.

    Raises:
        ValueError: They do not rise from at least 0 to at most `num_ids`.
    """
    if offsets.ndim != 1 or offsets.dtype.kind not in "iu" or offsets.size == 0:
        raise ValueError(f"offsets: expected N + 1 integers, found {offsets.dtype} of shape {offsets.shape}")
    starts = np.ascontiguousarray(offsets, dtype=np.int64)
    if starts[0] < 0 or starts[-1] > num_ids or (starts[1:] < starts[:-1]).any():
        raise ValueError(f"offsets: expected values that rise within 0..{num_ids}, the number of ids")
    return starts


def check_ids(ids: npt.NDArray[Any]) -> TokenIds:
    """Brings token ids to one of the two types that compiled loops are built for.

    Args:
        ids: Token ids of all documents, any integer type, shape (T,).

    Returns:
        Contiguous uint16 or uint32; the same array where it is that already.

    Raises:
        ValueError: An id is negative or over 2^32 - 1.
    """
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(f"ids: expected a flat integer array, found {ids.dtype} of shape {ids.shape}")
    if ids.dtype in (np.uint16, np.uint32):
        return np.ascontiguousarray(ids)
    if ids.size and (int(ids.min()) < 0 or int(ids.max()) >= 1 << 32):
        raise ValueError(f"ids: expected 0..2^32 - 1, found {ids.min()}..{ids.max()}")
    return np.ascontiguousarray(ids, dtype=np.uint32)


def _check_flags(name: str, flags: npt.NDArray[np.bool_], num_ids: int) -> npt.NDArray[np.bool_]:
    if flags.dtype != np.bool_ or flags.shape != (num_ids,):
        raise ValueError(
            f"{name}: expected {num_ids} flags, one for every token, found {flags.dtype} of shape {flags.shape}"
        )
    return np.ascontiguousarray(flags)


def _check_document_tokens(document_tokens: npt.NDArray[np.int64]) -> None:
    too_long = np.flatnonzero(document_tokens >= 1 << 32)
    if too_long.size:
        raise InputDataError(
            "a document has too many tokens",
            place=f"document {too_long[0]} of its shard",
            expected="at most 4,294,967,295 tokens",
            found=f"{document_tokens[too_long[0]]:,}",
            action="split the document in the source",
        )
