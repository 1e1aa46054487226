"""Arrow's record batches as bytes: every number of their metadata, and every buffer, can be changed in place.

Arrow's own writer makes no bad file, so the flatbuffers of a good one are patched. Only scalars and vectors of structs
are, which stand inline: nothing moves.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

MAGIC = b"ARROW1"
_PREFIX = struct.Struct("<Ii")
_CONTINUATION = 0xFFFFFFFF


class Place(NamedTuple):
    """A buffer of a record batch: the column it is of, what it holds (`validity`, `offsets`, `values`), bytes each."""

    column: str
    role: str
    width: int


class Span(NamedTuple):
    """Offset and length: of a buffer in its body."""

    offset: int
    length: int


class Table:
    """A flatbuffer table: the places of its fields."""

    def __init__(self, data: bytes | bytearray, position: int) -> None:
        self._data = data
        self._position = position

    @classmethod
    def root(cls, data: bytes | bytearray) -> Table:
        return cls(data, int.from_bytes(data[:4], "little"))

    def find(self, field: int) -> int | None:
        """The place of a field; `None` where it has its default."""
        vtable = self._position - self._number("<i", self._position)
        slot = 4 + 2 * field
        offset = self._number("<H", vtable + slot) if slot < self._number("<H", vtable) else 0
        return self._position + offset if offset else None

    def table(self, field: int) -> Table | None:
        at = self.find(field)
        return None if at is None else Table(self._data, at + self._number("<I", at))

    def structs(self, field: int, size: int) -> list[int]:
        """The places of the structs of a vector."""
        at = self.find(field)
        if at is None:
            return []
        start = at + self._number("<I", at)
        return [start + 4 + size * index for index in range(self._number("<I", start))]

    def _number(self, kind: str, at: int) -> int:
        return int(struct.unpack_from(kind, self._data, at)[0])


@dataclass
class Message:
    """A record batch as it is in a file.

    Attributes:
        metadata: Its flatbuffer, padded.
        body: Its buffers.
    """

    metadata: bytearray
    body: bytearray

    @classmethod
    def of_batch(cls, batch: pa.RecordBatch, codec: str | None = None) -> Message:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
            writer.write_batch(batch)
        messages = pa.ipc.MessageReader.open_stream(sink.getvalue())
        messages.read_next_message()
        return cls.parse(messages.read_next_message().serialize().to_pybytes())

    @classmethod
    def parse(cls, data: bytes) -> Message:
        mark, length = _PREFIX.unpack_from(data)
        assert mark == _CONTINUATION
        start = _PREFIX.size + length
        return cls(bytearray(data[_PREFIX.size : start]), bytearray(data[start:]))

    def pack(self) -> bytes:
        return _PREFIX.pack(_CONTINUATION, len(self.metadata)) + bytes(self.metadata + self.body)

    @property
    def nodes(self) -> list[int]:
        """Where the (length, null count) of every column and child are in the metadata."""
        return self.batch().structs(1, 16)

    @property
    def spans(self) -> list[Span]:
        """Every buffer."""
        return [Span(*struct.unpack_from("<qq", self.metadata, at)) for at in self.batch().structs(2, 16)]

    def set_span(self, index: int, span: Span) -> None:
        self.set_numbers(self.batch().structs(2, 16)[index], *span)

    def set_numbers(self, at: int, *numbers: int) -> None:
        """Write 64-bit integers into the metadata."""
        struct.pack_into(f"<{len(numbers)}q", self.metadata, at, *numbers)

    def message(self) -> Table:
        return Table.root(self.metadata)

    def batch(self) -> Table:
        batch = self.message().table(2)
        assert batch is not None
        return batch

    def replace(self, index: int, content: bytes) -> None:
        """Another content of a buffer: it goes behind the others, and the length of the body with it."""
        self.set_span(index, Span(len(self.body), len(content)))
        self.body += content + bytes(-len(content) % 64)
        self.fit_body()

    def fit_body(self) -> None:
        """Let the metadata say how long the body is."""
        at = self.message().find(3)
        if at is not None:
            self.set_numbers(at, len(self.body))


def iter_places(schema: pa.Schema) -> Iterator[Place]:
    """The buffers of a record batch in order."""
    for field in schema:
        yield from _places_of(field.name, field.type)


def _places_of(column: str, kind: pa.DataType) -> Iterator[Place]:
    yield Place(column, "validity", 1)
    if pa.types.is_fixed_size_list(kind):
        yield from _places_of(column, kind.value_type)
    elif pa.types.is_list(kind):
        yield Place(column, "offsets", 4)
        yield from _places_of(column, kind.value_type)
    elif pa.types.is_large_string(kind):
        yield from (Place(column, "offsets", 8), Place(column, "values", 1))
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        yield from (Place(column, "offsets", 4), Place(column, "values", 1))
    else:
        yield Place(column, "values", max(1, kind.bit_width // 8))


@dataclass
class ArrowFile:
    """An Arrow file in parts.

    Attributes:
        head: Magic bytes and schema.
        blocks: The bytes of the record batches.
        tail: The marker behind them.
        footer: Flatbuffer with where the blocks stand.
    """

    head: bytes
    blocks: list[bytes]
    tail: bytes
    footer: bytearray

    @classmethod
    def parse(cls, data: bytes) -> ArrowFile:
        end = len(data) - len(MAGIC) - 4
        footer = bytearray(data[end - int.from_bytes(data[end : end + 4], "little") : end])
        places = [struct.unpack_from("<qixxxxq", footer, at) for at in Table.root(footer).structs(3, 24)]
        first = places[0][0] if places else end - len(footer)
        last = sum(places[-1]) if places else first
        blocks = [data[offset : offset + metadata + body] for offset, metadata, body in places]
        return cls(data[:first], blocks, data[last : end - len(footer)], footer)

    def offsets(self) -> list[int]:
        """Where each block begins."""
        starts = [len(self.head)]
        for block in self.blocks:
            starts.append(starts[-1] + len(block))
        return starts[:-1]

    def pack(self) -> bytes:
        """The file, its footer speaking of the blocks as they now are."""
        for at, offset, block in zip(Table.root(self.footer).structs(3, 24), self.offsets(), self.blocks, strict=True):
            metadata = _PREFIX.size + max(0, _PREFIX.unpack_from(block)[1]) if len(block) >= _PREFIX.size else 0
            struct.pack_into(
                "<qixxxxq", self.footer, at, offset, min(metadata, 2**31 - 8), max(0, len(block) - metadata)
            )
        length = len(self.footer).to_bytes(4, "little")
        return b"".join([self.head, *self.blocks, self.tail, self.footer, length, MAGIC])
