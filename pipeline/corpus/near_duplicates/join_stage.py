"""Connected components by alternating large and small stars, one partition of the documents at a time.

Kiveris and others, "Connected components in MapReduce and beyond", SoCC 2014. A large star at a document moves each of
its later neighbours to the first of all of them, itself included; a small star moves the earlier ones, and itself. Both
keep what is connected, and when neither changes anything, each document leads straight to the first of its component.
The number of rounds grows with the logarithm of the longest chain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.corpus.exchange import CorpusContext
from maskmill.pipeline.corpus.near_duplicates.match_stage import point_both_ways
from maskmill.pipeline.corpus.near_duplicates.plan import JoinUnit
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

CHANGED = "changed"
"""Count of the edges that a unit has moved."""


def join_documents(context: CorpusContext, unit: JoinUnit) -> UnitOutcome[RecordDetails]:
    """Move the edges of one partition; the unit of the join stage.

    Raises:
        ShardCorruptError: The edges are not what the units before wrote.
        StaleArtifactError: They are gone.
    """
    changed = 0

    def iter_pieces() -> Iterator[tuple[Records, npt.NDArray[np.int64]]]:
        nonlocal changed
        for read in Partition(context.output, unit.source, unit.partition).passes(1, is_hashed=False):
            for edges, number in make_stars(read, is_large=unit.is_large):
                changed += number
                yield point_both_ways(edges, unit.source.num_partitions)

    details = write_records(context.output, unit.stage, unit.unit, unit.source.num_partitions, iter_pieces())
    return UnitOutcome([], {CHANGED: changed}, details)


JOIN: Stage[CorpusContext, JoinUnit, RecordDetails] = Stage(
    "join near duplicates", "joining near duplicates to clusters", JoinUnit, RecordDetails, join_documents
)


def make_stars(read: Callable[[], Iterator[Records]], *, is_large: bool) -> Iterator[tuple[Records, int]]:
    """Move the edges of some documents.

    Args:
        read: Gives all edges from these documents, in chunks, each time that it is called.
        is_large: Which star.

    Returns:
        New edges, in one direction, and how many of them are not as they were.
    """
    nearest = no_records()
    for edges in read():
        nearest = keep_firsts(np.concatenate([nearest, edges]), [1], [2, 3])
    least = np.where(is_before(nearest[:, 2:], nearest[:, :2])[:, None], nearest[:, 2:], nearest[:, :2])
    for edges in read():
        own, other = edges[:, :2], edges[:, 2:]
        moved = edges[is_before(own, other) if is_large else is_before(other, own)]
        targets = least[np.searchsorted(nearest[:, 1], moved[:, 1])]
        if is_large:
            yield np.column_stack([moved[:, 2:], targets]), int((targets[:, 1] != moved[:, 1]).sum())
        else:
            changes = targets[:, 1] != moved[:, 3]
            yield np.column_stack([moved[:, 2:], targets])[changes], int(changes.sum())
    if not is_large:
        leads = least[:, 1] != nearest[:, 1]
        yield np.column_stack([nearest[:, :2], least])[leads], 0


def is_before(one: Records, other: Records) -> npt.NDArray[np.bool_]:
    """Whether documents, `(N, 2)` place and number, come before others."""
    before: npt.NDArray[np.bool_] = (one[:, 0] < other[:, 0]) | ((one[:, 0] == other[:, 0]) & (one[:, 1] < other[:, 1]))
    return before
