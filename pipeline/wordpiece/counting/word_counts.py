"""`word_counts.parquet`: the counts of each word in each source, kept so that another vocabulary needs no second pass.

A row is a (word, source) pair that occurs. Rows are in hash partitions, a row group each, so that a table of any size
is written with one partition in memory; within a partition they are sorted by the UTF-8 bytes of the word, then of the
source. All rows of a word are in one partition (`unpack_words` says which), and are read in one piece of it, so what is
summed over sources needs no second look. What the numbers belong to is in the file's metadata.

Whoever publishes the file decides what its bytes state, so footer and pages are checked before pyarrow reads them, and
no more rows are read at a time than fit into `PIECE_BYTES`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.lib import ArrowInvalid

from maskmill.pipeline.storage.hashing_sink import HashingSink
from maskmill.pipeline.storage.regular_files import MAX_TEXT_BYTES
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.wordpiece.counting.parquet_footer import Partition, read_footer
from maskmill.pipeline.wordpiece.counting.parquet_pages import measure_partition
from maskmill.pipeline.wordpiece.counting.word_arrays import flatten_words, mark_first_rows
from maskmill.pipeline.wordpiece.files.normalise import Normalisation
from maskmill.schemas.bounded_json import parse_json
from maskmill.schemas.errors import ShardCorruptError
from maskmill.schemas.version import SCHEMA_VERSION, check_schema_version

MAX_SOURCES = 1000
"""Sources that are kept apart; a corpus with more is counted as one source."""
ALL_SOURCES = ""
"""The name of that one source."""

WORD_COUNTS_SCHEMA = pa.schema(
    [
        pa.field("word", pa.string(), nullable=False),
        pa.field("source", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
    ]
)
"""A row a (word, source) pair; no pair occurs twice in a file."""

PIECE_BYTES = 8 << 20
"""Bytes of words in the rows read at a time. 2^17 rows of prose have 1 MiB."""
WORD_BYTES = 64 << 20
"""Bytes in the rows of one word, which are read together. A thousand sources may have one word of 64 KiB."""
_READ_BYTES = 1 << 20  # of each column, as it is stored
_ACTION = "restore it from a good copy, or delete it and count again"


@dataclass(frozen=True)
class SourceText:
    """Totals of the raw text of one source."""

    source: str
    """Its name; "" for all text where there are too many sources to keep apart."""
    text_bytes: int
    """UTF-8 bytes."""
    words: int
    """Words after normalising: the sum of its counts."""
    letters: int
    """Characters of the raw text with a general category L*, by Python's `unicodedata`."""
    letters_changed: int
    """Those that change when combining marks (Mn), their own or following ones, are dropped after NFD."""
    words_changed: int
    """Words with such a letter."""


@dataclass(frozen=True)
class WordCounts:
    """A `word_counts.parquet`, its metadata read and its rows not; picklable."""

    store: Store
    path: str
    corpus: str
    """A digest of the corpus, as its writer gave it."""
    normalisation: Normalisation
    """The normalisation that made words of text."""
    sources: tuple[SourceText, ...]
    """Sorted by the UTF-8 bytes of the name."""
    num_partitions: int
    num_rows: int

    @classmethod
    def open(cls, store: Store, path: str) -> WordCounts:
        """Read the metadata.

        Raises:
            FileNotFoundError: There is no such file.
            ShardCorruptError: It is not a table of word counts.
            ConfigError: Another major version of maskmill wrote it.
        """
        with store.open_input(path) as file:
            try:
                if read_footer(file).columns != tuple(WORD_COUNTS_SCHEMA.names):
                    raise ArrowInvalid("its columns are not those of word counts")
                footer = pq.read_metadata(file)
                if not footer.schema.to_arrow_schema().remove_metadata().equals(WORD_COUNTS_SCHEMA):
                    raise ArrowInvalid("its columns are not those of word counts")
                found = {key.decode(): value.decode() for key, value in (footer.metadata or {}).items()}
                check_schema_version(found["maskmill_schema_version"], store.locate(path))
                return cls(
                    store,
                    path,
                    found["maskmill_corpus"],
                    Normalisation(**_parse(found["maskmill_normalisation"])),
                    tuple(SourceText(**source) for source in _parse(found["maskmill_sources"])),
                    footer.num_row_groups,
                    footer.num_rows,
                )
            except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
                raise ShardCorruptError(
                    "this is not a table of word counts",
                    path=store.locate(path),
                    expected="a word_counts.parquet",
                    found=repr(error),
                    action=_ACTION,
                ) from error

    def iter_partitions(self) -> Iterator[pa.Table]:
        """The partitions in order, a large one in pieces.

        Yields:
            Rows of one partition, those of a word all in one piece. `source` is dictionary-encoded with the names of
            `sources` as its dictionary, in every piece, so that an index is the number of the source.

        Raises:
            ShardCorruptError: The rows cannot be read.
        """
        names = pa.array([source.source for source in self.sources], pa.string())
        with self.store.open_input(self.path) as file:
            try:
                partitions = read_footer(file).partitions
                reader = pq.ParquetFile(file, buffer_size=_READ_BYTES)
                for number, partition in enumerate(partitions):
                    batches = _iter_rows(file, reader, number, partition)
                    yield from _iter_whole_words((encode_sources(rows, names) for rows in batches), len(names))
            except (pa.ArrowException, OSError, ValueError) as error:
                raise ShardCorruptError(
                    "the word counts cannot be read",
                    path=self.store.locate(self.path),
                    found=str(error),
                    action=_ACTION,
                ) from error


def _iter_rows(file: Any, reader: pq.ParquetFile, number: int, partition: Partition) -> Iterator[pa.Table]:
    """The rows of a partition whose pages are checked, as many at a time as have at most `PIECE_BYTES` of words."""
    if not partition.num_rows:
        yield WORD_COUNTS_SCHEMA.empty_table()
        return
    batch_rows = measure_partition(file, partition).fit_window(PIECE_BYTES)
    for batch in reader.iter_batches(batch_rows, row_groups=[number], use_threads=False):
        rows = pa.Table.from_batches([batch])
        _check_rows(rows)
        yield rows


def _iter_whole_words(batches: Iterator[pa.Table], num_sources: int) -> Iterator[pa.Table]:
    """Cut rows where a word begins: the last word of a batch comes with the rows that follow.

    Raises:
        ArrowInvalid: A word has more rows than there are sources, or they take more than `WORD_BYTES`.
    """
    held: pa.Table | None = None
    for batch in batches:
        if held is None:
            held = batch
            continue
        data, offsets = flatten_words(held["word"])
        last_word = int(np.flatnonzero(mark_first_rows(data, offsets))[-1])
        last = held.slice(last_word)
        if len(last) > 1 and (len(last) > num_sources or offsets[-1] - offsets[last_word] > WORD_BYTES):
            raise ArrowInvalid(f"a word of {offsets[-1] - offsets[-2]} bytes has {len(last)} rows and more")
        if last_word:
            yield held.slice(0, last_word)
        held = pa.concat_tables([last, batch]).combine_chunks()
    if held is not None:
        yield held


def _parse(text: str) -> Any:
    return parse_json(text.encode(), MAX_TEXT_BYTES)


def _check_rows(rows: pa.Table) -> None:
    """Check what was decoded before its buffers are looked at.

    Raises:
        ArrowInvalid: A column is invalid or has nulls, or a word is counted less than once.
    """
    rows.validate(full=True)
    if any(column.null_count for column in rows.columns):
        raise ArrowInvalid("a column has nulls")
    if "count" in rows.column_names and len(rows) and pc.min(rows["count"]).as_py() < 1:
        raise ArrowInvalid("a word is counted less than once")


def encode_sources(rows: pa.Table, names: pa.Array) -> pa.Table:
    """The rows with `names` as the dictionary of their column `source`, if they have it.

    Raises:
        ArrowInvalid: A source is none of the names.
    """
    if "source" not in rows.column_names:
        return rows
    chunks = []
    for chunk in rows["source"].chunks:
        number_of = pc.index_in(chunk.dictionary, names)
        if number_of.null_count:
            raise ArrowInvalid(f"a source in the rows is not among the {len(names)} of the table")
        chunks.append(pa.DictionaryArray.from_arrays(number_of.take(chunk.indices), names))
    field = WORD_COUNTS_SCHEMA.field("source")
    return rows.set_column(rows.column_names.index("source"), field, pa.chunked_array(chunks, field.type))


def write_word_counts(
    store: Store,
    path: str,
    partitions: Iterable[pa.Table],
    *,
    corpus: str,
    normalisation: Normalisation,
    sources: Iterable[SourceText],
) -> str:
    """Write the table, streaming: the same input gives the same bytes.

    Args:
        store: Where.
        path: Relative to it.
        partitions: Tables of `WORD_COUNTS_SCHEMA` in order, each sorted by (word, source); a row group each.
        corpus: A digest of the corpus.
        normalisation: What made words of text.
        sources: Every source that occurs in the rows, in any order.

    Returns:
        xxh3-128 of the file, hexadecimal.

    Raises:
        ArrowInvalid: A row has another source.
    """
    texts = sorted(sources, key=lambda source: source.source.encode())
    names = pa.array([text.source for text in texts], pa.string())
    metadata = {
        "maskmill_schema_version": SCHEMA_VERSION,
        "maskmill_corpus": corpus,
        "maskmill_normalisation": _dump(dataclasses.asdict(normalisation)),
        "maskmill_sources": _dump([dataclasses.asdict(text) for text in texts]),
    }
    schema = WORD_COUNTS_SCHEMA.with_metadata(metadata)
    with store.open_output(path) as file:
        sink = HashingSink(file)
        # Sorted words share their beginnings with the word before: DELTA_BYTE_ARRAY.
        with pq.ParquetWriter(
            sink,
            schema,
            compression="zstd",
            use_dictionary=["source"],
            column_encoding={"word": "DELTA_BYTE_ARRAY", "count": "PLAIN"},
        ) as writer:
            for partition in partitions:
                rows = encode_sources(partition.select(schema.names), names)
                writer.write_table(rows.replace_schema_metadata(metadata), row_group_size=max(1, rows.num_rows))
    return sink.whole.hexdigest()


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
