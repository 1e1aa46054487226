"""Encode text: `nanotoken` where it is proven equal to `tokenizers`, `tokenizers` everywhere else.

`tokenizers` is the law (4 MB/s on one core); `nanotoken` (90 MB/s cold, 250 warm) is work skipped whose result is
known. It is known twice over: by a proof made once for each tokenizer (`prove_encoder`), and by a sample of
every batch's documents, encoded both ways.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import xxhash
from tokenizers import Tokenizer

_SAMPLE_SHARE = 0.01  # of the bytes; a larger sample halves the speed
_SAMPLE_DOCUMENTS = 8
_LAW_BATCH_CHARACTERS = 1 << 20  # bounds the Encoding objects alive: about 100 bytes a token
_CACHE_ENTRIES = 1 << 19  # for each of two levels: at most 65 MB; half as many encode novels at 200 MB/s, not 265

Ids = npt.NDArray[np.uint32]
Offsets = npt.NDArray[np.int64]


class SpecialInText(StrEnum):
    """What a special token's string in raw text is."""

    TEXT = "text"
    """Text like any other: `[MASK]` is `[`, `mask`, `]`."""
    SPECIAL = "special"
    """The special token."""


class FastEncode(Protocol):
    """Encodes texts without special tokens: flat ids (uint32) and offsets (int64, one more than texts)."""

    def __call__(self, texts: Sequence[str]) -> tuple[Ids, Offsets]:
        """Encode."""


@dataclass(frozen=True)
class Sample:
    """How much of a batch was encoded both ways, and what came of it."""

    documents: int
    bytes: int
    is_equal: bool


@dataclass(frozen=True)
class EncodedBatch:
    """The ids of a batch of documents."""

    ids: Ids
    """All documents' ids end to end, without [CLS] and [SEP]."""
    offsets: Offsets
    """Document i is ids[offsets[i]:offsets[i + 1]]; empty where it is rejected."""
    rejected: dict[int, str]
    """Documents that `tokenizers` cannot encode: index to reason."""
    special_in_text: dict[str, int]
    """How often the string of a special token stands in the raw text; those that do."""
    sample: Sample | None = None
    """None where nothing was encoded by the fast path."""
    fell_back: str | None = None
    """Why this batch was the one at which the fast path was given up."""


def encode_by_tokenizers(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[Ids, Offsets, dict[int, str]]:
    """Encode with `tokenizers`, in small batches; a document on which it fails is set aside, not its batch.

    Returns:
        Flat ids, offsets, and the reason for each rejected index.
    """
    parts: list[Ids] = []
    lengths = np.zeros(len(texts) + 1, np.int64)
    rejected: dict[int, str] = {}
    start = 0
    while start < len(texts):
        stop, num_characters = start, 0
        while stop < len(texts) and (stop == start or num_characters < _LAW_BATCH_CHARACTERS):
            num_characters += len(texts[stop])
            stop += 1
        try:
            encodings = tokenizer.encode_batch_fast(list(texts[start:stop]), add_special_tokens=False)
            rows = [encoding.ids for encoding in encodings]
        except BaseException as error:  # noqa: BLE001 - a panic in Rust is no Exception
            _reraise_foreign(error)
            rows = [_encode_one(tokenizer, texts[index], index, rejected) for index in range(start, stop)]
        lengths[start + 1 : stop + 1] = [len(row) for row in rows]
        parts += [np.array(row, np.uint32) for row in rows]
        start = stop
    ids = np.concatenate(parts) if parts else np.zeros(0, np.uint32)
    return ids, np.cumsum(lengths), rejected


def _encode_one(tokenizer: Tokenizer, text: str, index: int, rejected: dict[int, str]) -> list[int]:
    try:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    except BaseException as error:  # noqa: BLE001 - as above
        _reraise_foreign(error)
        rejected[index] = f"{type(error).__name__}: {error}"
        return []
    return ids


def _reraise_foreign(error: BaseException) -> None:
    """Let through what is not the text's fault: interrupts, exits, exhausted memory."""
    is_panic = type(error).__name__ == "PanicException"
    if isinstance(error, MemoryError) or not (isinstance(error, Exception) or is_panic):
        raise error


def load_fast_encode(tokenizer_json: bytes, special_in_text: SpecialInText) -> FastEncode:
    """Load `nanotoken` for a tokenizer, on one thread and with a bounded cache.

    Raises:
        ImportError: If `nanotoken` is not installed.
        Exception: Whatever `nanotoken` raises for a tokenizer that it does not take.
    """
    import nanotoken

    description: dict[str, Any] = json.loads(tokenizer_json)
    description |= {"post_processor": None, "truncation": None, "padding": None}
    if special_in_text is SpecialInText.TEXT:
        added = description.get("added_tokens", [])
        description["added_tokens"] = [token for token in added if not token["special"]]
    nanotoken.set_cache_entries(_CACHE_ENTRIES)
    loaded = nanotoken.Tokenizer.from_json(json.dumps(description))

    def encode(texts: Sequence[str]) -> tuple[Ids, Offsets]:
        batch = loaded.encode_batch(texts, add_special_tokens=False, parallel=False)
        return batch.ids, batch.offsets

    return encode


def load_law(tokenizer_json: bytes, special_in_text: SpecialInText) -> Tokenizer:
    """Load `tokenizers` for a tokenizer, on one thread, without truncation and padding."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = Tokenizer.from_str(tokenizer_json.decode())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = special_in_text is SpecialInText.TEXT
    return tokenizer


def choose_sample(texts: Sequence[str]) -> tuple[list[int], int]:
    """Choose documents to encode both ways: by hash of their bytes, 1 % of the bytes and at least 8.

    The choice depends on the batch's texts alone, so a repeated run checks the same ones.

    Returns:
        Their indices and how many bytes they are.
    """
    hashes: list[int] = []
    sizes_bytes: list[int] = []
    for text in texts:  # one at a time: all of them encoded would be a second copy of the batch
        encoded = text.encode("utf-8", "surrogatepass")
        hashes.append(xxhash.xxh3_64_intdigest(encoded))
        sizes_bytes.append(len(encoded))
    wanted_bytes = _SAMPLE_SHARE * sum(sizes_bytes)
    chosen: list[int] = []
    num_bytes = 0
    for index in sorted(range(len(texts)), key=lambda index: (hashes[index], index)):
        if len(chosen) >= _SAMPLE_DOCUMENTS and num_bytes >= wanted_bytes:
            break
        chosen.append(index)
        num_bytes += sizes_bytes[index]
    return chosen, num_bytes


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
    """The tokenizer that says what is right."""

    def __post_init__(self) -> None:
        self.special_in_text = SpecialInText(self.special_in_text)
        self.law = load_law(self.tokenizer_json, self.special_in_text)
        added = self.law.get_added_tokens_decoder().values()
        self._special = sorted(token.content for token in added if token.special)

    def encode_proven(self, texts: Sequence[str]) -> EncodedBatch:
        """Encode a batch and encode a sample of it with `tokenizers` too.

        At a difference, or where the fast path fails on what `tokenizers` encodes, the whole batch is encoded by
        `tokenizers`, and so is every later one.
        """
        special = self.count_special(texts)
        if self.fast_encode is None:
            ids, offsets, rejected = encode_by_tokenizers(self.law, texts)
            return EncodedBatch(ids, offsets, rejected, special)
        try:
            ids, offsets = self.fast_encode(texts)
        except BaseException as error:  # noqa: BLE001 - a panic in Rust is no Exception
            _reraise_foreign(error)
            ids, offsets, rejected = encode_by_tokenizers(self.law, texts)
            if rejected:  # the text's fault, as `tokenizers` has it too
                return EncodedBatch(ids, offsets, rejected, special)
            self.fast_encode = None
            why = f"nanotoken failed where tokenizers did not: {type(error).__name__}: {error}"
            return EncodedBatch(ids, offsets, rejected, special, fell_back=why)
        chosen, num_bytes = choose_sample(texts)
        law_ids, law_offsets, rejected = encode_by_tokenizers(self.law, [texts[index] for index in chosen])
        different = [
            index
            for place, index in enumerate(chosen)
            if place in rejected
            or not np.array_equal(
                ids[offsets[index] : offsets[index + 1]], law_ids[law_offsets[place] : law_offsets[place + 1]]
            )
        ]
        sample = Sample(len(chosen), num_bytes, not different)
        if not different:
            return EncodedBatch(ids, offsets, {}, special, sample)
        self.fast_encode = None
        ids, offsets, rejected = encode_by_tokenizers(self.law, texts)
        why = f"nanotoken and tokenizers differ on document {different[0]} of a batch of {len(texts)}"
        return EncodedBatch(ids, offsets, rejected, special, sample, why)

    def count_special(self, texts: Sequence[str]) -> dict[str, int]:
        """Count the strings of special tokens in raw text; those that occur."""
        initials = {token[0] for token in self._special}
        suspects = [text for text in texts if any(initial in text for initial in initials)]
        counts = {token: sum(text.count(token) for text in suspects) for token in self._special}
        return {token: count for token, count in counts.items() if count}
