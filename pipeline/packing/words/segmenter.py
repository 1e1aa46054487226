"""What one library that finds words in text says of itself; see `segmenters`."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt


class Segmenter(Protocol):
    """Finds the words of a text."""

    @property
    def version(self) -> str:
        """Its name and version, and those of its data: with another one words may start elsewhere."""

    def mark_starts(self, text: str) -> npt.NDArray[np.bool_]:
        """Whether a word, a space or a mark of punctuation starts at each code point of a text, `(N,)`."""
