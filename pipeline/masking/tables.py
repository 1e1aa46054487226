"""What masking looks up: which ids are never selected and which may replace a token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.masking import MaskVocabulary


@dataclass(frozen=True, eq=False)
class MaskTables:
    """Lookup arrays of one vocabulary, built once and shared by every masker; compared by identity.

    Attributes:
        vocabulary: What the tables were built from.
        maskable: bool (vocab_size,), False for [PAD], [CLS], [SEP] and [MASK] alone: as in BERT, [UNK] may be
            selected.
        replacements: uint32 (n,), every id that may replace a token, ascending; n >= 1.
    """

    vocabulary: MaskVocabulary
    maskable: NDArray[np.bool_]
    replacements: NDArray[np.uint32]

    @classmethod
    def build(cls, vocabulary: MaskVocabulary) -> MaskTables:
        """Build the tables of a vocabulary; they are read-only, so that all kernels see one array type."""
        maskable = np.ones(vocabulary.vocab_size, dtype=np.bool_)
        maskable[[vocabulary.pad_id, vocabulary.cls_id, vocabulary.sep_id, vocabulary.mask_id]] = False
        ordinary = np.ones(vocabulary.vocab_size, dtype=np.bool_)
        for start, stop in vocabulary.excluded_ranges:
            ordinary[start:stop] = False
        replacements = np.flatnonzero(ordinary).astype(np.uint32)
        maskable.setflags(write=False)
        replacements.setflags(write=False)
        return cls(vocabulary=vocabulary, maskable=maskable, replacements=replacements)
