"""Read Arrow files; no other module does. Everything is validated before any of it is used.

A checksum shows that bytes are unchanged, not that their writer was honest. So for every record batch

1. the declared sizes are compared with the schema and with the bytes at hand, before anything is decompressed;
2. the number of rows, where the reader knows it, must be right;
3. offsets must rise within their values;
4. Arrow's own full validation follows: text is UTF-8, and what is compressed decompresses to sound arrays. Only
   `view_batch` leaves it out, for numbers and lists that are not compressed: there it could refuse only an unusual
   layout of the metadata, never a value.

Any violation is a `ShardCorruptError` that names the file and the record batch, never an error of Arrow.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from maskmill.pipeline.storage.arrow_layout import CODECS, BatchLayout
from maskmill.pipeline.storage.arrow_metadata import FAULTS, WRONG_ROWS, check_batch, find_table, find_vector
from maskmill.pipeline.storage.arrow_schema import check_footer, check_schema
from maskmill.pipeline.storage.arrow_views import BatchBuffers
from maskmill.pipeline.storage.failures import explained_failures
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.errors import RESTORE, ShardCorruptError
from maskmill.schemas.rows import Compression

MAGIC = b"ARROW1"
MAX_WHOLE_BYTES = 4 << 30
"""Limit of a file held in memory: a document shard has 512 MiB of text, and at most one document of 1 GiB beyond it."""
_PART_BYTES = 1 << 18
_HEAD_BYTES = 8  # the magic bytes and their padding
_PREFIX_BYTES = 8  # of a record batch: a marker and the length of the metadata that follows
_TAIL_BYTES = 4 + len(MAGIC)  # the footer's length and the magic bytes
_BLOCK = np.dtype([("offset", "<i8"), ("metadata_bytes", "<i4"), ("padding", "<i4"), ("body_bytes", "<i8")])


@lru_cache(64)
def _layout_of(schema: pa.Schema) -> BatchLayout:
    return BatchLayout.of(schema)


def read_batch(
    data: pa.Buffer | bytes,
    layout: BatchLayout,
    path: str,
    place: str,
    num_rows: int | None = None,
    compression: Compression = Compression.NONE,
) -> pa.RecordBatch:
    """One record batch, validated. Zero-copy unless it is compressed.

    Args:
        data: The message and its body.
        layout: Of its schema.
        path: The file, for messages.
        place: Which one it is, for messages.
        num_rows: Rows that it must have, where that is known.
        compression: Which it must have.

    Raises:
        ShardCorruptError: It is not a record batch of this schema, rows and compression.
    """
    _find_buffers(data, layout, path, place, num_rows, compression)
    return _read_by_arrow(data, layout, path, place)


def view_batch(
    data: pa.Buffer | bytes,
    layout: BatchLayout,
    path: str,
    place: str,
    num_rows: int,
    compression: Compression = Compression.NONE,
) -> BatchBuffers:
    """The buffers of one record batch of numbers and lists of numbers, validated; see `read_batch`.

    Without Arrow where it is not compressed: every value that Arrow would check then is checked already.
    """
    found, spans = _find_buffers(data, layout, path, place, num_rows, compression)
    if compression is Compression.NONE:
        return BatchBuffers.of_bytes(found, spans)
    return BatchBuffers.of_batch(_read_by_arrow(data, layout, path, place))


def _find_buffers(
    data: pa.Buffer | bytes,
    layout: BatchLayout,
    path: str,
    place: str,
    num_rows: int | None,
    compression: Compression,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes of a record batch whose metadata was validated, and where in them each buffer is."""
    view = np.frombuffer(data, np.uint8)
    view.flags.writeable = False  # to numba another type
    rows = -1 if num_rows is None else num_rows
    spans = np.empty((layout.num_buffers, 2), np.int64)
    fault, node, found = check_batch(view, layout.nodes, rows, CODECS[compression], spans)
    if fault == WRONG_ROWS and num_rows is not None:
        raise ShardCorruptError(
            "a block and the table of shards disagree on the number of rows",
            path=path,
            place=place,
            expected=str(num_rows),
            found=str(found),
            action="write the dataset again",
        )
    if fault:
        column = f"column {_name_column(layout, node)}: " if node >= 0 else ""
        raise _invalid(f"{column}{FAULTS[fault]}", path, place, f"found {found}" if column else None)
    return view, spans


def _read_by_arrow(data: pa.Buffer | bytes, layout: BatchLayout, path: str, place: str) -> pa.RecordBatch:
    try:
        batch = pa.ipc.read_record_batch(pa.ipc.read_message(data), layout.schema)
        batch.validate(full=True)
    except (pa.ArrowException, OSError) as error:  # the latter of data that does not decompress
        raise _invalid(str(error).partition("\n")[0], path, place) from None
    return batch


def read_block(data: pa.Buffer | bytes, schema: pa.Schema, checksum: int, path: str, block: int) -> pa.RecordBatch:
    """One block that is not compressed, its checksum compared first, then validated. Zero-copy.

    Args:
        data: The block.
        schema: Of the file.
        checksum: xxh3-64 of the block.
        path: The file, for messages.
        block: Its number, for messages.

    Raises:
        ShardCorruptError: The bytes are not those that were written, or are not a block of this schema.
    """
    check_block(data, checksum, path, block)
    return read_batch(data, _layout_of(schema), path, f"block {block}")


def check_block(data: pa.Buffer | bytes, checksum: int, path: str, block: int) -> None:
    """Compare a block with its xxh3-64.

    Raises:
        ShardCorruptError: They differ.
    """
    found = xxhash.xxh3_64_intdigest(data)
    if found != checksum:
        raise ShardCorruptError(
            "the bytes of a block have changed",
            path=path,
            place=f"block {block}",
            expected=f"xxh3-64 {checksum:016x}",
            found=f"{found:016x} over {memoryview(data).nbytes} bytes",
            action="restore the file from a good copy, or write the dataset again",
        )


class ArrowFile:
    """An Arrow file of a known schema: its record batches, each validated when it is read.

    Args:
        file: Its bytes; read in place where they are in memory.
        schema: That it must have.
        path: For messages.

    Attributes:
        spans: `(N, 2)` int64, offset and length in bytes of each record batch.

    Raises:
        ShardCorruptError: It is not an Arrow file, has another schema, or its record batches overlap or lie outside.
    """

    def __init__(self, file: pa.NativeFile, schema: pa.Schema, path: str) -> None:
        self._file = file
        self._path = path
        self._size = file.size()
        self._layout = _layout_of(schema)
        self.spans, self._metadata_bytes = self._read_footer()

    @staticmethod
    def of(data: pa.Buffer | bytes, schema: pa.Schema, path: str) -> ArrowFile:
        """A file that is in memory, or mapped."""
        return ArrowFile(pa.BufferReader(data), schema, path)

    def __len__(self) -> int:
        return len(self.spans)

    @property
    def schema(self) -> pa.Schema:
        """The schema of the file, as the caller gave it."""
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
            raise _invalid(
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
        check_schema(found, self.schema, self._path)

    def _not_a_file(self, found: str) -> ShardCorruptError:
        return ShardCorruptError(
            "it is not an Arrow file written by maskmill", path=self._path, found=found, action=RESTORE
        )


def read_span(file: pa.NativeFile, offset: int, length: int, path: str) -> pa.Buffer:
    """Bytes of a file that it had when it was opened.

    Raises:
        ShardCorruptError: It was cut short meanwhile.
    """
    try:
        with explained_failures(path):
            file.seek(offset)
            data = file.read_buffer(length)
    except EOFError as error:  # of a remote file
        raise _cut_short(path, f"{length} bytes from {offset}", str(error)) from None
    if data.size != length:
        raise _cut_short(path, f"{length} bytes from {offset}", f"{data.size}")
    return data


def _cut_short(path: str, expected: str, found: str) -> ShardCorruptError:
    return ShardCorruptError(
        "the file was cut short while it was read", path=path, expected=expected, found=found, action=RESTORE
    )


def open_whole(store: Store, path: str, checksum: str, schema: pa.Schema) -> ArrowFile:
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
    return ArrowFile.of(data, schema, store.locate(path))


def check_bytes(data: pa.Buffer | bytes, checksum: str, path: str) -> None:
    """Compare a whole file with its xxh3-128.

    Raises:
        ShardCorruptError: They differ.
    """
    _compare(xxhash.xxh3_128_hexdigest(data), checksum, memoryview(data).nbytes, path)


def _compare(found: str, checksum: str, num_bytes: int, path: str) -> None:
    if found != checksum:
        raise ShardCorruptError(
            "the bytes of a file have changed",
            path=path,
            expected=f"xxh3-128 {checksum}",
            found=f"{found} over {num_bytes} bytes",
            action="restore the file from a good copy, or write the dataset again",
        )


def check_file(file: pa.NativeFile, checksum: str, path: str) -> None:
    """Compare the xxh3-128 of a file that is read in parts."""
    _compare(hash_file(file, path), checksum, file.size(), path)


def hash_file(file: pa.NativeFile, path: str) -> str:
    """The xxh3-128 of a file that is read in parts, hexadecimal."""
    digest = xxhash.xxh3_128()
    part = memoryview(bytearray(_PART_BYTES))
    try:
        with explained_failures(path):
            file.seek(0)
            while length := file.readinto(part):
                digest.update(part[:length])
    except EOFError as error:  # of a remote file
        raise _cut_short(path, "all bytes that it had when it was opened", str(error)) from None
    return digest.hexdigest()


def _name_column(layout: BatchLayout, node: int) -> str:
    """The column that an array belongs to."""
    tops = np.flatnonzero(layout.nodes[: node + 1, 2] < 0)
    return str(layout.schema.names[len(tops) - 1])


def _invalid(what: str, path: str, place: str, found: str | None = None) -> ShardCorruptError:
    return ShardCorruptError(
        "the record batch is invalid",
        path=path,
        place=place,
        expected="what maskmill writes",
        found=what + (f", {found}" if found else ""),
        action=RESTORE,
    )
