"""Find the documents that have a band in common: an edge leads from each to the first of them.

An edge is the place and number of one document and those of another. It is written in both directions, partitioned by
the first of its documents.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.corpus.exchange import CorpusContext
from maskmill.pipeline.corpus.near_duplicates.plan import MatchUnit
from maskmill.pipeline.corpus.near_duplicates.records import (
    Partition,
    RecordDetails,
    Records,
    assign_documents,
    is_first,
    keep_firsts,
    no_records,
    write_records,
)
from maskmill.pipeline.engine.stage import Stage
from maskmill.pipeline.engine.units import UnitOutcome

KEY, PLACE, NUMBER = [0, 1], 2, 3
"""Words of a record: two of the band's key, and the document's."""


def match_bands(context: CorpusContext, unit: MatchUnit) -> UnitOutcome[RecordDetails]:
    """Write the edges of one partition of the keys; the unit of the match stage.

    Raises:
        ShardCorruptError: The records are not what the sign stage wrote.
        StaleArtifactError: They are gone.
    """
    num_edges = 0

    def iter_pieces() -> Iterator[tuple[Records, npt.NDArray[np.int64]]]:
        nonlocal num_edges
        for read in Partition(context.output, unit.source, unit.partition).passes(0, is_hashed=True):
            carried = no_records()
            for records in read():
                edges, carried = match_records(np.concatenate([carried, records]))
                num_edges += len(edges)
                yield point_both_ways(edges, unit.num_partitions)

    details = write_records(context.output, unit.stage, unit.unit, unit.num_partitions, iter_pieces())
    return UnitOutcome([], {"edges": num_edges}, details)


MATCH: Stage[CorpusContext, MatchUnit, RecordDetails] = Stage(
    "match bands", "looking for equal bands", MatchUnit, RecordDetails, match_bands
)


def match_records(records: Records) -> tuple[Records, Records]:
    """Edges from each document to the first with the same key, and the first record of each key."""
    order = np.argsort(records[:, 0])  # quick: whole records are compared below, where any of these are equal
    keys = records[order, 0]
    repeated = np.zeros(len(keys), np.bool_)
    repeated[1:] = keys[1:] == keys[:-1]
    repeated[:-1] |= repeated[1:]
    alone, suspects = records[order[~repeated]], records[order[repeated]]
    grouped = suspects[np.lexsort([suspects[:, word] for word in (NUMBER, PLACE, *KEY[::-1])])]
    starts = is_first(grouped, KEY)
    firsts = grouped[starts]
    leading = firsts[np.cumsum(starts) - 1]
    differ = grouped[:, NUMBER] != leading[:, NUMBER]
    edges = np.column_stack([grouped[differ][:, [PLACE, NUMBER]], leading[differ][:, [PLACE, NUMBER]]])
    return edges, np.concatenate([alone, firsts])


def point_both_ways(edges: Records, num_partitions: int) -> tuple[Records, npt.NDArray[np.int64]]:
    """Edges without repetitions, in both directions, and the partition of each."""
    once = keep_firsts(edges, [1, 3], [])
    both = np.concatenate([once, once[:, [2, 3, 0, 1]]])
    return both, assign_documents(both[:, 1], num_partitions)
