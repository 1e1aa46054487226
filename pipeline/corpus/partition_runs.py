"""Partitioning a map unit's documents by hash: for every run one record batch a bucket.

So a bucket's documents, taken object by object and run by run, are in the order of (file, line), and of exact
duplicates the first is the one that stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maskmill.pipeline.corpus.hash_documents import assign_to_intervals
from maskmill.pipeline.corpus.plan_map_units import MapUnit


@dataclass(frozen=True)
class DocumentRun:
    """Documents that are partitioned together.

    Attributes:
        documents: `(N,)` with their hashes.
        order: `(M,)` those that stay, in the order of (file, line).
        held_out: `(N,)` bool.
    """

    documents: pa.RecordBatch
    order: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.bool_]


@dataclass
class WrittenBatches:
    """What the record batches of an object hold, one value for each, and how many make a run."""

    buckets: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)


def partition_runs(runs: Iterable[DocumentRun], unit: MapUnit, written: WrittenBatches) -> Iterator[pa.RecordBatch]:
    """Record batches of one bucket each, in the order of the buckets within a run.

    Args:
        runs: The unit's documents.
        unit: Says how many buckets there are.
        written: Filled with what the batches hold.
    """
    for run in runs:
        high = run.documents.column("hash_high").to_numpy()
        bucket = np.where(
            run.held_out,
            unit.num_buckets + assign_to_intervals(high, max(1, unit.num_held_out_buckets)),
            assign_to_intervals(high, unit.num_buckets),
        )[run.order]
        order = np.argsort(bucket, kind="stable")
        numbers, starts = np.unique(bucket[order], return_index=True)
        stops = [*starts[1:].tolist(), len(order)]
        written.runs.append(len(numbers))
        for number, start, stop in zip(numbers.tolist(), starts.tolist(), stops, strict=True):
            rows = run.order[order[start:stop]]
            written.buckets.append(number)
            written.rows.append(len(rows))
            yield run.documents.take(pa.array(rows))
