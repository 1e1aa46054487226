"""Words by ICU: the rules of Unicode's annex 29, and a dictionary for what is written without spaces.

One dictionary of Chinese and Japanese words serves both languages, and is part of the library: the same version finds
the same words everywhere. 10 MB of such text take a second on one core. https://unicode-org.github.io/icu/userguide/boundaryanalysis/
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from icu4py import icu_version
from icu4py.breakers import WordBreaker

_LOCALE = "und"  # no language of its own: the dictionary is used for every one


class IcuSegmenter:
    """Finds words by ICU."""

    @property
    def version(self) -> str:
        """The name and version of ICU, which has its data in it."""
        return f"icu {icu_version}"

    def mark_starts(self, text: str) -> npt.NDArray[np.bool_]:
        """Whether a word, a space or a mark of punctuation starts at each code point of a text, `(N,)`."""
        code_points = np.frombuffer(text.encode("utf-32-le"), "<u4")
        is_wide = code_points > 0xFFFF  # two of the UTF-16 units that ICU counts
        places = np.arange(len(text)) + np.cumsum(is_wide) - is_wide
        starts = np.zeros(len(text) + int(is_wide.sum()), np.bool_)
        starts[np.fromiter((start for start, _ in WordBreaker(text, _LOCALE).segments()), np.int64)] = True
        marked: npt.NDArray[np.bool_] = starts[places]
        return marked
