"""A document as filters look at it: its text, source and words, each computed once for all filters."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.corpus.filters.characters import CodePoints, code_points
from maskmill.pipeline.corpus.filters.evaluation_index import EvaluationIndex


class FilteredText:
    """A document's text and what several filters need of it.

    Args:
        text: The text.
        source: The document's source.
        evaluation: The evaluation text, for the filter that compares with it.
    """

    def __init__(self, text: str, source: str = "", evaluation: EvaluationIndex | None = None) -> None:
        self.text = text
        self.source = source
        self.evaluation = evaluation
        self.language: str | None = None
        """The language that the filter `language` has found."""

    @cached_property
    def words(self) -> list[str]:
        """The words, as `str.split()` gives them."""
        return self.text.split()

    @cached_property
    def word_ends(self) -> npt.NDArray[np.int64]:
        """`(W + 1,)` where each word ends in `letters`, from 0."""
        ends = np.zeros(len(self.words) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, self.words), np.int64, len(self.words)), out=ends[1:])
        return ends

    @cached_property
    def letters(self) -> CodePoints:
        """`(L,)` code points of all words, one after the other."""
        return code_points("".join(self.words))


def count_repeated(parts: Iterable[str]) -> tuple[int, int]:
    """How many parts are equal to an earlier one, and their characters."""
    seen = set[str]()
    repeated = characters = 0
    for part in parts:
        if part in seen:
            repeated += 1
            characters += len(part)
        else:
            seen.add(part)
    return repeated, characters
