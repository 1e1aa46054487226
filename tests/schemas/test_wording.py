from __future__ import annotations

import pytest

from schemas.wording import count_of


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
