"""The two encoders of a tokenizer: `tokenizers`, which is the reference, and `nanotoken`, which is fast.

Both are loaded for one thread, without truncation, padding or added [CLS] and [SEP].
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, AnyStr, Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from maskmill.pipeline.wordpiece.files.check_tokenizer import parse_tokenizer_json
from maskmill.schemas.errors import is_panic

_CACHE_ENTRIES = 1 << 19  # for each of two levels: at most 65 MB; half as many encode novels at 200 MB/s, not 265
_LAW_BATCH_CHARACTERS = 1 << 20  # bounds the Encoding objects alive: about 100 bytes a token
_SPACES = " \n\t\r"  # other white space is deleted by BERT's clean-up, and joins its neighbours
_PUNCTUATION = ",.;:!?\u3001\u3002\uff0c"  # always a word of its own; what a text without spaces still has

Ids = npt.NDArray[np.uint32]
Offsets = npt.NDArray[np.int64]


class SpecialInText(StrEnum):
    """How to encode a special token's string in raw text."""

    TEXT = "text"
    """Text like any other: `[MASK]` is `[`, `mask`, `]`."""
    SPECIAL = "special"
    """The special token."""


class FastEncode(Protocol):
    """Encodes texts without special tokens: flat ids (uint32) and offsets (int64, one more than texts).

    A text may be given as its UTF-8 bytes, which must be valid.
    """

    def __call__(self, texts: Sequence[str] | Sequence[bytes]) -> tuple[Ids, Offsets]:
        """Encode."""


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

    def encode(texts: Sequence[str] | Sequence[bytes]) -> tuple[Ids, Offsets]:
        batch = loaded.encode_batch(texts, add_special_tokens=False, parallel=False)
        return batch.ids, batch.offsets

    return encode


def load_law(tokenizer_json: bytes, special_in_text: SpecialInText) -> Tokenizer:
    """Check a tokenizer.json and load `tokenizers` for it, set as `set_for_text` does."""
    return set_for_text(parse_tokenizer_json(tokenizer_json, "tokenizer.json"), special_in_text)


def set_for_text(tokenizer: Tokenizer, special_in_text: SpecialInText) -> Tokenizer:
    """Set a tokenizer to encode text on one thread, without truncation and padding; returns it."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = special_in_text is SpecialInText.TEXT
    return tokenizer


def encode_by_tokenizers(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[Ids, Offsets, dict[int, str]]:
    """Encode with `tokenizers`, in small batches; a document on which it fails is set aside, not its batch.

    A long document is encoded in pieces where it may be cut (see `list_breaks`), so that what is alive at a time is
    bounded: 10 MB of text without spaces as a whole take 3 GB.

    Returns:
        Flat ids, offsets, and the reason for each rejected index.
    """
    parts: list[Ids] = []
    lengths = np.zeros(len(texts) + 1, np.int64)
    rejected: dict[int, str] = {}
    start = 0
    while start < len(texts):
        stop, num_characters = start + 1, len(texts[start])
        while stop < len(texts) and num_characters + len(texts[stop]) <= _LAW_BATCH_CHARACTERS:
            num_characters += len(texts[stop])
            stop += 1
        if num_characters > _LAW_BATCH_CHARACTERS:
            rows = [_encode_long(tokenizer, texts[start], start, rejected)]
        else:
            rows = _encode_batch(tokenizer, texts[start:stop], start, rejected)
        lengths[start + 1 : stop + 1] = [len(row) for row in rows]
        parts += rows
        start = stop
    ids = np.concatenate(parts) if parts else np.zeros(0, np.uint32)
    return ids, np.cumsum(lengths), rejected


def locate_by_tokenizers(tokenizer: Tokenizer, text: str) -> tuple[Ids, Offsets]:
    """Encode with `tokenizers` a text on which it does not fail; a long one in pieces, as above.

    Returns:
        Its ids, and the code point at which each token begins.
    """
    ids, places = [np.zeros(0, np.uint32)], [np.zeros(0, np.int64)]
    start = 0
    for piece in cut_at_breaks(text, _LAW_BATCH_CHARACTERS, list_breaks(tokenizer)):
        encoding = tokenizer.encode(piece, add_special_tokens=False)
        ids.append(np.array(encoding.ids, np.uint32))
        places.append(np.fromiter((begin for begin, _ in encoding.offsets), np.int64) + start)
        start += len(piece)
    return np.concatenate(ids), np.concatenate(places)


def _encode_batch(tokenizer: Tokenizer, texts: Sequence[str], first: int, rejected: dict[int, str]) -> list[Ids]:
    """The ids of texts, the first of which is document number `first`; those of one that fails are empty."""
    try:
        encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, np.uint32) for encoding in encodings]
    except BaseException as error:  # noqa: BLE001 - a panic in Rust is no Exception
        reraise_foreign(error)
        return [_encode_one(tokenizer, text, index, rejected) for index, text in enumerate(texts, first)]


def _encode_one(tokenizer: Tokenizer, text: str, index: int, rejected: dict[int, str]) -> Ids:
    try:
        return np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.uint32)
    except BaseException as error:  # noqa: BLE001 - as above
        reraise_foreign(error)
        rejected[index] = f"{type(error).__name__}: {error}"
        return np.zeros(0, np.uint32)


def _encode_long(tokenizer: Tokenizer, text: str, index: int, rejected: dict[int, str]) -> Ids:
    pieces: list[Ids] = []
    for piece in cut_at_breaks(text, _LAW_BATCH_CHARACTERS, list_breaks(tokenizer)):
        pieces += _encode_batch(tokenizer, [piece], index, rejected)
        if index in rejected:
            return np.zeros(0, np.uint32)
    return np.concatenate(pieces)


def list_breaks(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Characters behind which a text may be cut: its ids are then those of its pieces end to end.

    With BERT's normaliser and pre-tokeniser these end a word whatever follows, unless an added token may reach over
    one. None for any other tokenizer.
    """
    description = json.loads(tokenizer.to_str())
    kinds = [(description[part] or {}).get("type") for part in ("normalizer", "pre_tokenizer")]
    added = "".join(token["content"] for token in description.get("added_tokens", []))
    if kinds != ["BertNormalizer", "BertPreTokenizer"] or not added.isascii() or any(map(str.isspace, added)):
        return ()
    return tuple(character for character in _SPACES + _PUNCTUATION if character not in added)


def cut_at_breaks(text: AnyStr, size: int, breaks: Sequence[AnyStr]) -> Iterator[AnyStr]:
    """Cut a text, or its UTF-8, into pieces of at most `size` where breaks allow it; they join to the text."""
    start = 0
    while start < len(text):
        stop = find_break(text, start, size, breaks)
        yield text[start:stop]
        start = stop


def find_break(text: AnyStr, start: int, size: int, breaks: Sequence[AnyStr]) -> int:
    """The end of a piece that begins at `start`: behind the last break within `size`.

    Without one there, behind the first one that follows, or at the end of the text.
    """
    if start + size >= len(text):
        return len(text)
    last = max((_behind(text.rfind(one, start, start + size), one) for one in breaks), default=0)
    if last:
        return last
    following = (_behind(text.find(one, start), one) for one in breaks)
    return min(filter(None, following), default=len(text))


def _behind(place: int, found: AnyStr) -> int:
    """The end of a match; 0 if there was none."""
    return 0 if place < 0 else place + len(found)


def reraise_foreign(error: BaseException) -> None:
    """Raise again what is not the text's fault: interrupts, exits, exhausted memory."""
    if isinstance(error, MemoryError) or not (isinstance(error, Exception) or is_panic(error)):
        raise error
