"""Read Arrow files of a known schema: the footer is checked against the file, each record batch by `arrow_batches`.

Any violation is a `ShardCorruptError` that names the file, never an error of Arrow.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maskmill.pipeline.storage.arrow_batches import invalid_batch, layout_of, read_batch
from maskmill.pipeline.storage.arrow_schema import check_footer, check_schema, is_schema
from maskmill.pipeline.storage.checksums import check_bytes, read_span
from maskmill.pipeline.storage.flatbuffers import find_table, find_vector
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.documents import DOCUMENT_SCHEMA, PLACED_DOCUMENT_SCHEMA
from maskmill.schemas.errors import RESTORE, ShardCorruptError

MAGIC = b"ARROW1"
MAX_WHOLE_BYTES = 4 << 30
"""Limit of a file held in memory: a document shard has 512 MiB of text, and at most one document of 1 GiB beyond it."""
_HEAD_BYTES = 8  # the magic bytes and their padding
_PREFIX_BYTES = 8  # of a record batch: a marker and the length of the metadata that follows
_TAIL_BYTES = 4 + len(MAGIC)  # the footer's length and the magic bytes
_BLOCK = np.dtype([("offset", "<i8"), ("metadata_bytes", "<i4"), ("padding", "<i4"), ("body_bytes", "<i8")])


class ArrowFile:
    """An Arrow file of a known schema: its record batches, each validated when it is read.

    Args:
        file: Its bytes; read in place where they are in memory.
        schema: That it must have.
        path: For messages.
        older: Another schema that it may have instead, which earlier versions wrote.

    Attributes:
        spans: `(N, 2)` int64, offset and length in bytes of each record batch.

    Raises:
        ShardCorruptError: It is not an Arrow file, has another schema, or its record batches overlap or lie outside.
    """

    def __init__(self, file: pa.NativeFile, schema: pa.Schema, path: str, older: pa.Schema | None = None) -> None:
        self._file = file
        self._path = path
        self._older = older
        self._size = file.size()
        self._layout = layout_of(schema)
        self.spans, self._metadata_bytes = self._read_footer()

    @staticmethod
    def of(data: pa.Buffer | bytes, schema: pa.Schema, path: str, older: pa.Schema | None = None) -> ArrowFile:
        """A file that is in memory, or mapped."""
        return ArrowFile(pa.BufferReader(data), schema, path, older)

    def __len__(self) -> int:
        return len(self.spans)

    @property
    def schema(self) -> pa.Schema:
        """The schema of the file, as the caller gave it: the older one where the file has that."""
        return self._layout.schema

    def read(self, number: int) -> pa.RecordBatch:
        """One of its record batches.

        Raises:
            ShardCorruptError: It is not one of this schema.
        """
        offset, length = self.spans[number].tolist()
        return read_batch(self._read_at(offset, length), self._layout, self._path, f"record batch {number}")

    def check_place(self, number: int, data: pa.Buffer) -> None:
        """Compare how long the footer and a record batch say that its metadata is.

        Here only the latter counts; other programs use the former.

        Args:
            number: Of the record batch.
            data: Its bytes.

        Raises:
            ShardCorruptError: They differ.
        """
        said = int(self._metadata_bytes[number])
        there = _PREFIX_BYTES + int.from_bytes(memoryview(data)[4:_PREFIX_BYTES], "little", signed=True)
        if said != there:
            raise invalid_batch(
                f"{said} bytes of metadata by the footer, {there} by itself", self._path, f"record batch {number}"
            )

    def iter_batches(self) -> Iterator[pa.RecordBatch]:
        """All of its record batches in order."""
        return map(self.read, range(len(self)))

    def read_all(self) -> pa.Table:
        """All of them as a table."""
        return pa.Table.from_batches(self.iter_batches(), self.schema)

    def _read_at(self, offset: int, length: int) -> pa.Buffer:
        return read_span(self._file, offset, length, self._path)

    def _read_footer(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Places of its record batches, and how long the metadata of each is."""
        if self._size < _HEAD_BYTES + _TAIL_BYTES:
            raise self._not_a_file(f"{self._size} bytes")
        tail = self._read_at(self._size - _TAIL_BYTES, _TAIL_BYTES).to_pybytes()
        length = int.from_bytes(tail[:4], "little", signed=True)
        start = self._size - _TAIL_BYTES - length
        head = self._read_at(0, _HEAD_BYTES).to_pybytes()
        if not head.startswith(MAGIC) or tail[4:] != MAGIC or length <= 0 or start < _HEAD_BYTES:
            raise self._not_a_file(f"a footer of {length} bytes in a file of {self._size}")
        footer = np.frombuffer(self._read_at(start, length), np.uint8)
        footer.flags.writeable = False
        table = find_table(footer, 0, length, 0)
        _, dictionaries = find_vector(footer, 0, length, table, 2, _BLOCK.itemsize)
        first, count = find_vector(footer, 0, length, table, 3, _BLOCK.itemsize)
        if table < 0 or first < 0 or dictionaries:
            raise self._not_a_file("a footer without a list of record batches, or with dictionaries")
        check_footer(footer, table, self.schema, self._path)
        self._check_schema()
        blocks = np.frombuffer(footer, _BLOCK, count, first)
        starts, metadata, bodies = (
            blocks[name].astype(np.int64) for name in ("offset", "metadata_bytes", "body_bytes")
        )
        lengths = metadata + np.clip(bodies, -1, self._size)
        stops = np.append(starts[1:], start)[:count]
        if (starts < _HEAD_BYTES).any() or (metadata <= 0).any() or (bodies < 0).any():
            raise self._not_a_file("record batches outside the file")
        if ((starts | metadata | bodies) % 8).any():
            raise self._not_a_file("record batches that are not aligned to 8 bytes")
        if (stops - starts < lengths).any():
            raise self._not_a_file("record batches that overlap or lie outside the file")
        return np.column_stack([starts, lengths]), metadata

    def _check_schema(self) -> None:
        self._file.seek(0)
        try:
            found = pa.ipc.open_file(self._file).schema
        except (pa.ArrowException, OSError) as error:
            raise self._not_a_file(str(error).partition("\n")[0]) from None
        if self._older is not None and is_schema(found, self._older):
            self._layout = layout_of(self._older)
            return
        check_schema(found, self.schema, self._path)

    def _not_a_file(self, found: str) -> ShardCorruptError:
        return ShardCorruptError(
            "it is not an Arrow file written by maskmill", path=self._path, found=found, action=RESTORE
        )


def open_documents(store: Store, path: str, checksum: str) -> ArrowFile:
    """A document shard; one of an earlier version has columns beside those of `DOCUMENT_SCHEMA`.

    Raises:
        ShardCorruptError: As in `open_whole`.
    """
    return open_whole(store, path, checksum, DOCUMENT_SCHEMA, PLACED_DOCUMENT_SCHEMA)


def open_whole(store: Store, path: str, checksum: str, schema: pa.Schema, older: pa.Schema | None = None) -> ArrowFile:
    """A whole Arrow file of a store in memory, after comparing its checksum.

    Raises:
        ShardCorruptError: It is gone, its bytes are not those that were written, or it has another schema.
    """
    try:
        data = store.read_bytes(path, MAX_WHOLE_BYTES)
    except FileNotFoundError:
        raise ShardCorruptError(
            "the file is gone",
            path=store.locate(path),
            expected=f"xxh3-128 {checksum}",
            found="no file",
            action=RESTORE,
        ) from None
    check_bytes(data, checksum, store.locate(path))
    return ArrowFile.of(data, schema, store.locate(path), older)
