"""What `maskmill mask` makes of keys beside those that a dataset has."""

from __future__ import annotations

import pytest

from maskmill.pipeline.run.mask_settings import read_mask_settings
from maskmill.schemas.masking import Masking
from tests.loader.datasets import write_dataset

SEQUENCES = Masking(per_sequence_rate=(0.1, 0.5), seed=4)
WEIGHED = Masking(rate=0.3, seed=4, token_weights=[1, 2, 3])


@pytest.mark.parametrize(
    ("stored", "given", "expected"),
    [
        (Masking(rate=0.3, seed=4), "mask.rate=0.2", Masking(rate=0.2, seed=4)),
        (Masking(rate=0.3, seed=4), "mask.per_sequence_rate=[0.1, 0.5]", SEQUENCES),
        (SEQUENCES, "mask.rate=0.3", Masking(rate=0.3, seed=4)),
        (SEQUENCES, "mask.seed=5", SEQUENCES.model_copy(update={"seed": 5})),
        (WEIGHED, "mask.token_weights=", Masking(rate=0.3, seed=4)),
        (WEIGHED, "mask.rate=0.2", WEIGHED.model_copy(update={"rate": 0.2})),
        (Masking(rate=0.3, seed=4), "mask.strategy=span", Masking(strategy="span")),
        (Masking(strategy="span", max_span=4), "mask.strategy=span", Masking(strategy="span", max_span=4)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_key_replaces_those_that_it_excludes(tmp_path, stored, given, expected):
    manifest = write_dataset(f"{tmp_path}/packed", stored_masking=Masking()).model_copy(update={"masking": stored})
    found = read_mask_settings(manifest, [given], "packed").mask
    assert found.masking() == expected
    assert found.copies == manifest.copies
