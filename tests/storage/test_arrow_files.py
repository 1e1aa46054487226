"""Blocks are checked as they are stored, compressed or not, and any reader of Arrow files takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash

from maskmill.pipeline.storage.arrow_batches import read_batch, read_block
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.arrow_layout import BatchLayout
from maskmill.pipeline.storage.arrow_reader import ArrowFile
from maskmill.pipeline.storage.arrow_views import view_numbers
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.schemas.errors import ShardCorruptError
from maskmill.schemas.receipt import ShardReceipt
from maskmill.schemas.rows import Compression, packed_row_schema

SCHEMA = packed_row_schema(32, 300, 0)
LAYOUT = BatchLayout.of(SCHEMA, dict.fromkeys(SCHEMA.names[1:], 32))


def make_block(first: int, num_rows: int = 16) -> pa.RecordBatch:
    ids = pa.array(np.arange(first, first + 32 * num_rows) % 7, pa.uint16())
    lists = pa.array([[32]] * num_rows)
    columns = [pa.FixedSizeListArray.from_arrays(ids, type=SCHEMA.field(0).type), lists, lists, lists, lists]
    return pa.record_batch(
        [column.cast(field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


BLOCKS = [make_block(first) for first in range(3)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def write(store: Store, compression: Compression, **options: Any) -> ShardReceipt:
    return write_blocks(store, f"{compression}.arrow", SCHEMA, BLOCKS, compression=compression, **options)


@pytest.mark.parametrize("compression", Compression)
def test_every_block_can_be_read_alone_and_the_file_as_a_whole(store: Store, compression: Compression) -> None:
    receipt = write(store, compression, first_row_id=5 << 32)
    data = store.read_bytes(receipt.path)
    assert (receipt.rows, receipt.first_row_id, receipt.size_bytes) == (48, 5 << 32, len(data))
    assert receipt.checksum == xxhash.xxh3_128_hexdigest(data)
    for number, (offset, length, checksum) in enumerate(
        zip(receipt.block_offsets, receipt.block_lengths, receipt.block_checksums, strict=True)
    ):
        stored = data[offset : offset + length]
        assert checksum == xxhash.xxh3_64_intdigest(stored)
        assert read_batch(stored, LAYOUT, "x", "block", 16, compression).equals(BLOCKS[number])
    assert pa.ipc.open_file(data).read_all().to_batches() == BLOCKS
    if compression is Compression.NONE:
        assert list(ArrowFile.of(data, SCHEMA, "x").iter_batches()) == BLOCKS


@pytest.mark.parametrize("compression", Compression)
def test_the_same_blocks_are_the_same_bytes(store: Store, compression: Compression) -> None:
    first = store.read_bytes(write(store, compression).path)
    assert store.read_bytes(write(store, compression).path) == first


def test_compressed_files_are_smaller(store: Store) -> None:
    sizes = {compression: write(store, compression).size_bytes for compression in Compression}
    assert sizes[Compression.ZSTD] < sizes[Compression.LZ4] < sizes[Compression.NONE]


@pytest.mark.parametrize("compression", Compression)
def test_no_flipped_bit_of_a_block_is_decompressed(store: Store, compression: Compression) -> None:
    receipt = write(store, compression)
    data = store.read_bytes(receipt.path)
    offset, length = receipt.block_offsets[1], receipt.block_lengths[1]
    for place in range(0, length, max(1, length // 40)):
        damaged = bytearray(data[offset : offset + length])
        damaged[place] ^= 1
        with pytest.raises(ShardCorruptError, match="x, block 1: the bytes of a block have changed"):
            read_block(bytes(damaged), SCHEMA, receipt.block_checksums[1], "x", 1)


@pytest.mark.parametrize("kind", [pa.uint16(), pa.int32(), pa.uint64()])
def test_numbers_are_viewed_as_arrow_gives_them(kind: pa.DataType) -> None:
    whole = pa.array(range(9), kind)
    for array in (whole, whole.slice(3), whole.slice(2, 4), whole.slice(9), pa.array([], kind), pa.nulls(0, kind)):
        viewed = view_numbers(array)
        assert viewed.dtype == kind.to_pandas_dtype()
        assert viewed.tolist() == array.to_pylist()
