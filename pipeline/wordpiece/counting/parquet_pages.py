"""The pages of a partition of `word_counts.parquet`, checked before pyarrow reads them.

Pyarrow decompresses a page to the size that the page states, and its encodings make texts and numbers of next to no
bytes. So here the headers of all pages are read, their sizes bounded, and the lengths of all words found. What reading
the partition then takes is known: its pages one at a time, and as many rows at a time as fit.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from maskmill.pipeline.wordpiece.counting.delta_lengths import TextLengths
from maskmill.pipeline.wordpiece.counting.parquet_footer import Chunk, Partition
from maskmill.pipeline.wordpiece.counting.thrift import Structure, TruncatedError, Value, parse_structure

MAX_PAGE_BYTES = 64 << 20
"""Bytes of a decompressed page. Arrow ends a page of words after 1 MiB, but only after 1024 of them."""
MAX_PAGE_EXPANSION = 16
"""How many times as long a longer page may become. Its words have 64 KiB and more on average."""
MAX_PAGE_VALUES = 1 << 22
"""Words of a page, for each of which Arrow takes 8 bytes. It ends a page after 20,000 rows."""
MAX_WORDS_BYTES = 256 << 20
"""Bytes of a partition's words, or `MAX_WORDS_EXPANSION` for each byte of the file. They are read in pieces, so this
bounds time: words that are repeated, or share their beginnings, take almost no bytes in the file."""
MAX_WORDS_EXPANSION = 1 << 12
_MAX_HEADER_BYTES = 1 << 15  # with a least and a greatest value, of 4 KiB each at most, written twice
_MAX_HEADER_PARTS = 64
_ZSTD = 6
_PLAIN, _DELTA_BYTE_ARRAY, _RLE_DICTIONARY = 0, 7, 8
_ENCODINGS = {"word": (_DELTA_BYTE_ARRAY,), "source": (_RLE_DICTIONARY, _PLAIN), "count": (_PLAIN,)}
_COUNT_BYTES = 8
_LENGTH_BYTES = 4
_KIND, _SIZE, _STORED_SIZE, _DATA_HEAD, _DICTIONARY_HEAD = 1, 2, 3, 5, 7
_DATA, _DICTIONARY = 0, 2
_NUM_VALUES, _ENCODING = 1, 2


def measure_partition(file: Any, partition: Partition) -> TextLengths:
    """Check all pages of a partition, and measure its words.

    Args:
        file: An Arrow file that can be sought in.
        partition: With rows; as the footer describes it.

    Raises:
        ValueError: A page is not one as maskmill writes it, or too large.
    """
    lengths = TextLengths()
    for chunk in partition.chunks:
        if chunk.codec != _ZSTD or chunk.num_values != partition.num_rows:
            raise ValueError(f"column {chunk.column} has another compression or another number of values")
        _check_chunk(file, chunk, lengths)
    if lengths.num_bytes > max(MAX_WORDS_BYTES, MAX_WORDS_EXPANSION * file.size()):
        raise ValueError(f"words of {lengths.num_bytes} bytes, in a file of {file.size()}")
    return lengths


def _check_chunk(file: Any, chunk: Chunk, lengths: TextLengths) -> None:
    at, num_values = chunk.start, 0
    while at < chunk.stop:
        header = _read_header(file, at, chunk.stop)
        size, stored = _take_number(header.fields, _SIZE), _take_number(header.fields, _STORED_SIZE)
        body = at + header.stop
        if stored > chunk.stop - body:
            raise ValueError(f"a page of column {chunk.column} lies outside of its place")
        if size > max(MAX_PAGE_BYTES, MAX_PAGE_EXPANSION * stored):
            raise ValueError(f"a page of column {chunk.column} of {stored} bytes states {size} bytes")
        if at < chunk.first_data:
            _check_dictionary(header.fields, chunk, body + stored, size)
        else:
            values = _check_data(header.fields, chunk.column, size)
            if chunk.column == "word":
                file.seek(body)
                lengths.add_page(pa.decompress(file.read(stored), size, codec="zstd", asbytes=True), values)
            num_values += values
        at = body + stored
    if num_values != chunk.num_values:
        raise ValueError(f"the pages of column {chunk.column} have {num_values} values, it states {chunk.num_values}")


def _read_header(file: Any, at: int, stop: int) -> Structure:
    file.seek(at)
    try:
        return parse_structure(file.read(min(_MAX_HEADER_BYTES, stop - at)), _MAX_HEADER_PARTS)
    except TruncatedError:
        raise ValueError("the header of a page is longer than any that maskmill writes, or cut short") from None


def _check_dictionary(fields: dict[int, Value], chunk: Chunk, stop: int, size: int) -> None:
    """Check the dictionary of the sources: one page, each source with its own length."""
    head = fields.get(_DICTIONARY_HEAD)
    if chunk.column != "source" or fields.get(_KIND) != _DICTIONARY or stop != chunk.first_data:
        raise ValueError(f"column {chunk.column} has a dictionary where it should have none")
    if _take_number(head, _ENCODING) != _PLAIN or _take_number(head, _NUM_VALUES) > size // _LENGTH_BYTES:
        raise ValueError("the dictionary of sources states more values than it has bytes for")


def _check_data(fields: dict[int, Value], column: str, size: int) -> int:
    """How many values the page has."""
    head = fields.get(_DATA_HEAD)
    if fields.get(_KIND) != _DATA or (encoding := _take_number(head, _ENCODING)) not in _ENCODINGS[column]:
        raise ValueError(f"a page of column {column} is of another kind or encoding")
    values = _take_number(head, _NUM_VALUES)
    most = {_DELTA_BYTE_ARRAY: MAX_PAGE_VALUES, _RLE_DICTIONARY: values}.get(encoding, size // _LENGTH_BYTES)
    if values > most or (column == "count" and size != values * _COUNT_BYTES):
        raise ValueError(f"a page of column {column} of {size} bytes states {values} values")
    return values


def _take_number(fields: Value | None, field: int) -> int:
    value = fields.get(field) if isinstance(fields, dict) else None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("the header of a page has no valid number where it should")
    return value
