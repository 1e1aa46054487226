"""Lookup tables of masking: what may replace a token, and where words begin."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskmill.schemas.mask_vocabulary import MaskVocabulary

UNMASKABLE, STARTS_WORD, CONTINUES_WORD = 0, 1, 2
"""Kinds of ids."""


@dataclass(frozen=True, eq=False)
class MaskTables:
    """Lookup arrays of one vocabulary, built once and shared by every masker; compared by identity.

    Attributes:
        vocabulary: What the tables were built from.
        protected: Ids that are never selected, besides the special ones.
        replacements: uint32 (n,), every id that may replace a token, ascending; n >= 1.
        kinds: uint8 (vocab_size + 1,), the kind of each id; the last, UNMASKABLE, is that of ids beyond the vocabulary.
            Every maskable id starts a word where the vocabulary does not say which continue one.
    """

    vocabulary: MaskVocabulary
    protected: frozenset[int]
    replacements: NDArray[np.uint32]
    kinds: NDArray[np.uint8]

    @classmethod
    def build(cls, vocabulary: MaskVocabulary, protected: Iterable[int] = ()) -> MaskTables:
        """Build the tables of a vocabulary; they are read-only, so that all kernels see one array type."""
        protected = frozenset(protected)
        ordinary = np.ones(vocabulary.vocab_size, dtype=np.bool_)
        for start, stop in vocabulary.excluded_ranges:
            ordinary[start:stop] = False
        replacements = np.flatnonzero(ordinary).astype(np.uint32)
        kinds = np.full(vocabulary.vocab_size + 1, STARTS_WORD, np.uint8)
        if vocabulary.continuation_bits is not None:
            bits = np.frombuffer(base64.b64decode(vocabulary.continuation_bits), np.uint8)
            kinds[:-1] += np.unpackbits(bits, count=vocabulary.vocab_size, bitorder="little")
        special = (vocabulary.pad_id, vocabulary.cls_id, vocabulary.sep_id, vocabulary.mask_id)
        kinds[[*special, *protected, -1]] = UNMASKABLE
        for table in (replacements, kinds):
            table.setflags(write=False)
        return cls(vocabulary=vocabulary, protected=protected, replacements=replacements, kinds=kinds)

    def __reduce__(self) -> tuple[Any, ...]:
        # An array comes out of a pickle or a deep copy writable: to numba another type, for which kernels that take
        # seconds would be compiled again in every spawned worker. Built anew in 0.2 ms, and a pickle is 100 KB less.
        return (MaskTables.build, (self.vocabulary, self.protected))
