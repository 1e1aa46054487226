"""What became of the documents of each source, in the manifest of documents."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from maskmill.schemas.counting import Count, LateCount, LateCounts, Written

MAX_SOURCES = 1000
"""Sources that are counted apart: if there are more, all documents are counted together."""
MAX_SOURCE_CHARACTERS = 200
"""Of a source's name; sources whose names begin alike up to there are counted together."""
MAX_LENGTHS = 48
"""Powers of two that the length of a text may have."""


class SourceCounts(Written):
    """The documents of one source.

    Attributes:
        source: Its name; "" for all documents together where there are more than 1,000 sources.
        read: Documents found; = written + held_out + duplicates + near_duplicates + quarantined + filtered.
        written: Documents in the document shards to train on.
        held_out: Documents in the held-out shards.
        duplicates: Documents left out because another one, maybe of another source, has the same text.
        quarantined: Rejected documents, counted under the source that their file gives.
        text_bytes: UTF-8 bytes of the texts that are written or held out.
        characters: Code points of these.
        lengths: How many of these texts have 2^k to 2^(k + 1) - 1 bytes, for k from 0; zeros at the end left out.
        near_duplicates: Documents left out because an earlier one is almost the same.
        filtered: Documents that a filter has dropped.
        filtered_by_reason: Number by filter and reason; the numbers add up to `filtered`.
        repaired: Documents whose characters were repaired, whatever became of them afterwards.
        languages: Documents by the language that the filter `language` has found, whatever became of them afterwards.
    """

    source: str
    read: Count
    written: Count
    held_out: Count
    duplicates: Count
    quarantined: Count
    text_bytes: Count
    characters: Count
    lengths: Annotated[tuple[Count, ...], Field(max_length=MAX_LENGTHS)]
    near_duplicates: LateCount = 0
    filtered: LateCount = 0
    filtered_by_reason: LateCounts = Field(default_factory=dict)
    repaired: LateCount = 0
    languages: LateCounts = Field(default_factory=dict)

    @property
    def kept(self) -> int:
        """Documents written or held out."""
        return self.written + self.held_out

    @model_validator(mode="after")
    def _nothing_is_lost(self) -> SourceCounts:
        left_out = self.duplicates + self.near_duplicates + self.quarantined + self.filtered
        if self.read != self.kept + left_out:
            raise ValueError(
                f"{self.read} documents read of source {self.source!r}, {self.kept + left_out} accounted for"
            )
        if sum(self.filtered_by_reason.values()) != self.filtered:
            raise ValueError(f"the reasons do not add up to the filtered documents of source {self.source!r}")
        if sum(self.lengths) != self.kept:
            raise ValueError(f"the lengths are not those of {self.kept} documents of source {self.source!r}")
        if not self.kept <= self.characters <= self.text_bytes <= 4 * self.characters:
            raise ValueError(f"{self.characters} characters of {self.text_bytes} bytes in source {self.source!r}")
        if max(self.repaired, sum(self.languages.values())) > self.read:
            raise ValueError(f"more documents are looked at than read of source {self.source!r}")
        return self
