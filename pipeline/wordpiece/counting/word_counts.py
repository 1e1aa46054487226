"""`word_counts.parquet`: how often each source has each word, kept so that another vocabulary needs no second pass.

A row is a (word, source) pair that occurs. Rows stand in hash partitions, a row group each, so that a table of any
size is written and read with one partition in memory; within a partition they are sorted by the UTF-8 bytes of the
word, then of the source. All rows of a word are in one partition (`unpack_words` says which),
so what is summed over sources needs no second look. What the numbers belong to stands in the file's metadata.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.lib import ArrowInvalid

from maskmill.pipeline.storage.hashing_sink import HashingSink
from maskmill.pipeline.storage.regular_files import MAX_TEXT_BYTES
from maskmill.pipeline.storage.store import Store
from maskmill.pipeline.wordpiece.counting.parquet_schema import check_stored_schema
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

_ACTION = "restore it from a good copy, or delete it and count again"


@dataclass(frozen=True)
class SourceText:
    """What the raw text of one source holds."""

    source: str
    """Its name; "" for all text where there are too many sources to keep apart."""
    text_bytes: int
    """UTF-8 bytes."""
    words: int
    """Words after normalising: the sum of its counts."""
    letters: int
    """Characters of the raw text with a general category L*, by Python's `unicodedata`."""
    letters_changed: int
    """Of them those that are another string once combining marks (Mn) are dropped after NFD, their own or following."""
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
    """What made words of text."""
    sources: tuple[SourceText, ...]
    """Sorted by the UTF-8 bytes of the name."""
    num_partitions: int
    num_rows: int

    @classmethod
    def open(cls, store: Store, path: str) -> WordCounts:
        """Read the metadata.

        Raises:
            FileNotFoundError: There is no such file.
            ShardCorruptError: It is no such file.
            ConfigError: Another major version of maskmill wrote it.
        """
        with store.open_input(path) as file:
            try:
                check_stored_schema(file)
                footer = pq.read_metadata(file)
                if not footer.schema.to_arrow_schema().remove_metadata().equals(WORD_COUNTS_SCHEMA):
                    raise ArrowInvalid("it has other columns")
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
                    "this is no table of word counts",
                    path=store.locate(path),
                    expected="a word_counts.parquet",
                    found=repr(error),
                    action=_ACTION,
                ) from error

    def iter_partitions(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The partitions in order, one in memory at a time.

        Args:
            columns: Of `WORD_COUNTS_SCHEMA`; all by default.

        Yields:
            The rows of one partition. `source` is dictionary-encoded with the names of `sources` as its dictionary,
            in every partition, so that an index is the number of the source.

        Raises:
            ShardCorruptError: The rows cannot be read.
        """
        names = pa.array([source.source for source in self.sources], pa.string())
        with self.store.open_input(self.path) as file:
            try:
                check_stored_schema(file)
                reader = pq.ParquetFile(file)
                for partition in range(self.num_partitions):
                    rows = reader.read_row_group(partition, columns=columns, use_threads=False)
                    _check_rows(rows)
                    yield encode_sources(rows, names)
            except (pa.ArrowException, OSError, ValueError) as error:
                raise ShardCorruptError(
                    "the word counts cannot be read",
                    path=self.store.locate(self.path),
                    found=str(error),
                    action=_ACTION,
                ) from error


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
