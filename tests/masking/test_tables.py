from __future__ import annotations

import numpy as np
import pytest

from maskmill.pipeline.masking.static_masks import static_masks
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.schemas.mask_vocabulary import MaskVocabulary
from maskmill.schemas.masking import Masking
from tests.masking.oracle import ORDINARY


def test_replacements_are_the_ordinary_ids_ascending(tables):
    assert tables.replacements.tolist() == ORDINARY


def test_a_static_copy_refuses_rows_that_cannot_hold_the_vocabulary():
    vocabulary = MaskVocabulary(
        vocab_size=65_537, pad_id=0, unk_id=1, cls_id=2, sep_id=3, mask_id=4, excluded_ranges=((0, 5),)
    )
    rows, row_ids = np.full((1, 8), 9, dtype=np.uint16), np.zeros(1, dtype=np.uint64)
    with pytest.raises(ValueError, match="cannot hold the 65537 ids"):
        static_masks(rows, row_ids, 0, Masking(), MaskTables.build(vocabulary))
    assert len(static_masks(rows.astype(np.uint32), row_ids, 0, Masking(), MaskTables.build(vocabulary))[1]) == 1
