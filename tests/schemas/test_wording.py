from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.schemas.masking import Masking, MaskStrategy
from maskmill.schemas.wording import count_of, setting_of


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (0, ["unit"], "0 units"),
        (1, ["unit"], "1 unit"),
        (2, ["unit"], "2 units"),
        (12345, ["row"], "12,345 rows"),
        (1, ["copy", "copies"], "1 copy"),
        (3, ["copy", "copies"], "3 copies"),
    ],
)
def test_one_is_singular_and_all_else_plural(number: int, words: list[str], said: str) -> None:
    assert count_of(number, *words) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "unset"),
        (True, "true"),
        (512, "512"),
        ("a é", '"a é"'),
        ("\x9b31m", r'"\x9b31m"'),
        ([64, 128], "[64, 128]"),
        (MaskStrategy.TOKEN, '"token"'),
        (
            Masking(rate={"curve": "linear", "points": [[0, 0.3], [100, 0.15]]}).rate,  # type: ignore[arg-type]
            '{curve = "linear", points = [[0, 0.3], [100, 0.15]]}',
        ),
        ({"a": {"b c": ()}, "d": {}}, '{a = {"b c" = []}, d = {}}'),
    ],
)
def test_a_value_is_said_as_a_run_file_has_it(value: object, said: str) -> None:
    assert setting_of(value) == said


def test_a_long_value_is_shortened() -> None:
    assert setting_of("x" * 20_000_000) == '"' + "x" * 999 + "... (20,000,002 characters)"


TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=8)
SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))


@given(VALUES)
def test_what_is_said_means_the_value_in_a_file(value: Any) -> None:
    assert tomllib.loads(f"value = {setting_of(value)}")["value"] == value
