"""The stages that turn document shards into one table of words: count each shard, merge by hash partition.

A count unit writes one file whose record batches go round and round through the partitions: batch `r * P + p` is
partition p of round r. There is more than one round only where a shard holds more distinct words than a worker may.
A merge unit reads one partition of every file, so no unit ever holds more than its share of the words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.engine.stage import UnitDescription, UnitOutcome
from pipeline.storage.arrow_files import iter_batches, read_file, write_blocks
from pipeline.storage.store import Store
from pipeline.wordpiece.count_words import WORD_COUNTS_SCHEMA, WordCounter, merge_counts, partition_of_words
from pipeline.wordpiece.normalise import Normalisation
from schemas.run_file import TokenizerSection

WORD_PARTITIONS = 16
FILES_MERGED_AT_ONCE = 16


@dataclass(frozen=True)
class CountContext:
    """What every unit of the counting stages is given."""

    output: Store
    settings: TokenizerSection


class CountUnit(UnitDescription):
    """Count the words of one document shard."""

    stage: str = "count"
    path: str
    checksum: str


class MergeUnit(UnitDescription):
    """Sum the counts of one hash partition over all count units; the unit's number is the partition."""

    stage: str = "merge"
    num_files: int


def normalisation_of(settings: TokenizerSection) -> Normalisation:
    """The normalisation that a run file asks for."""
    return Normalisation(settings.lowercase, settings.strip_accents, settings.handle_chinese_chars)


def count_path(unit: int) -> str:
    """Where the words of one document shard stand."""
    return f"work/words/count-{unit:06d}.arrow"


def merged_path(partition: int) -> str:
    """Where the words of one partition stand."""
    return f"work/words/merged-{partition:03d}.arrow"


def count_document_words(context: CountContext, unit: CountUnit) -> UnitOutcome:
    """Count the words of one document shard; the unit of the count stage."""
    data = context.output.map_file(unit.path)
    reader = read_file(data, unit.checksum, context.output.locate(unit.path))
    spilled: list[pa.Table] = []
    counter = WordCounter(normalisation_of(context.settings), spill=spilled.append)
    for batch in iter_batches(reader):
        counter.add(batch.column("text"))
    spilled.append(counter.finish())
    write_blocks(context.output, count_path(unit.unit), WORD_COUNTS_SCHEMA, _partition_tables(spilled))
    words = sum(int(np.sum(table["count"].to_numpy())) for table in spilled)
    return UnitOutcome([], {"words": words, "text_bytes": counter.num_bytes}, {})


def _partition_tables(tables: Sequence[pa.Table]) -> Iterator[pa.RecordBatch]:
    for table in tables:
        partition = partition_of_words(table["word"], WORD_PARTITIONS)
        for number in range(WORD_PARTITIONS):
            yield one_batch(table.take(pa.array(np.flatnonzero(partition == number))))


def merge_word_counts(context: CountContext, unit: MergeUnit) -> UnitOutcome:
    """Sum one partition over all count units; the unit of the merge stage."""
    merged: list[pa.Table] = []
    for number in range(unit.num_files):
        with context.output.open_input(count_path(number)) as file:
            reader = pa.ipc.open_file(file)
            rounds = range(unit.unit, reader.num_record_batches, WORD_PARTITIONS)
            merged += [pa.Table.from_batches([reader.get_batch(index)]) for index in rounds]
        if len(merged) >= FILES_MERGED_AT_ONCE:
            merged = [merge_counts(merged)]
    table = merge_counts(merged)
    write_blocks(context.output, merged_path(unit.unit), WORD_COUNTS_SCHEMA, [one_batch(table)])
    return UnitOutcome([], {"distinct_words": table.num_rows}, {})


def read_merged(output: Store) -> pa.Table:
    """The words of all partitions, sorted by their UTF-8 bytes."""
    tables = []
    for partition in range(WORD_PARTITIONS):
        data = output.map_file(merged_path(partition))
        tables.append(pa.ipc.open_file(pa.BufferReader(data)).read_all())
    return merge_counts(tables)


def one_batch(table: pa.Table) -> pa.RecordBatch:
    """A table as one record batch, an empty one where it has no rows."""
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
