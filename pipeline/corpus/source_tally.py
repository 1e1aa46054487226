"""Count documents by source in units and add the counts up, for a bounded number of sources.

Up to 1,000 sources are counted apart. A unit that meets more counts all documents together from then on, and so does
whoever adds its counts to others: what the manifest says depends on the documents alone, not on the units.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from maskmill.schemas.counting import Count
from maskmill.schemas.layout import DataSplit
from maskmill.schemas.receipt import Named
from maskmill.schemas.source_counts import MAX_LENGTHS, MAX_SOURCE_CHARACTERS, MAX_SOURCES, SourceCounts

ALL_SOURCES = ""
"""The name under which everything is counted together."""
REASON, LANGUAGE, LENGTH = "filtered: ", "language: ", "length: "
"""Prefixes of names: a filter's reason, a language, a power of two of bytes."""
_PLAIN = [
    name for name in SourceCounts.model_fields if name not in ("source", "lengths", "filtered_by_reason", "languages")
]


class TalliedSources(BaseModel):
    """The counts by source in a receipt.

    Attributes:
        counts: By source and name.
        is_one: Whether there were more sources than are counted apart.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    counts: Named[Named[Count]]
    is_one: bool


class SourceTally:
    """Counts by source and name."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}
        self._is_one = False

    def of(self, source: str) -> Counter[str]:
        """The counts of a source, to add to."""
        name = ALL_SOURCES if self._is_one else source[:MAX_SOURCE_CHARACTERS]
        found = self._counts.get(name)
        if found is not None:
            return found
        if len(self._counts) >= MAX_SOURCES:
            self._count_together()
            return self._counts[ALL_SOURCES]
        return self._counts.setdefault(name, Counter())

    def add(self, sources: Iterable[str], name: str) -> None:
        """Count a document of each of these sources."""
        for source, number in Counter(sources).items():
            self.of(source)[name] += number

    def add_texts(self, documents: pa.Table | pa.RecordBatch, name: str) -> None:
        """Count documents with their sizes.

        Args:
            documents: With the columns `source` and `text`, N rows.
            name: What has become of them.
        """
        if not documents.num_rows:
            return
        table = documents if isinstance(documents, pa.Table) else pa.Table.from_batches([documents])
        encoded = table.column("source").combine_chunks().dictionary_encode()
        number = encoded.indices.to_numpy()
        names = encoded.dictionary.to_pylist()
        num_bytes = pc.binary_length(table.column("text")).to_numpy().astype(np.int64)
        characters = pc.utf8_length(table.column("text")).to_numpy().astype(np.int64)
        power = np.minimum(np.frexp(num_bytes.astype(np.float64))[1] - 1, MAX_LENGTHS - 1)
        lengths = np.bincount(number * MAX_LENGTHS + power, minlength=len(names) * MAX_LENGTHS)
        # Sums below 2^53 are exact in the float64 that bincount adds in.
        sums = [np.bincount(number, weights=one, minlength=len(names)).tolist() for one in (num_bytes, characters)]
        for place, source in enumerate(names):
            own = self.of(source)
            of_source = lengths[place * MAX_LENGTHS : (place + 1) * MAX_LENGTHS]
            own[name] += int(of_source.sum())
            own["text_bytes"] += int(sums[0][place])
            own["characters"] += int(sums[1][place])
            for length in np.flatnonzero(of_source).tolist():
                own[f"{LENGTH}{length}"] += int(of_source[length])

    def merge(self, tallied: TalliedSources) -> None:
        """Add the counts of a unit."""
        if tallied.is_one:
            self._count_together()
        for source, counts in tallied.counts.items():
            self.of(source).update(counts)

    def tallied(self) -> TalliedSources:
        """The counts for a receipt."""
        counts = {source: {name: number for name, number in own.items() if number} for source, own in self._sorted()}
        return TalliedSources(counts=counts, is_one=self._is_one)

    def summarise(self) -> list[dict[str, Any]]:
        """The fields of `SourceCounts` for a manifest, in the order of the sources' names."""
        return [_summarise(source, own) for source, own in self._sorted()]

    def _sorted(self) -> list[tuple[str, Counter[str]]]:
        return sorted(self._counts.items())

    def _count_together(self) -> None:
        if not self._is_one:
            together = Counter[str]()
            for own in self._counts.values():
                together.update(own)
            self._counts, self._is_one = {ALL_SOURCES: together}, True


def count_of_split(split: DataSplit) -> str:
    """The name under which documents of a split are counted."""
    return "held_out" if split.is_held_out else "written"


def sum_sources(tallied: TalliedSources) -> Counter[str]:
    """The counts of all sources together."""
    total = Counter[str]()
    for counts in tallied.counts.values():
        total.update(counts)
    return total


def _summarise(source: str, own: Mapping[str, int]) -> dict[str, Any]:
    lengths = [own.get(f"{LENGTH}{power}", 0) for power in range(MAX_LENGTHS)]
    num_lengths = max((power + 1 for power, number in enumerate(lengths) if number), default=0)
    return {
        "source": source,
        **{name: own.get(name, 0) for name in _PLAIN},
        "lengths": lengths[:num_lengths],
        "filtered_by_reason": _named(REASON, own),
        "languages": _named(LANGUAGE, own),
    }


def _named(prefix: str, own: Mapping[str, int]) -> dict[str, int]:
    return {name.removeprefix(prefix): number for name, number in sorted(own.items()) if name.startswith(prefix)}
