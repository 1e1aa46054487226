from __future__ import annotations

import pytest

from maskmill.pipeline.packing.cutting.cut_rules import CutRules
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.run_file import Cut, PackSection, Split


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("pack.seq_len", {"seq_len": 2, "min_segment": 1}),
        ("pack.min_segment", {"seq_len": 32, "min_segment": 17}),
        ("pack.min_segment", {"seq_len": 32, "min_segment": 0}),
    ],
)
def test_settings_that_cannot_hold_are_refused_by_name(key: str, settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError) as error:
        CutRules(**settings)
    assert error.value.path == key


def test_rules_of_a_run_file_hold_for_one_length_of_rows() -> None:
    pack = PackSection(seq_len=[128, 512], min_segment=9, cut="token", split="fill", max_waste=0.05)
    assert CutRules.from_pack(pack, 512) == CutRules(512, 9, Cut.TOKEN, Split.FILL, max_free=25)
    assert CutRules.from_pack(pack, 128) == CutRules(128, 9, Cut.TOKEN, Split.FILL, max_free=6)
