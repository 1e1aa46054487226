from __future__ import annotations

import pytest

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
    ],
)
def test_a_value_is_said_as_a_run_file_has_it(value: object, said: str) -> None:
    assert setting_of(value) == said


def test_a_long_value_is_shortened() -> None:
    assert setting_of("x" * 20_000_000) == '"' + "x" * 999 + "... (20,000,002 characters)"
