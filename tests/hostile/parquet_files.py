"""A Parquet file taken apart into its pages and put together again, with whatever sizes and places one wants."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

TRUE, FALSE, I32, I64, BINARY, LIST, STRUCT = 1, 2, 5, 6, 8, 9, 12
Field = tuple[int, Any]
"""A kind and a value; of a list the value is the kind of its items and these."""
Fields = dict[int, Field]
_MAGIC = b"PAR1"


def parse_fields(data: bytes, at: int) -> tuple[Fields, int]:
    """A structure in Thrift's compact protocol, and the place behind it."""
    fields: Fields = {}
    number = 0
    while head := data[at]:
        step, kind = head >> 4, head & 15
        at += 1
        if not step:
            change, at = _parse_varint(data, at)
            number = change >> 1
        number += step
        value, at = _parse_value(data, at, kind)
        fields[number] = kind, value
    return fields, at + 1


def _parse_value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (TRUE, FALSE):
        return kind == TRUE, at
    if kind == STRUCT:
        return parse_fields(data, at)
    if kind == LIST:
        length, item = data[at] >> 4, data[at] & 15
        at += 1
        if length == 15:
            length, at = _parse_varint(data, at)
        items = []
        for _ in range(length):
            value, at = _parse_value(data, at, item)
            items.append(value)
        return (item, items), at
    number, at = _parse_varint(data, at)
    if kind == BINARY:
        return data[at : at + number], at + number
    return number >> 1 ^ -(number & 1), at


def _parse_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return number, at


def pack_fields(fields: Fields) -> bytes:
    """The bytes of a structure."""
    packed = bytearray()
    last = 0
    for number, (kind, value) in sorted(fields.items()):
        kind = (TRUE if value else FALSE) if kind in (TRUE, FALSE) else kind
        step = number - last
        packed += bytes([step << 4 | kind]) if step < 16 else bytes([kind]) + pack_varint(number << 1)
        packed += b"" if kind in (TRUE, FALSE) else _pack_value(kind, value)
        last = number
    return bytes(packed + b"\0")


def _pack_value(kind: int, value: Any) -> bytes:
    if kind == STRUCT:
        return pack_fields(value)
    if kind == LIST:
        item, items = value
        head = bytes([len(items) << 4 | item]) if len(items) < 15 else bytes([0xF0 | item]) + pack_varint(len(items))
        return head + b"".join(_pack_value(item, one) for one in items)
    if kind == BINARY:
        return pack_varint(len(value)) + value
    return pack_varint((value << 1 ^ value >> 63) & (1 << 64) - 1)


def pack_varint(number: int) -> bytes:
    """A number, seven bits a byte."""
    packed = bytearray()
    while number >= 128:
        packed.append(number & 127 | 128)
        number >>= 7
    return bytes([*packed, number])


@dataclass
class Page:
    """A page: the fields of its header, and its bytes as they are stored."""

    header: Fields
    body: bytes

    @property
    def is_dictionary(self) -> bool:
        return 7 in self.header

    @property
    def head(self) -> Fields:
        """What the header says of a page of its kind: 1 is the number of values, 2 the encoding."""
        found: Fields = self.header[7 if self.is_dictionary else 5][1]
        return found

    def compress(self, data: bytes) -> None:
        """Take other bytes, with the sizes that they have."""
        self.body = pa.compress(data, codec="zstd", asbytes=True)
        self.header[2], self.header[3] = (I32, len(data)), (I32, len(self.body))

    def decompress(self) -> bytes:
        data: bytes = pa.decompress(self.body, self.header[2][1], codec="zstd", asbytes=True)
        return data


@dataclass
class ParquetFile:
    """Pages by row group and column, and the footer.

    Attributes:
        pages: `pages[group][column]`.
        footer: Its fields; places and sizes of columns are those of the pages when it is packed.
        moved: `(group, column, field)` of the footer's places and sizes that are left as they are given here.
    """

    pages: list[list[list[Page]]]
    footer: Fields
    moved: dict[tuple[int, int, int], int] = field(default_factory=dict)

    @staticmethod
    def parse(data: bytes) -> ParquetFile:
        length = int.from_bytes(data[-8:-4], "little")
        footer, _ = parse_fields(data[-8 - length : -8], 0)
        file = ParquetFile([], footer)
        for group in file.groups:
            file.pages.append([])
            for column in group[1][1][1]:
                chunk = column[3][1]
                at = chunk[11][1] if 11 in chunk else chunk[9][1]
                stop = at + chunk[7][1]
                pages: list[Page] = []
                while at < stop:
                    header, at = parse_fields(data, at)
                    pages.append(Page(header, data[at : at + header[3][1]]))
                    at += header[3][1]
                file.pages[-1].append(pages)
        return file

    @property
    def groups(self) -> list[Fields]:
        """The row groups in the footer: 1 are their columns, 3 their rows."""
        groups: list[Fields] = self.footer[4][1][1]
        return groups

    def chunk(self, group: int, column: int) -> Fields:
        """What the footer says of a column: 4 is its compression, 5 its values."""
        chunk: Fields = self.groups[group][1][1][1][column][3][1]
        return chunk

    def set_rows(self, group: int, rows: int) -> None:
        """Let a row group state other rows, in all places but its pages."""
        self.groups[group][3] = I64, rows
        self.footer[3] = I64, sum(one[3][1] for one in self.groups)
        for column in range(len(self.pages[group])):
            self.chunk(group, column)[5] = I64, rows

    def pack(self) -> bytes:
        """The bytes of the file."""
        data = bytearray(_MAGIC)
        for group, columns in enumerate(self.pages):
            for column, pages in enumerate(columns):
                start = len(data)
                places = {11: start} if pages and pages[0].is_dictionary else {}
                first_data = 0
                for page in pages:
                    first_data = first_data or (0 if page.is_dictionary else len(data))
                    data += pack_fields(page.header) + page.body
                places |= {7: len(data) - start, 9: first_data}
                for number, value in places.items():
                    self.chunk(group, column)[number] = I64, self.moved.get((group, column, number), value)
        footer = pack_fields(self.footer)
        return bytes(data) + footer + len(footer).to_bytes(4, "little") + _MAGIC
