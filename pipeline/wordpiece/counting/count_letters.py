"""Count the letters of raw text, and what stripping accents would do to them, for each source apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.wordpiece.counting.map_characters import CharacterMap
from maskmill.pipeline.wordpiece.counting.scan_text import NOT_UTF8, UNKNOWN, scan_texts
from maskmill.schemas.errors import InputDataError

_SHOWN_BYTES = 20


class LetterCounter:
    """Counts letters, and makes sure that text is UTF-8 and that the map has its characters.

    Args:
        characters: The map, which is asked for every character that is new.
        num_sources: How many sources there are.

    Attributes:
        letters: (sources, 2) int64, letters so far and those of them that stripping accents changes.
        words_changed: (sources,) int64, words with such a letter.
    """

    def __init__(self, characters: CharacterMap, num_sources: int) -> None:
        self._characters = characters
        self._counts = np.zeros((num_sources, 3), np.int64)
        self.letters: npt.NDArray[np.int64] = self._counts[:, :2]
        self.words_changed: npt.NDArray[np.int64] = self._counts[:, 2]

    def add(self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], sources: npt.NDArray[np.int32]) -> None:
        """Scan texts.

        Args:
            data: UTF-8 bytes.
            offsets: (texts + 1,) where each text begins.
            sources: (texts,) the number of each one's source.

        Raises:
            InputDataError: A text is not UTF-8.
        """
        state = np.zeros(2, np.int64)
        reason, text, position = UNKNOWN, 0, int(offsets[0])
        while reason == UNKNOWN:
            reason, text, position, code_point = scan_texts(
                data, offsets, sources, text, position, self._characters.traits, self._counts, state
            )
            if reason == UNKNOWN:
                self._characters.ask(code_point)
        if reason == NOT_UTF8:
            around = data[max(position - _SHOWN_BYTES, offsets[text]) : position + _SHOWN_BYTES]
            raise InputDataError(
                "text is not UTF-8",
                place=f"byte {position - offsets[text]} of the text",
                expected="UTF-8",
                found=repr(around.tobytes()),
                action="convert the text to UTF-8 before it is counted",
            )
