"""Arrow IPC, file or stream, such as `datasets` saves: a document a row.

A file is a stream between two magic words with an index behind it, so both are read from the start to the end, and both
may be compressed. A stream that ends without Arrow's mark of its end is refused: the rest of it is missing.

Of a part of a file, the record batches that begin in it are read, as the index says. A stream has none: its first part
is all of it, and the others are empty.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from maskmill.pipeline.corpus.formats.document_block import DocumentBlock, Opened, Origin
from maskmill.pipeline.corpus.formats.format import Format
from maskmill.pipeline.corpus.formats.split import split_rows
from maskmill.pipeline.corpus.formats.table_rows import Columns, choose_rows, read_rows
from maskmill.pipeline.storage.flatbuffers import find_table, find_vector
from maskmill.schemas.run_file import InputSection

_MAGIC = b"ARROW1"
_FILE_START = _MAGIC + b"\0\0"
_STREAM_START = b"\xff\xff\xff\xff"  # its schema comes first, whose length follows
_STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"
_BATCH_ROWS = 1024
_TAIL_BYTES = 4 + len(_MAGIC)  # the length of the index, and the magic word
_INDEX_BATCHES = 3  # the field of an index that lists the record batches
_INDEX_ENTRY = np.dtype([("offset", "<i8"), ("metadata_bytes", "<i4"), ("padding", "<i4"), ("body_bytes", "<i8")])


def iter_arrow(file: Origin, opened: Opened, settings: InputSection) -> Iterator[DocumentBlock]:
    """The documents of an Arrow file or stream."""
    if opened.stop is not None:
        with opened.explain("Arrow IPC"):
            source = opened.open_seekable()
            is_file = source.read(len(_FILE_START)) == _FILE_START
            source.seek(0)
            if is_file:
                yield from _iter_part(file, opened, source, settings)
        if is_file or opened.start:
            return
    with opened.explain("Arrow IPC"):
        stream = _ByteStream(opened)
        start = stream.peek(len(_FILE_START))
        is_file = start == _FILE_START
        if is_file:
            stream.read(len(_FILE_START))
        with pa.ipc.open_stream(pa.PythonFile(stream, mode="r")) as reader:
            columns = Columns.find(reader.schema, settings, file)
            row = 1
            for batch in reader:
                for first in range(0, len(batch), _BATCH_ROWS):
                    rows = batch.slice(first, _BATCH_ROWS)
                    yield read_rows(rows, columns, row, file, settings)
                    row += len(rows)
        if stream.last != _STREAM_END:
            raise EOFError("data that end without Arrow's mark of their end")
        rest = stream.drain(len(_MAGIC))
        if is_file and rest != _MAGIC:
            raise EOFError("a file that ends before its index")


def _iter_part(file: Origin, opened: Opened, source: pa.NativeFile, settings: InputSection) -> Iterator[DocumentBlock]:
    """The documents of the record batches that begin in a part of a file."""
    starts = _list_starts(source, opened.size_bytes)
    with pa.ipc.open_file(source) as reader:
        if reader.num_record_batches != len(starts):
            raise EOFError("a file with an index that does not hold together")
        columns = Columns.find(reader.schema, settings, file)
        row = 1
        for number in choose_rows(starts, opened):
            batch = reader.get_batch(number)
            for first in range(0, len(batch), _BATCH_ROWS):
                rows = batch.slice(first, _BATCH_ROWS)
                yield read_rows(rows, columns, row, file, settings)
                row += len(rows)


def _list_starts(source: pa.NativeFile, size_bytes: int) -> list[int]:
    """Where each record batch of a file begins, by the index at its end."""
    source.seek(max(0, size_bytes - _TAIL_BYTES))
    tail = source.read(_TAIL_BYTES)
    length = int.from_bytes(tail[:4], "little", signed=True)
    start = size_bytes - _TAIL_BYTES - length
    if tail[4:] != _MAGIC or length <= 0 or start < 0:
        raise EOFError("a file that ends before its index")
    source.seek(start)
    index = np.frombuffer(source.read(length), np.uint8)
    table = find_table(index, 0, length, 0)
    first, count = find_vector(index, 0, length, table, _INDEX_BATCHES, _INDEX_ENTRY.itemsize)
    starts: list[int] = np.frombuffer(index, _INDEX_ENTRY, count, max(0, first))["offset"].tolist()
    source.seek(0)
    return starts


class _ByteStream:
    """Present an opened input to Arrow as a file, and remember the last bytes that were read."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._rest = memoryview(b"")
        self.last = b""
        self.closed = False

    def peek(self, size: int) -> bytes:
        """Return the next bytes without consuming them."""
        self._rest = memoryview(self._gather(size) + bytes(self._rest[size:]))
        return bytes(self._rest[:size])

    def read(self, size: int = -1, /) -> bytes:
        """Read `size` bytes; fewer only at the end."""
        data = self._gather(size)
        self._rest = self._rest[size:]
        self.last = (self.last + data)[-len(_STREAM_END) :]
        return data

    def drain(self, size: int) -> bytes:
        """Read to the end, and return the last bytes."""
        last = bytes(self._rest[-size:])
        while block := self._opened.read():
            last = (last + block)[-size:]
        return last

    def _gather(self, size: int) -> bytes:
        """Read until `_rest` holds so many bytes, and return them."""
        if len(self._rest) < size:
            parts, held = [bytes(self._rest)], len(self._rest)
            while held < size and (block := self._opened.read()):
                parts.append(block)
                held += len(block)
            self._rest = memoryview(b"".join(parts))
        return bytes(self._rest[:size])

    def close(self) -> None:
        self.closed = True

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


ARROW = Format("arrow", "Arrow IPC", (".arrow",), iter_arrow, split_rows, magic=(_FILE_START, _STREAM_START))
