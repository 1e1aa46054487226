"""Find the language of a text with the model of `py3langid`, a naive Bayes classifier of byte n-grams.

The library adds 32-bit floats, whose sums depend on the order that a CPU prefers. Here all sums are of integers, so
that every machine finds the same language: weights are the model's own, multiples of 2**-9, and logarithms of counts
are rounded to multiples of 2**-20. Languages differ from the library's only where two are as probable to five digits.
Its walk over the bytes, in Python there, is compiled here.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from numba import njit

from maskmill.pipeline.corpus.filters.libraries import import_library
from maskmill.schemas.errors import ConfigError

LOOKED_AT = 1 << 16
"""Characters of a text that are looked at, from its beginning."""
WEIGHT_SCALE = 1 << 9
"""Weights are 16-bit floats from -16 to -2, whose steps are multiples of 2**-9."""
LOG_SCALE = 1 << 20
SCALE = WEIGHT_SCALE * LOG_SCALE
MAX_BYTES = 4 * LOOKED_AT
NEGLIGIBLE = 60.0
"""Languages whose probability is that many powers of e below the greatest are not added."""
PROBABILITY_DIGITS = 6


@dataclass(frozen=True)
class FoundLanguage:
    """The most probable language, and how probable it is among all."""

    language: str
    probability: float


@dataclass(frozen=True)
class LanguageModel:
    """The model: an automaton that finds n-grams of bytes, and their weights for each language.

    Attributes:
        languages: `(C,)` language of each class; a language in several scripts has several.
        next_state: `(R * 256,)` next state, by row and byte.
        row_of: `(T,)` row of each state.
        feature_of: `(T,)` n-gram that ends in each state, or -1.
        weights: `(F, C)` of each n-gram and class, times WEIGHT_SCALE.
        priors: `(C,)` of each class, times SCALE.
        logs: `(MAX_BYTES + 1,)` log(1 + n) of each count n, times LOG_SCALE.
    """

    languages: tuple[str, ...]
    next_state: npt.NDArray[np.uint32]
    row_of: npt.NDArray[np.uint32]
    feature_of: npt.NDArray[np.int32]
    weights: npt.NDArray[np.int16]
    priors: npt.NDArray[np.float64]
    logs: npt.NDArray[np.float64]

    def find_language(self, text: str) -> FoundLanguage | None:
        """The most probable language; `None` if the text has no n-gram of the model."""
        encoded = _encode(text[:LOOKED_AT])
        scores = self.priors.copy()
        if not _add_scores(
            np.frombuffer(encoded, np.uint8),
            self.next_state,
            self.row_of,
            self.feature_of,
            self.weights,
            self.logs,
            scores,
        ):
            return None
        # The library's temperature: the longer a text is, the flatter its probabilities are made.
        per_unit = 1.0 / (SCALE * math.sqrt(len(encoded)))
        below = (scores - scores.max()) * per_unit
        shares: dict[str, float] = {}
        for place in np.flatnonzero(below > -NEGLIGIBLE).tolist():
            language = self.languages[place]
            shares[language] = shares.get(language, 0.0) + math.exp(below[place])
        best = max(shares, key=shares.__getitem__)
        return FoundLanguage(best, round(shares[best] / math.fsum(shares.values()), PROBABILITY_DIGITS))


@cache
def load_language_model() -> LanguageModel:
    """Load the model, which takes some 0.7 s and 100 MB once in every process.

    Raises:
        ConfigError: The library is not installed.
    """
    langid = import_library("language", "py3langid.langid")
    modelio = import_library("language", "py3langid.modelio")
    ptc, pc, classes, next_state, row_of, features = modelio.load_model(langid.MODEL_DIR / langid.MODEL_FILE)
    weights = np.rint(np.asarray(ptc, np.float32) * WEIGHT_SCALE).astype(np.int16)
    if (weights / np.float32(WEIGHT_SCALE) != np.asarray(ptc, np.float32)).any():
        raise ConfigError(
            "the model of the installed py3langid has weights that are not known",
            path="filters.language",
            expected="multiples of 2**-9",
            action='pip install "maskmill[filters]"',
        )
    return LanguageModel(
        languages=tuple(classes),
        next_state=np.frombuffer(next_state, f"u{next_state.itemsize}").astype(np.uint32, copy=False),
        row_of=np.frombuffer(row_of, f"u{row_of.itemsize}").astype(np.uint32),
        feature_of=np.asarray(features, np.int32),
        weights=weights,
        priors=np.rint(np.asarray(pc, np.float64) * SCALE),
        logs=np.array([round(math.log1p(count) * LOG_SCALE) for count in range(MAX_BYTES + 1)], np.float64),
    )


def _encode(text: str) -> bytes:
    """The bytes that the library looks at: composed, and in lower case if all of it is in upper case."""
    if text.isupper():
        text = text.lower()
    return unicodedata.normalize("NFC", text).encode("utf-8")[:MAX_BYTES]


@njit(cache=True, nogil=True)
def _add_scores(
    encoded: npt.NDArray[np.uint8],
    next_state: npt.NDArray[np.uint32],
    row_of: npt.NDArray[np.uint32],
    feature_of: npt.NDArray[np.int32],
    weights: npt.NDArray[np.int16],
    logs: npt.NDArray[np.float64],
    scores: npt.NDArray[np.float64],
) -> bool:
    """Add what each n-gram weighs to `scores`, `(C,)`; whether there is any.

    All numbers are integers below 2**53, which floats hold exactly; those are multiplied four at a time.
    """
    counts = np.zeros(len(weights), np.int32)
    found = np.empty(len(encoded), np.int32)
    num_found = 0
    state = np.int64(0)
    for byte in encoded:
        state = np.int64(next_state[(np.int64(row_of[state]) << 8) + np.int64(byte)])
        feature = feature_of[state]
        if feature >= 0:
            if not counts[feature]:
                found[num_found] = feature
                num_found += 1
            counts[feature] += 1
    for place in range(num_found):
        feature = found[place]
        log = logs[counts[feature]]
        for language in range(len(scores)):
            scores[language] += log * np.float64(weights[feature, language])
    return num_found > 0
