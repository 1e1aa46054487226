"""`[documents.near_duplicates]`: which documents are left out because another one is almost the same."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any

from pydantic import Field, model_validator

from maskmill.schemas.filters import UNICODE
from maskmill.schemas.section import Section, UInt63

MAX_PERMUTATIONS = 1024


class NearDuplicatesSection(Section):
    """`[documents.near_duplicates]`: documents that are almost the same as an earlier one are left out.

    They are found by MinHash signatures (Broder 1997), cut into bands: two documents whose shingles have the Jaccard
    similarity s are joined with the probability `1 - (1 - s**rows)**bands`, and all that are joined, also by others
    between them, are one cluster. The first of each cluster stays, by the paths of the files and the position in them.
    A table with no key is enough to turn it on: the defaults are those of FineWeb, which join 5 % of the pairs at a
    similarity of 0.5, 56 % at 0.7, 77 % at 0.75, 92 % at 0.8 and 99.96 % at 0.9.
    """

    bands: Annotated[int, Field(ge=1, le=MAX_PERMUTATIONS)] = 14
    """Bands of a signature. More bands find more pairs, and more that are less similar."""
    rows: Annotated[int, Field(ge=1, le=MAX_PERMUTATIONS)] = 8
    """Minima in a band, all of which must be equal. With more rows only documents that are more similar are joined.
    About half of the pairs are joined at a similarity of `(1 / bands)**(1 / rows)`, 0.72 by default."""
    shingle_words: Annotated[int, Field(ge=1, le=64)] = 5
    """Words of a shingle. Words are in lower case and have no punctuation; in Chinese, Japanese, Korean and Thai each
    character is a word. Documents of fewer words are joined only if all of their words are equal."""
    seed: UInt63 = 0
    """Decides the permutations."""

    @model_validator(mode="after")
    def _signatures_are_small(self) -> NearDuplicatesSection:
        if self.num_permutations > MAX_PERMUTATIONS:
            raise ValueError(
                f"bands * rows is the length of a signature, at most {MAX_PERMUTATIONS}, not {self.num_permutations}: "
                "lower one of them"
            )
        return self

    @property
    def num_permutations(self) -> int:
        """Minima of a signature."""
        return self.bands * self.rows

    def probability(self, similarity: float) -> float:
        """How likely two documents of a Jaccard similarity are joined directly."""
        return float(1 - (1 - similarity**self.rows) ** self.bands)

    def fingerprinted(self) -> dict[str, Any]:
        """What decides which documents stay: letters and lower case are as Python's own tables of Unicode say."""
        return self.model_dump(mode="json") | {UNICODE: unicodedata.unidata_version}
