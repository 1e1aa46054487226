"""Prove once for each tokenizer that the fast path gives the ids of `tokenizers`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import islice

import numpy as np
from tokenizers import Tokenizer

from maskmill.pipeline.wordpiece.encoding.hostile_text import list_makers
from maskmill.pipeline.wordpiece.encoding.load_encoders import (
    FastEncode,
    SpecialInText,
    encode_by_tokenizers,
    load_fast_encode,
    load_law,
    reraise_foreign,
)
from maskmill.schemas.errors import ConfigError

PROOF_PARTS = 8
"""Units that a proof is made of, each 1 s of work: the same for any number of workers."""
WITHOUT_NANOTOKEN = (
    "nanotoken is not installed. The ids are the same, and encoding takes about thirty times as long: "
    'pip install "maskmill[fast]" before a run begins'
)
_TEXTS_A_BATCH = 64
_HOSTILE_TEXT_VERSION = 1  # change it when the texts change


@dataclass(frozen=True)
class ProofKey:
    """The tokenizer and the libraries that a proof is valid for."""

    tokenizer_sha256: str
    special_in_text: str
    tokenizers_version: str
    nanotoken_version: str
    hostile_text_version: int = _HOSTILE_TEXT_VERSION


@dataclass(frozen=True)
class Proof:
    """Whether the fast path may be used; plain values, to be stored and read back."""

    key: ProofKey
    num_texts: int
    num_bytes: int
    difference: str | None
    """None if every id was equal; else the reason why the fast path is not used."""


def make_proof_key(tokenizer_json: bytes, special_in_text: SpecialInText) -> ProofKey:
    """The key that a proof of this tokenizer must have on this machine."""
    return ProofKey(
        hashlib.sha256(tokenizer_json).hexdigest(),
        SpecialInText(special_in_text).value,
        _find_version("tokenizers"),
        _find_version("nanotoken"),
    )


def _find_version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def prove_encoder(tokenizer_json: bytes, special_in_text: SpecialInText = SpecialInText.TEXT) -> Proof:
    """Encode hostile texts both ways and compare every id: all parts, one after the other."""
    return join_proofs([prove_part(tokenizer_json, special_in_text, part) for part in range(PROOF_PARTS)])


def prove_part(tokenizer_json: bytes, special_in_text: SpecialInText, part: int) -> Proof:
    """Compare on one part of the hostile texts; stops at its first difference.

    Args:
        tokenizer_json: The tokenizer.
        special_in_text: What a special token's string in raw text is.
        part: Which one of `PROOF_PARTS`: every batch of texts whose number leaves this rest.
    """
    key = make_proof_key(tokenizer_json, special_in_text)
    try:
        fast_encode = load_fast_encode(tokenizer_json, SpecialInText(special_in_text))
    except ImportError:
        return Proof(key, 0, 0, WITHOUT_NANOTOKEN)
    except BaseException as error:  # noqa: BLE001 - whatever it raises for a tokenizer that it does not take
        reraise_foreign(error)
        return Proof(key, 0, 0, f"nanotoken does not take this tokenizer: {error}")
    law = load_law(tokenizer_json, SpecialInText(special_in_text))
    vocabulary: dict[str, int] = law.get_vocab(with_added_tokens=True)
    makers = enumerate(list_makers(sorted(vocabulary)))
    texts = (make() for number, make in makers if number // _TEXTS_A_BATCH % PROOF_PARTS == part)
    return compare_on(texts, fast_encode, law, key)


def join_proofs(parts: Sequence[Proof]) -> Proof:
    """Join the proofs of all parts.

    Raises:
        ConfigError: They were made with different libraries.
    """
    first = parts[0]
    for part in parts:
        if part.key != first.key:
            raise ConfigError(
                "the encoder is proven with different libraries on different machines",
                path="the machines of the workers",
                expected=f"tokenizers {first.key.tokenizers_version}, nanotoken {first.key.nanotoken_version}",
                found=f"tokenizers {part.key.tokenizers_version}, nanotoken {part.key.nanotoken_version}",
                action="install the same versions on every node",
            )
    return Proof(
        first.key,
        num_texts=sum(part.num_texts for part in parts),
        num_bytes=sum(part.num_bytes for part in parts),
        difference=next((part.difference for part in parts if part.difference is not None), None),
    )


def compare_on(texts: Iterable[str], fast_encode: FastEncode, law: Tokenizer, key: ProofKey) -> Proof:
    """Encode these texts both ways, up to the first batch with a difference."""
    num_texts = num_bytes = 0
    remaining = iter(texts)
    while batch := list(islice(remaining, _TEXTS_A_BATCH)):
        num_texts += len(batch)
        num_bytes += sum(len(text.encode()) for text in batch)
        ids, offsets, _ = encode_by_tokenizers(law, batch)
        fast_ids, fast_offsets = fast_encode(batch)
        if not (np.array_equal(offsets, fast_offsets) and np.array_equal(ids, fast_ids)):
            for text, start, stop, fast_start, fast_stop in zip(
                batch, offsets[:-1], offsets[1:], fast_offsets[:-1], fast_offsets[1:], strict=True
            ):
                if not np.array_equal(ids[start:stop], fast_ids[fast_start:fast_stop]):
                    why = f"nanotoken and tokenizers differ on a text that begins {text[:40]!a}"
                    return Proof(key, num_texts, num_bytes, why)
    return Proof(key, num_texts, num_bytes, None)
