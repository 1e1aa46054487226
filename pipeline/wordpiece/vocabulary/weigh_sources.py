"""Weigh words by source, to even out sources of very different sizes; in integers only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.wordpiece.counting.word_counts import ALL_SOURCES, MAX_SOURCES, SourceText
from maskmill.schemas.errors import ConfigError

WEIGHT_BITS = 16
"""A weight is a multiple of 2^-16."""
_WHOLE = 1000
_LIMIT = 1 << 63


def weigh_sources(sources: Sequence[SourceText], alpha_thousandths: int) -> npt.NDArray[np.int64]:
    """Weigh each source so that one of n words counts as if it had n^alpha.

    Devlin et al. smoothed the languages of multilingual BERT so, with alpha 0.7 (google-research/bert,
    `multilingual.md`), as shares that are drawn from; here nothing is drawn. The largest source weighs one and no
    source less, so that no count sinks and a trainer's `min_frequency` keeps its sense: of sources of n words, the
    largest of m, each weighs (n/m)^(alpha - 1). Computed in whole numbers, since a power in floating point differs
    from machine to machine in its last bit.

    Args:
        sources: Those of the word counts (S of them).
        alpha_thousandths: The exponent in thousandths, 0 (all sources count the same) to 1000 (as they are).

    Returns:
        floor(2^16 * (n/m)^(alpha - 1)) of each source, int64 (S,); 2^16 for one without words.

    Raises:
        ConfigError: The weighted counts of all words together do not fit into 63 bits.
    """
    largest = max((source.words for source in sources), default=0)
    shared = math.gcd(_WHOLE - alpha_thousandths, _WHOLE)
    power, degree = (_WHOLE - alpha_thousandths) // shared, _WHOLE // shared
    scale = largest**power << (WEIGHT_BITS * degree)
    weights = [
        floor_root(scale // source.words**power, degree) if source.words else 1 << WEIGHT_BITS for source in sources
    ]
    # `sum_weighted` adds up the whole and the fractional parts of the weights apart.
    whole = sum(source.words * (weight >> WEIGHT_BITS) for source, weight in zip(sources, weights, strict=True))
    parts = sum(source.words * (weight % (1 << WEIGHT_BITS)) for source, weight in zip(sources, weights, strict=True))
    if whole + (parts >> WEIGHT_BITS) + 1 >= _LIMIT or parts + (1 << WEIGHT_BITS) >= _LIMIT:
        raise ConfigError(
            "the weighted word counts are too large for 63 bits",
            path="tokenizer.alpha",
            expected=f"fewer than {_LIMIT} words after weighting",
            found=f"{whole} words in {len(sources)} sources, the largest of {largest}",
            action="raise tokenizer.alpha, or leave it out",
        )
    return np.array(weights, np.int64)


def explain_idle_alpha(names: Sequence[str], alpha: float) -> str | None:
    """A warning where weighing changes nothing because all text counts as one source; `None` where it does not.

    Args:
        names: The sources of the word counts.
        alpha: As the run file has it.
    """
    if alpha == 1 or len(names) != 1:
        return None
    if names[0] == ALL_SOURCES:
        why = (
            f"there are more than {MAX_SOURCES:,} sources, so all text counts as one: name fewer by input.source_field"
        )
    else:
        why = f"all text is of one source, {names[0]!r}: set input.source_field, or give each language its own pattern"
    return f"tokenizer.alpha = {alpha:g} changes nothing, since {why}"


def floor_root(value: int, degree: int) -> int:
    """The largest whole number whose `degree`-th power is at most `value`, exactly; it must be below 2^1000."""
    # A guess from logarithms is next to the root of any weight; the root of a larger number is found by halving.
    # Newton's steps from a power of two would take some `degree` rounds.
    guess = int(2.0 ** (math.log2(value) / degree))
    low, high = max(0, guess - 1), guess + 2
    while low**degree > value:
        low //= 2
    while high**degree <= value:
        high *= 2
    while high - low > 1:
        middle = (low + high) // 2
        if middle**degree <= value:
            low = middle
        else:
            high = middle
    return low
