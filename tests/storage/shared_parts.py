"""Flatbuffers in which many places lead to one part, of which Arrow would make as many copies."""

from __future__ import annotations

import struct

from tests.storage.crafted import Message

_ALIGNMENT = 8
MAGIC = b"ARROW1"


class _Writer:
    """Bytes, with references to what is written behind them."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)

    def align(self) -> int:
        self.data += bytes(-len(self.data) % _ALIGNMENT)
        return len(self.data)

    def point(self, at: int, target: int) -> None:
        """Let the offset at a place lead to another."""
        struct.pack_into("<I", self.data, at, target - at)

    def text(self, length: int) -> int:
        start = self.align()
        self.data += struct.pack("<I", length) + b"k" * length + b"\0"
        return start

    def table(self, *fields: tuple[int, int, int], size: int) -> int:
        """A table with (number, place in it, value) for each 32-bit field; the others are left out."""
        vtable = self.align()
        places = [0] * (max((number for number, _, _ in fields), default=-1) + 1)
        for number, place, _ in fields:
            places[number] = place
        self.data += struct.pack(f"<{len(places) + 2}H", 4 + 2 * len(places), size, *places)
        start = self.align()
        self.data += struct.pack("<i", start - vtable) + bytes(size - 4)
        for _, place, value in fields:
            struct.pack_into("<I", self.data, start + place, value)
        return start

    def vector(self, count: int) -> int:
        """A vector of offsets, all of them to be set by `share`."""
        start = self.align()
        self.data += struct.pack("<I", count) + bytes(4 * count)
        return start

    def structs(self, count: int) -> int:
        """A vector of structs of 24 bytes, which are aligned to 8."""
        start = self.align() + 4
        self.data += bytes(4) + struct.pack("<I", count) + bytes(24 * count)
        return start

    def share(self, vector: int, target: int) -> None:
        """Let every offset of a vector lead to one part."""
        (count,) = struct.unpack_from("<I", self.data, vector)
        for place in range(count):
            self.point(vector + 4 + 4 * place, target)


def add_shared_metadata(writer: _Writer, at: int, count: int, length: int) -> None:
    """So many entries behind the offset at a place, which share one text of that length."""
    vector = writer.vector(count)
    writer.point(at, vector)
    entry = writer.table((0, 4, 0), (1, 8, 0), size=12)
    writer.share(vector, entry)
    text = writer.text(length)
    writer.point(entry + 4, text)
    writer.point(entry + 8, text)


def share_in_message(data: bytes, count: int, length: int) -> bytes:
    """A record batch with shared metadata of its own."""
    message = Message(data)
    body = bytes(message.data[message.body :])
    writer = _Writer(bytes(8))
    root = writer.table((0, 4, 4), (1, 8, 3), (2, 12, 0), (3, 16, len(body)), (4, 24, 0), size=28)
    writer.point(0, root)
    inside = writer.align()
    writer.data += message.data[8 : message.body]
    writer.point(root + 12, inside + message.batch - 8)
    add_shared_metadata(writer, root + 24, count, length)
    writer.align()
    return struct.pack("<Ii", 0xFFFFFFFF, len(writer.data)) + bytes(writer.data) + body


def share_in_schema(count: int, length: int) -> bytes:
    """The message of a schema without columns, with shared metadata."""
    writer = _Writer(bytes(8))
    root = writer.table((0, 4, 4), (1, 8, 1), (2, 12, 0), size=16)
    writer.point(0, root)
    schema = writer.table((1, 4, 0), (2, 8, 0), size=12)
    writer.point(root + 12, schema)
    writer.point(schema + 4, writer.vector(0))
    add_shared_metadata(writer, schema + 8, count, length)
    writer.align()
    return struct.pack("<Ii", 0xFFFFFFFF, len(writer.data)) + bytes(writer.data)


def share_in_footer(data: bytes, where: str, count: int, length: int = 0) -> bytes:
    """A file without record batches, of which only the footer is another; see `make_footer`."""
    start = len(data) - len(MAGIC) - 4 - int.from_bytes(data[-10:-6], "little")
    footer = make_footer(0, where, count, length)
    return data[:start] + footer + struct.pack("<i", len(footer)) + MAGIC


def make_footer(num_blocks: int, where: str, count: int, length: int) -> bytes:
    """A footer that names one part many times.

    Args:
        num_blocks: Record batches, of which the places are left to be filled in.
        where: What is shared: metadata of the `footer`, of the `schema`, or its `columns`, of which each has as many.
        count: How often, at every level.
        length: Of a text.
    """
    writer = _Writer(bytes(8))
    footer = writer.table((0, 4, 4), (1, 8, 0), (3, 12, 0), (4, 16, 0), size=20)
    writer.point(0, footer)
    writer.point(footer + 12, writer.structs(num_blocks))
    if where == "footer":
        add_shared_metadata(writer, footer + 16, count, length)
    else:
        writer.point(footer + 16, writer.vector(0))
    schema = writer.table((1, 4, 0), (2, 8, 0), size=12)
    writer.point(footer + 8, schema)
    if where == "schema":
        add_shared_metadata(writer, schema + 8, count, length)
    else:
        writer.point(schema + 8, writer.vector(0))
    at = schema + 4
    for _ in range(5 if where == "columns" else 0):  # lists of structs of structs
        vector = writer.vector(count)
        writer.point(at, vector)
        column = writer.table((2, 4, 13), (3, 8, 0), (5, 12, 0), size=16)
        writer.share(vector, column)
        writer.point(column + 8, writer.table(size=4))
        at = column + 12
    writer.point(at, writer.vector(0))
    writer.align()
    return bytes(writer.data)
