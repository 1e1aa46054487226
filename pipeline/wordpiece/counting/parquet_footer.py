"""The footer of a Parquet file, parsed and bounded before pyarrow reads it.

Every way to open a Parquet file with pyarrow, to read its metadata alone too, makes room for all that the footer
states, and parses the Arrow schema that is in it. Both can take ten thousand times as much memory as they have bytes.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from maskmill.pipeline.storage.arrow_schema import find_excess_of_message
from maskmill.pipeline.wordpiece.counting.thrift import Value, parse_structure

MAGIC = b"PAR1"
MAX_FOOTER_BYTES = 64 << 20
MAX_FOOTER_PARTS = 1 << 16
"""Fields and items in a footer. A partition has about 100, and a file about 16 partitions."""
MAX_ROWS_PER_BYTE = 256
"""Rows for each byte of a file. A thousand sources that all hold the same 100,000 words give 66, prose gives one."""
_TAIL_BYTES = 4 + len(MAGIC)
_SCHEMA, _NUM_ROWS, _ROW_GROUPS, _METADATA = 2, 3, 4, 5
_GROUP_COLUMNS, _GROUP_ROWS = 1, 3
_CHUNK_FIELDS, _CHUNK = {2, 3}, 3  # more are another file, an index or encryption
_CHUNK_PATH, _CHUNK_CODEC, _CHUNK_VALUES, _CHUNK_BYTES, _CHUNK_DATA, _CHUNK_DICTIONARY = 3, 4, 5, 7, 9, 11
_KEY, _VALUE = 1, 2
_ARROW_SCHEMA = b"ARROW:schema"


@dataclass(frozen=True)
class Chunk:
    """Places of the pages of a partition's column.

    Attributes:
        column: Its name.
        codec: Number of its compression.
        num_values: As it states them.
        start: Of its first page in the file.
        stop: Behind its last page.
        first_data: Of its first page that is not a dictionary.
    """

    column: str
    codec: int
    num_values: int
    start: int
    stop: int
    first_data: int


@dataclass(frozen=True)
class Partition:
    """A row group.

    Attributes:
        num_rows: As it states them.
        chunks: Of its columns, in their order; none where it has no rows.
    """

    num_rows: int
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True)
class Footer:
    """The content of a footer.

    Attributes:
        columns: Names of the columns.
        num_rows: Of all partitions.
        partitions: In the order of the file.
    """

    columns: tuple[str, ...]
    num_rows: int
    partitions: tuple[Partition, ...]


def read_footer(file: Any) -> Footer:
    """Read the footer of a Parquet file whose columns are not nested.

    Args:
        file: An Arrow file that can be sought in.

    Raises:
        ValueError: It is not one, places of its pages overlap or lie outside the file, it states more rows than such a
            file may have, or what it holds would take far more memory than it has bytes.
    """
    size = file.size()
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read(_TAIL_BYTES)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or length > min(size - _TAIL_BYTES - len(MAGIC), MAX_FOOTER_BYTES):
        raise ValueError("it is not a Parquet file")
    start = size - _TAIL_BYTES - length
    file.seek(start)
    data = file.read(length)
    file.seek(0)
    try:
        fields, stop = parse_structure(data, MAX_FOOTER_PARTS)
        _check_metadata(fields.get(_METADATA, []))
        footer = _read_fields(fields)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"a field of the Parquet footer is missing or of another type: {error!r}") from None
    except ValueError as error:
        raise ValueError(f"the Parquet footer is invalid: {error}") from None
    if stop != length:
        raise ValueError(f"{length - stop} bytes follow the Parquet footer")
    _check_places(footer, start)
    if footer.num_rows > MAX_ROWS_PER_BYTE * size:
        raise ValueError(f"{footer.num_rows} rows in {size} bytes, more than {MAX_ROWS_PER_BYTE} a byte")
    return footer


def _check_metadata(entries: Any) -> None:
    """Refuse an Arrow schema that is far larger in memory than here."""
    for entry in entries:
        if entry[_KEY] == _ARROW_SCHEMA and (
            excess := find_excess_of_message(base64.b64decode(entry[_VALUE], validate=True))
        ):
            raise ValueError(f"the Arrow schema in it is not read: {excess}")


def _read_fields(fields: dict[int, Value]) -> Footer:
    root, *columns = _Fields.of_list(fields[_SCHEMA])
    names = tuple(column.text(4) for column in columns)
    if root.number(5) != len(columns) or any(5 in column.fields for column in columns):
        raise ValueError("its columns are nested")
    partitions = tuple(_read_partition(group, names) for group in _Fields.of_list(fields[_ROW_GROUPS]))
    footer = Footer(names, _Fields(fields).number(_NUM_ROWS), partitions)
    if sum(partition.num_rows for partition in partitions) != footer.num_rows:
        raise ValueError("its partitions do not have as many rows as it states")
    return footer


def _read_partition(group: _Fields, names: tuple[str, ...]) -> Partition:
    num_rows = group.number(_GROUP_ROWS)
    columns = _Fields.of_list(group.fields[_GROUP_COLUMNS])
    if len(columns) != len(names) or any(set(column.fields) != _CHUNK_FIELDS for column in columns):
        raise ValueError("a partition has other columns, or pages in another file")
    chunks = [_Fields.of(column.fields[_CHUNK]) for column in columns]
    if not num_rows:
        return Partition(0, ())
    return Partition(num_rows, tuple(_read_chunk(chunk, name) for chunk, name in zip(chunks, names, strict=True)))


def _read_chunk(chunk: _Fields, name: str) -> Chunk:
    if chunk.fields[_CHUNK_PATH] != [name.encode()]:
        raise ValueError("a partition has its columns in another order")
    first_data = chunk.number(_CHUNK_DATA)
    start = chunk.number(_CHUNK_DICTIONARY) if _CHUNK_DICTIONARY in chunk.fields else first_data
    if start > first_data:
        raise ValueError("a dictionary follows what is made of it")
    stop = start + chunk.number(_CHUNK_BYTES)
    return Chunk(name, chunk.number(_CHUNK_CODEC), chunk.number(_CHUNK_VALUES), start, stop, first_data)


def _check_places(footer: Footer, end: int) -> None:
    """Refuse pages that overlap or lie outside."""
    behind = len(MAGIC)
    for chunk in (chunk for partition in footer.partitions for chunk in partition.chunks):
        if chunk.start < behind or chunk.stop > end:
            raise ValueError("pages in it overlap or lie outside the Parquet file")
        behind = chunk.stop


@dataclass(frozen=True)
class _Fields:
    """Fields of a structure, of which the types are checked when they are taken."""

    fields: dict[int, Value]

    @staticmethod
    def of(value: Value) -> _Fields:
        if not isinstance(value, dict):
            raise TypeError("a structure is missing")
        return _Fields(value)

    @staticmethod
    def of_list(values: Value) -> list[_Fields]:
        if not isinstance(values, list):
            raise TypeError("a list is missing")
        return [_Fields.of(value) for value in values]

    def number(self, field: int) -> int:
        value = self.fields[field]
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise TypeError(f"field {field} is {value!r:.40}")
        return value

    def text(self, field: int) -> str:
        value = self.fields[field]
        if not isinstance(value, bytes):
            raise TypeError(f"field {field} is {value!r:.40}")
        return value.decode()
