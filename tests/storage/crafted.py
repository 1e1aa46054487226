"""Arrow files as a dishonest writer makes them: values and metadata changed, every checksum right."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import xxhash

from maskmill.pipeline.storage.store import Store
from maskmill.schemas.receipt import ShardReceipt

INPUT_IDS, SEQUENCES, SEGMENTS, DOCUMENTS, OFFSETS, POSITIONS, MASK_IDS, LABELS = range(8)
"""Columns of packed rows with one stored mask."""


class Message:
    """A record batch in a file, to be changed in place.

    Args:
        data: The message and its body, as Arrow wrote them.
    """

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        self.body = 8 + self._int(4)
        message = 8 + self._int(8)
        self.batch = self._follow(self.field(message, 2))
        self.nodes = self._follow(self.field(self.batch, 1)) + 4
        self.buffers = self._follow(self.field(self.batch, 2)) + 4
        self.message = message

    def field(self, table: int, number: int) -> int:
        """Where a field of a table is."""
        vtable = table - self._int(table)
        return table + int(struct.unpack_from("<H", self.data, vtable + 4 + 2 * number)[0])

    def set(self, kind: str, at: int, value: int) -> None:
        struct.pack_into(f"<{kind}", self.data, at, value)

    def set_node(self, node: int, *, length: int | None = None, nulls: int | None = None) -> None:
        for place, value in ((0, length), (8, nulls)):
            if value is not None:
                self.set("q", self.nodes + 16 * node + place, value)

    def set_buffer(self, buffer: int, *, offset: int | None = None, size: int | None = None) -> None:
        for place, value in ((0, offset), (8, size)):
            if value is not None:
                self.set("q", self.buffers + 16 * buffer + place, value)

    def poke(self, buffer: int, kind: str, index: int, value: int) -> None:
        """Change a value in a buffer; an index may be negative."""
        offset, size = struct.unpack_from("<qq", self.data, self.buffers + 16 * buffer)
        width = struct.calcsize(f"<{kind}")
        place = index * width if index >= 0 else size + index * width
        self.set(kind, self.body + offset + place, value)

    def peek(self, buffer: int, kind: str, index: int) -> int:
        offset = struct.unpack_from("<q", self.data, self.buffers + 16 * buffer)[0]
        return int(struct.unpack_from(f"<{kind}", self.data, self.body + offset + index * struct.calcsize(kind))[0])

    def _int(self, at: int) -> int:
        return int(struct.unpack_from("<i", self.data, at)[0])

    def _follow(self, at: int) -> int:
        return at + self._int(at)


def offsets_of(column: int) -> int:
    """The buffer of the offsets of a column of lists; `input_ids` comes first and has three buffers."""
    return 3 + 4 * (column - 1) + 1


def values_of(column: int) -> int:
    """The buffer of the values of a column."""
    return 3 + 4 * (column - 1) + 3 if column else 2


def serialise(batch: pa.RecordBatch, codec: str | None = None) -> bytes:
    """A record batch as it is in a file."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        start = sink.tell()
        writer.write_batch(batch)
        stop = sink.tell()
    data = sink.getvalue().to_pybytes()[start:stop]
    schema_bytes = batch.schema.serialize().size
    return data[schema_bytes:] if start == 0 else data


def change_block(
    store: Store, receipt: ShardReceipt, block: int, change: Callable[[Message], Any], path: str | None = None
) -> ShardReceipt:
    """Change a block of a shard in place, and everything that is computed from its bytes."""
    path = path or receipt.path
    data = bytearray(store.read_bytes(path))
    offset, length = receipt.block_offsets[block], receipt.block_lengths[block]
    message = Message(bytes(data[offset : offset + length]))
    change(message)
    assert len(message.data) == length
    data[offset : offset + length] = message.data
    store.write_bytes(path, bytes(data))
    checksums = list(receipt.block_checksums)
    checksums[block] = xxhash.xxh3_64_intdigest(bytes(message.data))
    return receipt.model_copy(update={"checksum": xxhash.xxh3_128_hexdigest(bytes(data)), "block_checksums": checksums})
