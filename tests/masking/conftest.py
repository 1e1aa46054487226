from __future__ import annotations

import pytest

from maskmill.pipeline.masking.tables import MaskTables
from maskmill.schemas.mask_vocabulary import MaskVocabulary, write_continuation_bits
from tests.masking.oracle import CLS, CONTINUES, MASK, PAD, SEP, UNK, VOCAB_SIZE


@pytest.fixture(scope="session")
def tables():
    """Ids 0-9 are specials and unused, 10-199 ordinary, 200-207 pad the size to a multiple of 16."""
    vocabulary = MaskVocabulary(
        vocab_size=VOCAB_SIZE,
        pad_id=PAD,
        unk_id=UNK,
        cls_id=CLS,
        sep_id=SEP,
        mask_id=MASK,
        excluded_ranges=((0, 10), (200, 208)),
        continuation_bits=write_continuation_bits(CONTINUES),
    )
    return MaskTables.build(vocabulary)
