"""The stages that add counts up: gather count files where they are many, then merge each hash partition.

What 10 TB of text means: 160,000 count files of 64 MB of text each. Were each merge unit to read its partition of every
one, that would be millions of small reads. So 625 gather units read 256 count files each, whole and once, and write one
file each, in a few rounds (an estimated 10 to 20 million distinct words of 16 GB of text, 4 million a round), parted
more finely: into 256 partitions. A merge unit then reads 625 files' batches of its partition. It holds that one
partition, nothing else: every row is added to a table, so a word that is there already is never grouped or sorted
again. A thousand million distinct words would be 4 million a partition, about 0.4 GB at the peak.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa

from maskmill.pipeline.engine.stage import Stage
from maskmill.pipeline.engine.units import UnitDescription, UnitOutcome
from maskmill.pipeline.wordpiece.counting.count_stage import CountContext, name_sources
from maskmill.pipeline.wordpiece.counting.count_words import sort_words
from maskmill.pipeline.wordpiece.counting.counted_words import WORD_PARTITIONS, CountedWords, PartitionedWords
from maskmill.pipeline.wordpiece.counting.pack_words import WORD_ROWS_SCHEMA
from maskmill.pipeline.wordpiece.counting.word_counts import ALL_SOURCES, MAX_SOURCES, WORD_COUNTS_SCHEMA, SourceText
from maskmill.pipeline.wordpiece.counting.word_files import (
    Block,
    ChecksumDetails,
    WordFile,
    WordFileDetails,
    open_words,
    read_words,
    write_words,
)
from maskmill.schemas.errors import ShardCorruptError
from maskmill.schemas.receipt import Receipt

FILES_GATHERED = 256
"""Count files that one gather unit adds up; with no more than these there is nothing to gather."""
GATHERED_PARTITIONS = 256
"""Hash partitions where counts are gathered first: so many words are parted more finely."""
_ROWS_A_BATCH = 1 << 16


class MergeDetails(ChecksumDetails):
    """The file of one partition."""

    counted: ClassVar[frozenset[str]] = frozenset({"words"})


class GatherUnit(UnitDescription):
    """Add up some count files; all words are one source's where `one_source` says so.

    Attributes:
        first_file: The first of them.
        checksums: xxh3-128 of each.
    """

    stage: str = "gather"
    first_file: int
    checksums: tuple[str, ...]
    one_source: bool


class MergeUnit(UnitDescription):
    """Add up one hash partition of all files; the unit's number is the partition.

    Attributes:
        gathered: Whether they were gathered.
        files: Of each file, the record batches of the partition.
        num_partitions: Their distance in it.
    """

    stage: str = "merge"
    gathered: bool
    files: tuple[tuple[Block, ...], ...]
    num_partitions: int
    one_source: bool


def plan_gather_units(files: Iterable[WordFile], num_files: int, one_source: bool) -> list[GatherUnit]:
    """A unit for every `FILES_GATHERED` count files, none where these are all.

    Args:
        files: The count files; of each only the checksum is kept.
        num_files: How many they are.
        one_source: What `has_one_source` says.
    """
    if num_files <= FILES_GATHERED:
        return []
    checksums = [file.checksum for file in files]
    return [
        GatherUnit(
            unit=unit,
            first_file=first_file,
            checksums=tuple(checksums[first_file : first_file + FILES_GATHERED]),
            one_source=one_source,
        )
        for unit, first_file in enumerate(range(0, num_files, FILES_GATHERED))
    ]


def plan_merge_units(files: Sequence[WordFile], one_source: bool, *, gathered: bool) -> list[MergeUnit]:
    """A unit for each partition.

    Args:
        files: The gathered files, or where nothing was gathered the count files.
        one_source: What `has_one_source` says.
        gathered: Which of the two.
    """
    num_partitions = GATHERED_PARTITIONS if gathered else WORD_PARTITIONS
    return [
        MergeUnit(
            unit=partition,
            gathered=gathered,
            files=tuple(file.blocks[partition::num_partitions] for file in files),
            num_partitions=num_partitions,
            one_source=one_source,
        )
        for partition in range(num_partitions)
    ]


def gather_word_counts(context: CountContext, unit: GatherUnit) -> UnitOutcome[WordFileDetails]:
    """Add up some count files, whole; the unit of the gather stage."""
    rounds: list[PartitionedWords] = []
    words = CountedWords(max_words=context.max_words, num_partitions=GATHERED_PARTITIONS, spill=rounds.append)
    numbers = _SourceNumbers(unit.one_source)
    num_words = 0

    def iter_rounds() -> Iterator[PartitionedWords]:
        nonlocal num_words
        for number, checksum in enumerate(unit.checksums, start=unit.first_file):
            for batch in open_words(context.output, context.count_path(number), checksum).iter_batches():
                num_words += numbers.add_rows(words, batch)
                while rounds:
                    yield rounds.pop(0)
        yield words.take()

    batches = (name_sources(rows, numbers.names) for partitions in iter_rounds() for rows in partitions)
    file = write_words(context.output, gathered_path(context, unit.unit), batches)
    return UnitOutcome([], {"words": num_words}, file)


GATHER = Stage("gather counts", "adding up counts of words", GatherUnit, WordFileDetails, gather_word_counts)


def merge_word_counts(context: CountContext, unit: MergeUnit) -> UnitOutcome[MergeDetails]:
    """Add up one partition of all files; the unit of the merge stage."""
    words = CountedWords()
    numbers = _SourceNumbers(unit.one_source)
    num_words = 0
    for number, blocks in enumerate(unit.files):
        path = gathered_path(context, number) if unit.gathered else context.count_path(number)
        for turn, block in enumerate(blocks):
            rows_of_file = read_words(context.output, path, block, turn * unit.num_partitions + unit.unit)
            num_words += numbers.add_rows(words, rows_of_file)
    rows = pa.Table.from_batches(words.take(), WORD_ROWS_SCHEMA)
    del words
    rows, names = numbers.order_by_name(rows)
    merged = sort_words(rows).combine_chunks().to_batches(_ROWS_A_BATCH)
    batches = (name_sources(batch, names) for batch in merged)
    file = write_words(context.output, merged_path(context, unit.unit), batches)
    counts = {"words": num_words, "distinct_words": rows.num_rows}
    return UnitOutcome([], counts, MergeDetails(checksum=file.checksum))


MERGE = Stage("merge counts", "adding up counts of words", MergeUnit, MergeDetails, merge_word_counts)


def iter_merged(context: CountContext, checksums: Sequence[str]) -> Iterator[pa.Table]:
    """The merged partitions in order, as `write_word_counts` takes them; one in memory at a time.

    Raises:
        ShardCorruptError: One has not its checksum.
    """
    for partition, checksum in enumerate(checksums):
        rows = open_words(context.output, merged_path(context, partition), checksum).read_all()
        yield rows.set_column(1, "source", rows["source"].dictionary_encode()).cast(WORD_COUNTS_SCHEMA)


def check_words_kept(sources: Iterable[SourceText], merged: Iterable[Receipt[MergeDetails]]) -> None:
    """Compare the words counted with the words merged: none may be lost.

    Raises:
        ShardCorruptError: They differ.
    """
    counted = sum(source.words for source in sources)
    found = sum(receipt.counts["words"] for receipt in merged)
    if counted != found:
        raise ShardCorruptError(
            "the merged words are not those that were counted",
            path="the files between the stages count and merge",
            expected=f"{counted} words",
            found=f"{found}",
            action="delete the folder work in the output and run the same command again",
        )


def gathered_path(context: CountContext, unit: int) -> str:
    """The file of one gather unit's words."""
    return f"{context.folder}/gathered-{unit:06d}.arrow"


def merged_path(context: CountContext, partition: int) -> str:
    """The file of one partition's words."""
    return f"{context.folder}/merged-{partition:03d}.arrow"


class _SourceNumbers:
    """Numbers sources as their names come."""

    def __init__(self, one_source: bool) -> None:
        self._one_source = one_source
        self._number_of: dict[str, int] = {}

    @property
    def names(self) -> Sequence[str]:
        """The name of each number."""
        return list(self._number_of)

    def add_rows(self, words: CountedWords, rows: pa.RecordBatch) -> int:
        """Add rows of `WORD_FILE_SCHEMA`; returns how many words they count."""
        counts = rows.column("count").to_numpy()
        if counts.min(initial=1) < 1:
            raise _refuse_rows("a word is counted less than once")
        encoded = rows.column("source").dictionary_encode()
        numbers = np.array([self._number(name) for name in encoded.dictionary.to_pylist()], np.int32)
        words.add_rows(rows.column("word"), numbers[encoded.indices.to_numpy()], counts)
        return int(counts.sum())

    def order_by_name(self, rows: pa.Table) -> tuple[pa.Table, list[str]]:
        """The rows with sources numbered in the order of their names' UTF-8 bytes, and these names."""
        names = sorted(self._number_of, key=str.encode)
        rank = np.zeros(len(names), np.int32)
        rank[[self._number_of[name] for name in names]] = np.arange(len(names))
        ranks = pa.array(rank).take(rows["source"].combine_chunks())
        return rows.set_column(1, WORD_ROWS_SCHEMA.field("source"), ranks), names

    def _number(self, name: str) -> int:
        number = self._number_of.setdefault(ALL_SOURCES if self._one_source else name, len(self._number_of))
        if number > MAX_SOURCES:  # a table of words has no more bits for it
            raise _refuse_rows(f"more than {MAX_SOURCES} sources")
        return number


def _refuse_rows(found: str) -> ShardCorruptError:
    return ShardCorruptError(
        "the words that a unit wrote have changed",
        path="the files between the stages count and merge",
        found=found,
        action="delete the folder work in the output and run the same command again",
    )
