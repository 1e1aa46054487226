"""The stage that counts the words of document shards, each source apart.

    document shards --count--> a file a shard --gather--> a file for 256 of them --merge--> a file a partition

A unit holds `MAX_WORDS` words at most. Its file's record batches go round and round through the hash partitions of
the words: batch `r * WORD_PARTITIONS + p` is partition p of round r. There is more than one round only where there
are more distinct words than a unit may hold. `merge_stage` adds the files up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.engine.stage import Stage
from maskmill.pipeline.engine.units import UnitDescription, UnitOutcome
from maskmill.pipeline.storage.arrow_reader import ArrowFile, open_documents
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.wordpiece.counting.count_words import WordCounter
from maskmill.pipeline.wordpiece.counting.counted_words import MAX_WORDS, PartitionedWords
from maskmill.pipeline.wordpiece.counting.word_counts import ALL_SOURCES, MAX_SOURCES, SourceText
from maskmill.pipeline.wordpiece.counting.word_files import WORD_FILE_SCHEMA, WordFileDetails, write_words
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.schemas.counting import Count
from maskmill.schemas.errors import InputDataError
from maskmill.schemas.layout import WORD_COUNTS, WORDS, tokenizer_folder
from maskmill.schemas.receipt import Details, Items, Receipt
from maskmill.schemas.run_file import TokenizerSection
from maskmill.schemas.wording import count_of


@dataclass(frozen=True)
class CountContext:
    """The context of every unit of the counting stages."""

    output: Store
    normalisation: Normalisation
    folder: str = WORDS
    """Where the files between stages are."""
    counts_path: str = f"{tokenizer_folder('')}/{WORD_COUNTS}"
    """Where the table of all words is written."""
    max_words: int = MAX_WORDS
    """(word, source) pairs that a unit holds at most."""

    def count_path(self, unit: int) -> str:
        """The file of one document shard's words."""
        return f"{self.folder}/count-{unit:06d}.arrow"


class CountUnit(UnitDescription):
    """Count the words of one document shard."""

    stage: str = "count"
    path: str
    checksum: str


class SourceDetails(Details):
    """Totals of each source in one document shard.

    Attributes:
        sources: Name, text bytes, words, letters, letters changed and words changed of each source.
        one_source: Whether they are too many to keep apart.
    """

    sources: Items[tuple[str, Count, Count, Count, Count, Count]]
    one_source: bool


class CountDetails(WordFileDetails, SourceDetails):
    """Totals of one document shard, and the file of its words."""


def normalisation_of(settings: TokenizerSection) -> Normalisation:
    """The normalisation that a run file asks for."""
    return Normalisation(settings.lowercase, settings.strip_accents, settings.handle_chinese_chars)


def plan_count_units(shards: Sequence[tuple[str, str]]) -> list[CountUnit]:
    """A unit for each document shard.

    Args:
        shards: Path and checksum of each.
    """
    return [CountUnit(unit=unit, path=path, checksum=checksum) for unit, (path, checksum) in enumerate(shards)]


def count_document_words(context: CountContext, unit: CountUnit) -> UnitOutcome[CountDetails]:
    """Count the words of one document shard; the unit of the count stage.

    Counts: words and text_bytes.
    """
    documents = open_documents(context.output, unit.path, unit.checksum)
    names = _list_sources(documents)
    is_one = len(names) > MAX_SOURCES
    names = [ALL_SOURCES] if is_one else names
    rounds: list[PartitionedWords] = []
    counter = WordCounter(
        context.normalisation, num_sources=len(names), max_words=context.max_words, spill=rounds.append
    )
    words = np.zeros(len(names), np.int64)

    def count_rounds() -> Iterator[PartitionedWords]:
        for batch in documents.iter_batches():
            counter.add(batch.column("text"), None if is_one else _number_sources(batch.column("source"), names))
            while rounds:
                yield rounds.pop(0)
        yield counter.take()
        yield from rounds  # what the last words pushed out

    def iter_named() -> Iterator[pa.RecordBatch]:
        for partitions in count_rounds():
            for rows in partitions:
                np.add.at(words, rows.column("source").to_numpy(), rows.column("count").to_numpy())
                yield name_sources(rows, names)

    file = write_words(context.output, context.count_path(unit.unit), iter_named())
    numbers = np.column_stack([counter.text_bytes, words, counter.letters, counter.words_changed]).tolist()
    details = CountDetails(
        sources=[(name, *row) for name, row in zip(names, numbers, strict=True)],
        one_source=is_one,
        checksum=file.checksum,
        blocks=file.blocks,
    )
    return UnitOutcome([], {"words": int(words.sum()), "text_bytes": int(counter.text_bytes.sum())}, details)


COUNT = Stage("count words", "counting the words of the documents", CountUnit, CountDetails, count_document_words)


def name_sources(rows: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
    """Rows of `WORD_ROWS_SCHEMA` as rows of `WORD_FILE_SCHEMA`: with names in place of numbers."""
    named = pa.array(names, pa.string()).take(rows.column("source"))
    columns = [rows.column("word"), named, rows.column("count")]
    return pa.RecordBatch.from_arrays(columns, schema=WORD_FILE_SCHEMA)


def sum_sources(receipts: Iterable[Receipt[CountDetails]]) -> tuple[SourceText, ...]:
    """Totals of each source's raw text, from the receipts of the count units in any order.

    Returns:
        Sorted by the UTF-8 bytes of the name; one line named "" where there are too many sources to keep apart.
    """
    totals: dict[str, npt.NDArray[np.int64]] = {}
    is_one = False
    for receipt in receipts:
        is_one = is_one or receipt.details.one_source
        for name, *numbers in receipt.details.sources:
            key = ALL_SOURCES if is_one else name
            totals[key] = totals.get(key, np.zeros(len(numbers), np.int64)) + numbers
        if is_one or len(totals) > MAX_SOURCES:
            is_one = True
            totals = {ALL_SOURCES: np.sum(list(totals.values()), axis=0)}
    return tuple(SourceText(name, *totals[name].tolist()) for name in sorted(totals, key=str.encode))


def check_words(sources: Sequence[SourceText], num_documents: int) -> None:
    """Make sure that there are words to train on.

    Raises:
        InputDataError: No document has a word.
    """
    if not any(source.words for source in sources):
        raise InputDataError(
            "the documents contain no word",
            path="input.paths",
            expected="text to train a vocabulary on",
            found=f"{count_of(num_documents, 'document')} of spaces and control characters alone",
            action="check the files and input.text_field",
        )


def has_one_source(sources: Sequence[SourceText]) -> bool:
    """Whether all words are to be merged under the one name "": what `sum_sources` decided."""
    return [source.source for source in sources] == [ALL_SOURCES]


def _list_sources(documents: ArrowFile) -> list[str]:
    names: set[str] = set()
    for batch in documents.iter_batches():
        names.update(pc.unique(batch.column("source")).to_pylist())
    return sorted(names, key=str.encode)


def _number_sources(sources: pa.Array, names: Sequence[str]) -> npt.NDArray[np.int32]:
    return np.asarray(pc.index_in(sources, pa.array(names, pa.string())), np.int32)
