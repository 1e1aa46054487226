"""What one strategy says of itself; see `table`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from maskmill.schemas.masking import Masking


def _share_one_word(_: Masking) -> list[Fraction]:
    return [Fraction(1)]


@dataclass(frozen=True)
class Strategy:
    """A way to select positions.

    Attributes:
        selector: The number by which `select_row` knows its kernel.
        needs_words: Whether the dataset must say which ids continue a word.
        list_length_shares: Gives the probabilities of 1, 2 and so on words in a unit.
    """

    selector: int
    needs_words: bool = False
    list_length_shares: Callable[[Masking], list[Fraction]] = _share_one_word
