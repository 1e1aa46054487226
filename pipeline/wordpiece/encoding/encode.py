"""Encode text: `nanotoken` where it is proven equal to `tokenizers`, `tokenizers` everywhere else.

`tokenizers` is the reference (4 MB/s on one core). `nanotoken` (130 MB/s cold, 240 warm) is used because its ids are
known to be equal: by a proof made once for each tokenizer (`prove_encoder`), and by a sample of every shard's documents
that is encoded both ways.

Text comes as Arrow arrays, of which a slice at a time is alive as Python objects (`slice_texts`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from tokenizers import Tokenizer

from maskmill.pipeline.wordpiece.encoding.load_encoders import (
    FastEncode,
    Ids,
    Offsets,
    SpecialInText,
    cut_at_breaks,
    encode_by_tokenizers,
    find_break,
    list_breaks,
    load_law,
    locate_by_tokenizers,
    reraise_foreign,
)
from maskmill.pipeline.wordpiece.encoding.slice_texts import SLICE_BYTES, JoinedIds, count_special, iter_contents
from maskmill.schemas.rows import id_type

_SAMPLE_SHARE = 0.01  # of the bytes; a larger sample halves the speed
_SAMPLE_DOCUMENTS = 8
_SAMPLE_CHARACTERS = 1 << 17  # of one document: eight novels of 8 MB would take `tokenizers` a quarter of a minute


@dataclass(frozen=True)
class Sample:
    """How much of a batch was encoded both ways, and the outcome."""

    documents: int
    bytes: int
    is_equal: bool


@dataclass(frozen=True)
class EncodedBatch:
    """The ids of a batch of documents."""

    ids: npt.NDArray[Any]
    """All documents' ids end to end, without [CLS] and [SEP]; uint16 where the vocabulary allows it, else uint32."""
    offsets: Offsets
    """Document i is ids[offsets[i]:offsets[i + 1]]; empty where it is rejected."""
    rejected: dict[int, str]
    """Documents that `tokenizers` cannot encode: index to reason."""
    special_in_text: dict[str, int]
    """How often the string of each special token occurs in the raw text; only those that do."""
    sample: Sample | None = None
    """None where nothing was encoded by the fast path."""
    fell_back: str | None = None
    """Why the fast path was abandoned at this batch."""


def choose_sample(
    hashes: npt.NDArray[np.uint64], sizes_bytes: npt.NDArray[np.int64], wanted_bytes: float
) -> npt.NDArray[np.int64]:
    """Choose documents to encode both ways: by hash of their bytes, until they are enough, and at least 8.

    The choice depends on the batch's texts alone, so a repeated run checks the same ones.

    Args:
        hashes: Of each text, `(N,)`.
        sizes_bytes: What each would add to the sample, `(N,)`.
        wanted_bytes: What is enough.

    Returns:
        Their indices.
    """
    by_hash = np.argsort(hashes, kind="stable")
    before = np.cumsum(sizes_bytes[by_hash]) - sizes_bytes[by_hash]
    is_enough = (np.arange(len(by_hash)) >= _SAMPLE_DOCUMENTS) & (before >= wanted_bytes)
    return by_hash[: int(np.argmax(is_enough)) if is_enough.any() else len(by_hash)]


@functools.lru_cache(maxsize=1)  # a worker encodes many shards by one tokenizer, and loading it takes 40 ms
def _know_law(tokenizer_json: bytes, special_in_text: SpecialInText) -> tuple[Tokenizer, list[str], Any, Sequence[str]]:
    """The tokenizer, the strings of its special tokens, the dtype that holds its ids, and where texts may be cut."""
    law = load_law(tokenizer_json, special_in_text)
    special = sorted(token.content for token in law.get_added_tokens_decoder().values() if token.special)
    dtype = id_type(max(law.get_vocab().values(), default=0) + 1).to_pandas_dtype()
    return law, special, dtype, list_breaks(law)


@dataclass
class Encoder:
    """Encodes documents to the ids of `tokenizers`, without [CLS] and [SEP], on one thread.

    Not to be shared between threads.
    """

    tokenizer_json: bytes
    special_in_text: SpecialInText = SpecialInText.TEXT
    fast_encode: FastEncode | None = None
    """The fast path, proven for this tokenizer; None: `tokenizers` alone."""
    law: Tokenizer = field(init=False, repr=False)
    """The reference tokenizer."""

    def __post_init__(self) -> None:
        self.special_in_text = SpecialInText(self.special_in_text)
        known = _know_law(self.tokenizer_json, self.special_in_text)
        self.law, self._special, self._dtype, self._breaks = known

    def encode_proven(self, texts: pa.ChunkedArray) -> EncodedBatch:
        """Encode a batch and encode a sample of it with `tokenizers` too.

        At a difference, or where the fast path fails on what `tokenizers` encodes, the whole batch is encoded by
        `tokenizers`, and so is every later one. Of a sampled document longer than 128 Ki characters a part is
        compared, up to where a cut changes no id.

        Args:
            texts: Arrow strings, `(N,)`: valid UTF-8, so without lone surrogates.
        """
        special = dict.fromkeys(self._special, 0)
        hashes: list[int] = []
        parts = JoinedIds(self._dtype)
        why: str | None = None
        for contents in iter_contents(texts):
            count_special(contents, special)
            if self.fast_encode is None or why is not None:
                continue
            hashes += map(xxhash.xxh3_64_intdigest, contents)
            try:
                parts.add(*_encode_slice(self.fast_encode, contents, self._breaks))
            except BaseException as error:  # noqa: BLE001 - a panic in Rust is no Exception
                reraise_foreign(error)
                why = f"nanotoken failed where tokenizers did not: {type(error).__name__}: {error}"
        special = {token: count for token, count in special.items() if count}
        if self.fast_encode is None or why is not None:
            return self._give_up(texts, special, None, why)
        ids, offsets = parts.join()
        del parts
        sample, different = self._compare_sample(texts, np.array(hashes, np.uint64), ids, offsets)
        if different is None:
            return EncodedBatch(ids, offsets, {}, special, sample)
        del ids
        why = f"nanotoken and tokenizers differ on document {different} of a batch of {len(texts)}"
        return self._give_up(texts, special, sample, why)

    def encode_pieces(self, pieces: list[str]) -> tuple[npt.NDArray[Any], Offsets]:
        """Encode pieces of documents that `encode_proven` has encoded as a whole, by the path that it took.

        Returns:
            Flat ids and offsets; a piece on which `tokenizers` fails has none.
        """
        parts = JoinedIds(self._dtype)
        if self.fast_encode is not None:
            try:
                parts.add(*self.fast_encode(pieces))
                return parts.join()
            except BaseException as error:  # noqa: BLE001 - a panic in Rust is no Exception
                reraise_foreign(error)
        parts.add(*encode_by_tokenizers(self.law, pieces)[:2])
        return parts.join()

    def locate_tokens(self, text: str) -> tuple[Ids, Offsets]:
        """Encode a document with `tokenizers`, and tell the code point at which each token begins."""
        return locate_by_tokenizers(self.law, text)

    def explain_rejection(self, text: str) -> str | None:
        """The reason why `tokenizers` cannot encode a text; None if it can."""
        return encode_by_tokenizers(self.law, [text])[2].get(0)

    def _compare_sample(
        self, texts: pa.ChunkedArray, hashes: npt.NDArray[np.uint64], ids: npt.NDArray[Any], offsets: Offsets
    ) -> tuple[Sample, int | None]:
        """The extent of the comparison, and the first document that differs."""
        sizes_bytes = pc.binary_length(texts).to_numpy().astype(np.int64)
        wanted_bytes = _SAMPLE_SHARE * int(sizes_bytes.sum())
        if self._breaks:
            sizes_bytes = np.minimum(sizes_bytes, _SAMPLE_CHARACTERS)
        num_bytes = 0
        different: list[int] = []
        chosen = choose_sample(hashes, sizes_bytes, wanted_bytes).tolist()
        for index in chosen:
            text = texts[index].as_py()
            compared = text[: find_break(text, 0, _SAMPLE_CHARACTERS, self._breaks)] if self._breaks else text
            num_bytes += len(compared.encode())
            expected, _, rejected = encode_by_tokenizers(self.law, [compared])
            start, stop = int(offsets[index]), int(offsets[index + 1])
            if compared != text:
                stop = min(stop, start + len(expected))
            if rejected or not np.array_equal(ids[start:stop], expected):
                different.append(index)
        return Sample(len(chosen), num_bytes, not different), different[0] if different else None

    def _give_up(
        self, texts: pa.ChunkedArray, special: dict[str, int], sample: Sample | None, why: str | None
    ) -> EncodedBatch:
        """Encode by `tokenizers` alone, a slice at a time."""
        parts = JoinedIds(self._dtype)
        rejected: dict[int, str] = {}
        first = 0
        for contents in iter_contents(texts):
            ids, offsets, failed = encode_by_tokenizers(self.law, [content.decode() for content in contents])
            rejected |= {first + index: reason for index, reason in failed.items()}
            parts.add(ids, offsets)
            first += len(contents)
        if sample is None and rejected:
            why = None  # the text's fault, as `tokenizers` has it too
        if why is not None:
            self.fast_encode = None
        return EncodedBatch(*parts.join(), rejected, special, sample, why)


def _encode_slice(fast_encode: FastEncode, contents: list[bytes], breaks: Sequence[str]) -> tuple[Ids, Offsets]:
    """By the fast path; one long text in pieces: 63 MB of Chinese as a whole take 700 MB beside the result."""
    if len(contents) > 1 or len(contents[0]) <= SLICE_BYTES:
        return fast_encode(contents)
    pieces = cut_at_breaks(contents[0], SLICE_BYTES, [one.encode() for one in breaks])
    ids = [fast_encode([piece])[0] for piece in pieces]
    return np.concatenate(ids), np.array([0, sum(map(len, ids))], np.int64)
