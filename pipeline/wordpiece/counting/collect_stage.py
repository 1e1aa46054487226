"""The stage that writes the merged counts as one table to keep, and the check whether an existing table can be used."""

from __future__ import annotations

from maskmill.pipeline.engine.stage import Stage
from maskmill.pipeline.engine.units import UnitDescription, UnitOutcome
from maskmill.pipeline.storage.checksums import hash_file
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.wordpiece.counting.count_stage import CountContext
from maskmill.pipeline.wordpiece.counting.merge_stage import iter_merged
from maskmill.pipeline.wordpiece.counting.word_counts import SourceText, WordCounts, write_word_counts
from maskmill.pipeline.wordpiece.counting.word_files import ChecksumDetails
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.schemas.errors import ConfigError, ShardCorruptError


class CollectUnit(UnitDescription):
    """Write `word_counts.parquet` from the merged partitions.

    Attributes:
        corpus: Digest of the documents that were counted.
        checksums: xxh3-128 of the file of each merged partition.
        sources: The fields of a `SourceText` for each source.
    """

    stage: str = "collect"
    corpus: str
    checksums: tuple[str, ...]
    sources: tuple[tuple[str, int, int, int, int, int], ...]


def collect_word_counts(context: CountContext, unit: CollectUnit) -> UnitOutcome[ChecksumDetails]:
    """Write the table, a partition at a time; the one unit of the collect stage."""
    checksum = write_word_counts(
        context.output,
        context.counts_path,
        iter_merged(context, unit.checksums),
        corpus=unit.corpus,
        normalisation=context.normalisation,
        sources=[SourceText(*source) for source in unit.sources],
    )
    return UnitOutcome([], {}, ChecksumDetails(checksum=checksum))


COLLECT = Stage(
    "write word counts", "writing the counts of all words", CollectUnit, ChecksumDetails, collect_word_counts
)


def find_word_counts(output: Store, path: str, corpus: str, normalisation: Normalisation) -> str | None:
    """The xxh3-128 of the word counts at a path, if they are of these documents and this normalisation."""
    try:
        counts = WordCounts.open(output, path)
    except (FileNotFoundError, ShardCorruptError, ConfigError):  # counting again replaces them
        return None
    if (counts.corpus, counts.normalisation) != (corpus, normalisation):
        return None
    with output.open_input(path) as file:
        return hash_file(file, output.locate(path))
