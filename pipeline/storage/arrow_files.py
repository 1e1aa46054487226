"""Writing Arrow IPC files in blocks: each record batch is checksummed as it is written and can be fetched alone.

`arrow_reader` reads them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, Any

import pyarrow as pa
import xxhash

from maskmill.pipeline.storage.hashing_sink import HashingSink
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.receipt import ShardReceipt
from maskmill.schemas.rows import Compression

_SMALL_BYTES = 1 << 12


class _BlockSink(HashingSink):
    """A `HashingSink` that also hashes the block being written.

    Args:
        file: Where it goes.
        header_bytes: Bytes before the first block.
    """

    def __init__(self, file: IO[bytes], header_bytes: int) -> None:
        super().__init__(file)
        self._header_bytes = header_bytes
        self._taken = 0
        self.block = xxhash.xxh3_64()
        self._small = bytearray()

    def write(self, data: Any) -> int:
        """Write bytes; short pieces, of which a block has dozens, are gathered first."""
        view = memoryview(data).cast("B")
        if view.nbytes < _SMALL_BYTES:
            self._small += view
            if len(self._small) >= _SMALL_BYTES:
                self.end_block()
        else:
            self.end_block()
            self._take(view)
        self.position += view.nbytes
        return view.nbytes

    def end_block(self) -> None:
        """Hash and write what was gathered."""
        if self._small:
            gathered, self._small = self._small, bytearray()
            self._take(memoryview(gathered))

    def _take(self, view: memoryview) -> None:
        super()._take(view)
        self.block.update(view[max(0, self._header_bytes - self._taken) :])
        self._taken += view.nbytes


def write_blocks(
    store: Store,
    path: str,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    *,
    tokens: int = 0,
    text_bytes: int = 0,
    first_row_id: int = 0,
    compression: Compression = Compression.NONE,
) -> ShardReceipt:
    """Write record batches as one Arrow file, a block each, durably.

    Args:
        store: Where.
        path: Relative to the store; it is what the receipt names.
        schema: Of the file.
        batches: One block each, written as they come.
        tokens: For the receipt.
        text_bytes: For the receipt.
        first_row_id: For the receipt.
        compression: Of the blocks' buffers; readers of Arrow files undo it by themselves. Checksums are over the
            bytes as they are stored.

    Raises:
        ValueError: The schema has a dictionary type; its batches would lie between the blocks, unchecked.
    """
    if any(_has_dictionary(field.type) for field in schema):
        raise ValueError("dictionary types cannot be written in blocks")
    offsets: list[int] = []
    lengths: list[int] = []
    checksums: list[int] = []
    rows = 0
    with store.open_output(path) as file:
        # Arrow writes the magic bytes and the schema together with the first batch, not when the file is opened.
        header_bytes = len(b"ARROW1\0\0") + schema.serialize().size
        sink = _BlockSink(file, header_bytes)
        codec = None if compression is Compression.NONE else compression.value
        options = pa.ipc.IpcWriteOptions(compression=codec, use_threads=False)  # a unit has one core
        with pa.ipc.new_file(sink, schema, options=options) as writer:
            for batch in batches:
                offsets.append(max(sink.position, header_bytes))
                sink.end_block()
                sink.block.reset()
                writer.write_batch(batch)
                sink.end_block()
                lengths.append(sink.position - offsets[-1])
                checksums.append(sink.block.intdigest())
                rows += batch.num_rows
        sink.end_block()
    return ShardReceipt(
        path=path,
        rows=rows,
        tokens=tokens,
        text_bytes=text_bytes,
        size_bytes=sink.position,
        checksum=sink.whole.hexdigest(),
        block_offsets=offsets,
        block_lengths=lengths,
        block_checksums=checksums,
        first_row_id=first_row_id,
    )


def _has_dictionary(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return True
    return any(_has_dictionary(kind.field(index).type) for index in range(kind.num_fields))
