"""Records of four words, exchanged between the units of one stage and those of the next by partition.

A unit writes its records as an Arrow file of runs of bounded size. A run has one record batch for each partition, and
the receipt says where each is. A unit of the next stage reads the batches of its own partition from all files. What
does not fit into memory at once is read in several passes, each with the records of another interval of a hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, model_validator

from maskmill.pipeline.corpus.hash_documents import assign_to_intervals
from maskmill.pipeline.engine.receipts import read_left_receipt
from maskmill.pipeline.keyed_order import mix_64
from maskmill.pipeline.storage.arrow_batches import read_block
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.counting import Count
from maskmill.schemas.errors import StaleArtifactError
from maskmill.schemas.layout import NEAR_DUPLICATES
from maskmill.schemas.receipt import Details, Items, UInt32, UInt64

RECORD_WORDS = 4
RECORD_SCHEMA = pa.schema([pa.field(f"word_{number}", pa.uint64(), nullable=False) for number in range(RECORD_WORDS)])
RECORD_BYTES = 8 * RECORD_WORDS
MAX_RUN_RECORDS = 1 << 20
"""Records that a unit gathers before it writes them: 32 MiB, and as much again to sort them."""
MAX_PASS_RECORDS = 1 << 20
"""Records that a unit holds at a time: 32 MiB, and up to twelve times as much to join or match them."""

Records = npt.NDArray[np.uint64]
"""`(N, 4)` uint64."""


class RecordDetails(Details):
    """Where the records of each partition are in the file of a unit: one value for each record batch, run by run.

    Attributes:
        rows: Records.
        offsets: Where it begins in the file, in bytes.
        lengths: In bytes.
        checksums: xxh3-64.
    """

    rows: Items[Count]
    offsets: Items[Count]
    lengths: Items[UInt32]
    checksums: Items[UInt64]

    @model_validator(mode="after")
    def _are_of_the_same_batches(self) -> RecordDetails:
        if len({len(self.rows), len(self.offsets), len(self.lengths), len(self.checksums)}) > 1:
            raise ValueError("its lists differ in length")
        return self


class _PlacesAlone(RecordDetails):
    """Those of any stage that writes records."""

    model_config = ConfigDict(extra="ignore")


class _Batch(NamedTuple):
    path: str
    number: int
    rows: int
    offset: int
    length: int
    checksum: int


def records_path(stage: str, unit: int) -> str:
    """Where a unit's records are."""
    return f"{NEAR_DUPLICATES}/{stage}/{unit:06d}.arrow"


def write_records(
    output: Store,
    stage: str,
    unit: int,
    num_partitions: int,
    pieces: Iterable[tuple[Records, npt.NDArray[np.int64]]],
) -> RecordDetails:
    """Write the records of a unit.

    Args:
        output: Of the run.
        stage: The unit's.
        unit: Its number.
        num_partitions: Units of the next stage.
        pieces: Records, and `(N,)` the partition of each.
    """
    rows: list[int] = []

    def iter_batches() -> Iterator[pa.RecordBatch]:
        for run, partition in _gather_runs(pieces):
            order = np.argsort(partition, kind="stable")
            bounds = np.searchsorted(partition[order], np.arange(num_partitions + 1))
            run = run[order]
            for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
                rows.append(stop - start)
                columns = [pa.array(np.ascontiguousarray(run[start:stop, word])) for word in range(RECORD_WORDS)]
                yield pa.record_batch(columns, schema=RECORD_SCHEMA)

    written = write_blocks(output, records_path(stage, unit), RECORD_SCHEMA, iter_batches())
    return RecordDetails(
        rows=rows, offsets=written.block_offsets, lengths=written.block_lengths, checksums=written.block_checksums
    )


def _gather_runs(
    pieces: Iterable[tuple[Records, npt.NDArray[np.int64]]],
) -> Iterator[tuple[Records, npt.NDArray[np.int64]]]:
    held: list[tuple[Records, npt.NDArray[np.int64]]] = []
    held_records = 0
    for piece in pieces:
        held.append(piece)
        held_records += len(piece[0])
        if held_records >= MAX_RUN_RECORDS:
            yield np.concatenate([records for records, _ in held]), np.concatenate([numbers for _, numbers in held])
            held, held_records = [], 0
    if held_records:
        yield np.concatenate([records for records, _ in held]), np.concatenate([numbers for _, numbers in held])


class Written(BaseModel):
    """What the units of one stage have written, as the description of a later unit names it.

    Attributes:
        stage: Of these units.
        first_unit: Number of the first of them.
        stop_unit: The one after the last.
        num_partitions: As they were told.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    first_unit: int
    stop_unit: int
    num_partitions: int


class Partition:
    """The records of one partition that the units of a stage have written.

    Args:
        output: Of the run.
        written: The units.
        number: Of the partition.
    """

    def __init__(self, output: Store, written: Written, number: int) -> None:
        self._output = output
        self._batches = list(_iter_batches(output, written, number))

    def passes(self, word: int, *, is_hashed: bool) -> Iterator[Callable[[], Iterator[Records]]]:
        """Divide the records into parts that fit into memory, but for values of which there are many.

        Args:
            word: The number of the word whose equal values stay in one part.
            is_hashed: Whether its values are spread evenly as they are.

        Returns:
            For each part a function that reads it, as often as it is called, in chunks of bounded size.
        """
        num_passes = max(1, -(-sum(batch.rows for batch in self._batches) // MAX_PASS_RECORDS))
        for number in range(num_passes):
            yield partial(self._read_pass, word, number, num_passes, is_hashed)

    def _read_pass(self, word: int, number: int, num_passes: int, is_hashed: bool) -> Iterator[Records]:
        held: list[Records] = []
        for records in self.read():
            chosen = num_passes == 1 or _is_in_pass(records[:, word], number, num_passes, is_hashed)
            held.append(records if chosen is True else records[chosen])
            if sum(map(len, held)) >= MAX_PASS_RECORDS:
                yield np.concatenate(held)
                held = []
        if held:
            yield np.concatenate(held)

    def read(self) -> Iterator[Records]:
        """The records, a bounded number at a time.

        Raises:
            ShardCorruptError: They are not what was written.
            StaleArtifactError: A file is gone.
        """
        for batch in self._batches:
            shown = self._output.locate(batch.path)
            try:
                data = self._output.read_range(batch.path, batch.offset, batch.length)
            except FileNotFoundError:
                raise StaleArtifactError(
                    "records of near duplicates are gone",
                    path=shown,
                    expected="what a unit wrote",
                    found="no file",
                    action="delete work/ in the output, then run the same command again",
                ) from None
            found = read_block(data, RECORD_SCHEMA, batch.checksum, shown, batch.number)
            yield np.column_stack([column.to_numpy() for column in found.columns])


def _is_in_pass(values: npt.NDArray[np.uint64], number: int, num_passes: int, is_hashed: bool) -> npt.NDArray[np.bool_]:
    """By the lower half of the hash: the upper one has decided the partition."""
    hashed = (values if is_hashed else mix_64(values)) << np.uint64(32)
    chosen: npt.NDArray[np.bool_] = assign_to_intervals(hashed, num_passes) == number
    return chosen


def assign_documents(rows: npt.NDArray[np.uint64], num_partitions: int) -> npt.NDArray[np.int64]:
    """The partition of each document, by the number of its row."""
    return assign_to_intervals(mix_64(rows), num_partitions)


def _iter_batches(output: Store, written: Written, number: int) -> Iterator[_Batch]:
    for unit in range(written.first_unit, written.stop_unit):
        details = read_left_receipt(output, written.stage, unit, _PlacesAlone).details
        path = records_path(written.stage, unit)
        for place in range(number, len(details.rows), written.num_partitions):
            if details.rows[place]:
                yield _Batch(
                    path,
                    place,
                    details.rows[place],
                    details.offsets[place],
                    details.lengths[place],
                    details.checksums[place],
                )


def keep_firsts(records: Records, group: Sequence[int], order: Sequence[int]) -> Records:
    """The first record of each group.

    Args:
        records: In any order.
        group: Numbers of the words that are equal within a group; the result is sorted by them.
        order: Numbers of the words that decide which is the first.
    """
    if not len(records):
        return records
    by_group = records[np.lexsort([records[:, word] for word in (*order[::-1], *group[::-1])])]
    return by_group[is_first(by_group, group)]


def is_first(by_group: Records, group: Sequence[int]) -> npt.NDArray[np.bool_]:
    """`(N,)` whether a record is the first of its group, where the records of each group follow each other."""
    first = np.ones(len(by_group), np.bool_)
    first[1:] = (by_group[1:, group] != by_group[:-1, group]).any(axis=1)
    return first


def no_records() -> Records:
    """An empty array of records."""
    return np.empty((0, RECORD_WORDS), np.uint64)
