"""Tell each group of shards which of its documents to drop, and find the largest clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from maskmill.pipeline.corpus.exchange import CorpusContext
from maskmill.pipeline.corpus.near_duplicates.join_stage import is_before
from maskmill.pipeline.corpus.near_duplicates.numbered_shards import ROW_BITS
from maskmill.pipeline.corpus.near_duplicates.plan import LocateUnit
from maskmill.pipeline.corpus.near_duplicates.records import (
    Partition,
    RecordDetails,
    Records,
    keep_firsts,
    no_records,
    write_records,
)
from maskmill.pipeline.engine.stage import Stage
from maskmill.pipeline.engine.units import UnitOutcome
from maskmill.schemas.counting import Count
from maskmill.schemas.receipt import Items, UInt64

LARGEST_CLUSTERS = 100
SHOWN_MEMBERS = 5
"""Documents of a cluster that the report shows, the one that stays among them."""


class Cluster(BaseModel):
    """Documents that are near duplicates.

    Attributes:
        place: Where the first of them was read.
        number: Its number.
        size: All of them.
        members: Numbers of the next ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    place: UInt64
    number: UInt64
    size: Count
    members: Annotated[Items[UInt64], Field(max_length=SHOWN_MEMBERS)]

    @property
    def rank(self) -> tuple[int, int, int]:
        """Sort key: the largest first, then the earliest."""
        return -self.size, self.place, self.number


class LocateDetails(RecordDetails):
    """Where the records are, and the largest clusters of the unit.

    Attributes:
        largest: In order of their sizes.
    """

    largest: Items[Cluster]


def locate_documents(context: CorpusContext, unit: LocateUnit) -> UnitOutcome[LocateDetails]:
    """Write the numbers of the documents to drop by group of shards; the unit of the locate stage.

    Raises:
        ShardCorruptError: The edges are not what the join stage wrote.
        StaleArtifactError: They are gone.
    """
    largest: list[Cluster] = []
    first_shards = np.array(unit.first_shards, np.uint64)
    counts = {"near_duplicates": 0, "clusters": 0}

    def iter_pieces() -> Iterator[tuple[Records, npt.NDArray[np.int64]]]:
        for read in Partition(context.output, unit.source, unit.partition).passes(1, is_hashed=False):
            for edges in read():
                dropped = edges[is_before(edges[:, 2:], edges[:, :2])]
                counts["near_duplicates"] += len(dropped)
                shards = dropped[:, 1] >> np.uint64(ROW_BITS)
                yield dropped, np.searchsorted(first_shards, shards, side="right") - 1
            found, number = find_largest(read)
            counts["clusters"] += number
            largest.extend(found)

    details = write_records(context.output, unit.stage, unit.unit, len(unit.first_shards), iter_pieces())
    top = sorted(largest, key=lambda cluster: cluster.rank)[:LARGEST_CLUSTERS]
    return UnitOutcome([], counts, LocateDetails(**details.model_dump(), largest=top))


LOCATE: Stage[CorpusContext, LocateUnit, LocateDetails] = Stage(
    "locate near duplicates", "looking up where near duplicates are", LocateUnit, LocateDetails, locate_documents
)


def find_largest(read: Callable[[], Iterator[Records]]) -> tuple[list[Cluster], int]:
    """The largest of the clusters whose first document is among some documents, and how many clusters there are.

    Args:
        read: Gives all final edges from these documents, in chunks, each time that it is called.
    """
    sizes = no_records()
    for edges in read():
        firsts = edges[is_before(edges[:, :2], edges[:, 2:])]
        sizes = _add_sizes(np.concatenate([sizes, np.column_stack([firsts[:, :2], np.ones_like(firsts[:, :2])])]))
    top = sizes[np.lexsort([sizes[:, 1], sizes[:, 0], ~sizes[:, 2]])][:LARGEST_CLUSTERS]
    numbers = np.sort(top[:, 1])
    members: dict[int, Records] = {}
    for edges in read():
        found = np.searchsorted(numbers, edges[:, 1])
        inside = (
            edges[(found < len(numbers)) & (numbers[np.minimum(found, len(numbers) - 1)] == edges[:, 1])]
            if len(numbers)
            else edges[:0]
        )
        for number in np.unique(inside[:, 1]).tolist():
            own = np.concatenate([members.get(number, no_records()), inside[inside[:, 1] == number]])
            members[number] = keep_firsts(own, [2, 3], [])[: SHOWN_MEMBERS - 1]
    clusters = [
        Cluster(place=place, number=number, size=size + 1, members=members[number][:, 3].tolist())
        for place, number, size, _ in top.tolist()
    ]
    return clusters, len(sizes)


def _add_sizes(parts: Records) -> Records:
    """Records of place, number, size and nothing, one for each number."""
    order = np.argsort(parts[:, 1], kind="stable")
    _, starts = np.unique(parts[order, 1], return_index=True)
    added = parts[order[starts]]
    if len(parts):
        added[:, 2] = np.add.reduceat(parts[order, 2], starts)
    return added
