"""What a manifest keeps of a vocabulary for masking, so that a loader needs no tokenizer."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

MAX_VOCAB_SIZE = 1 << 20
"""Of any tokenizer: the largest in use have a quarter of it, and a loader's tables by id take 5 MB."""

Id = Annotated[int, Field(strict=True, ge=0, lt=MAX_VOCAB_SIZE)]


class MaskVocabulary(BaseModel):
    """What masking needs to know about a vocabulary; it is in the manifest, so a loader needs no tokenizer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocab_size: Annotated[int, Field(strict=True, gt=0, le=MAX_VOCAB_SIZE)]
    """Rows of the embedding: the tokens and the ids that only pad the size to a round number."""
    pad_id: Id
    unk_id: Id
    cls_id: Id
    sep_id: Id
    mask_id: Id
    excluded_ranges: tuple[tuple[Id, Annotated[int, Field(strict=True, gt=0, le=MAX_VOCAB_SIZE)]], ...]
    """`(start, stop)` of ids that are never a random replacement: special tokens, `[unusedN]`, size padding.
    Ascending, half open, neither overlapping nor touching, so that one set of ids has one spelling."""
    continuation_bits: Annotated[
        str | None, Field(default=None, max_length=MAX_VOCAB_SIZE // 6 + 4, exclude_if=lambda bits: bits is None)
    ]
    """Base64 of one bit for each id, the first the lowest of its byte: whether the piece continues a word. `None` in
    datasets of schema version 2.0, whose words are not known."""
    segmenter: Annotated[
        str | None, Field(min_length=1, max_length=100, exclude_if=lambda segmenter: segmenter is None)
    ] = None
    """The library, with its version, that found where the words of Chinese and Japanese text start: the rows then store
    where words start, and `continuation_bits` do not say it. It is here because earlier versions, which cannot read
    such rows, refuse a vocabulary with a field that they do not know."""

    @model_validator(mode="after")
    def _check_ids(self) -> Self:
        special = {"[PAD]": self.pad_id, "[UNK]": self.unk_id, "[CLS]": self.cls_id, "[SEP]": self.sep_id}
        special["[MASK]"] = self.mask_id
        if len(set(special.values())) < len(special):
            raise ValueError(f"special tokens must have ids of their own, got {special}")
        previous_stop = -1
        for start, stop in self.excluded_ranges:
            if not previous_stop < start < stop <= self.vocab_size:
                raise ValueError(
                    f"excluded range ({start}, {stop}) is empty, out of order, touches the one before it "
                    f"or leaves the vocabulary of {self.vocab_size} ids"
                )
            previous_stop = stop
        for token, token_id in special.items():
            if not any(start <= token_id < stop for start, stop in self.excluded_ranges):
                raise ValueError(f"{token} has id {token_id}, which no excluded range holds")
        if sum(stop - start for start, stop in self.excluded_ranges) == self.vocab_size:
            raise ValueError("no id is left that could replace a token: every id is excluded")
        return self

    @field_validator("continuation_bits")
    @classmethod
    def _are_bits(cls, bits: str | None, info: ValidationInfo) -> str | None:
        if bits is not None:
            size = info.data.get("vocab_size", 0)
            try:
                data = base64.b64decode(bits, validate=True)
            except ValueError:
                raise ValueError("not base64") from None
            if len(data) != -(-size // 8) or (size % 8 and data[-1] >> size % 8):
                raise ValueError(f"{len(data)} bytes of bits, or bits beyond the last id, for {size} ids")
        return bits


def write_continuation_bits(continues: Sequence[bool]) -> str:
    """`continuation_bits` of a vocabulary: `continues` says of each id whether its piece continues a word."""
    bits = bytearray(-(-len(continues) // 8))
    for token_id, is_continuation in enumerate(continues):
        bits[token_id // 8] |= is_continuation << token_id % 8
    return base64.b64encode(bits).decode()
