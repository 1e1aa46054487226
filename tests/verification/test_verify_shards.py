"""A shard that somebody cuts short or writes over while it is verified is refused, and never ends the process."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xxhash

from maskmill.pipeline.storage.arrow_batches import read_block
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.arrow_reader import ArrowFile, open_whole
from maskmill.pipeline.storage.checksums import check_file
from maskmill.pipeline.storage.shard_table import ShardTable
from maskmill.pipeline.storage.store import Store, open_store
from maskmill.pipeline.verification.verify_shards import read_shard
from maskmill.schemas.documents import DOCUMENT_SCHEMA
from maskmill.schemas.errors import ShardCorruptError
from maskmill.schemas.receipt import ShardReceipt

BLOCKS = 8
BATCH = pa.record_batch([["1"], ["s"], ["text " * 20_000]], schema=DOCUMENT_SCHEMA)


@pytest.fixture
def shard(tmp_path: Path) -> tuple[Store, ShardReceipt]:
    store = open_store(str(tmp_path))
    return store, write_blocks(store, "shard-00000.arrow", DOCUMENT_SCHEMA, [BATCH] * BLOCKS)


def list_shards(receipt: ShardReceipt) -> ShardTable:
    return ShardTable(
        paths=pa.array([receipt.path]),
        first_row_id=np.array([0], np.uint64),
        rows=np.array([receipt.rows]),
        text_bytes=np.array([0]),
        size_bytes=np.array([receipt.size_bytes]),
        checksums=pa.array([receipt.checksum]),
        first_block=np.array([0, BLOCKS]),
        block_offsets=np.array(receipt.block_offsets),
        block_lengths=np.array(receipt.block_lengths, np.uint32),
        block_checksums=np.array(receipt.block_checksums, np.uint64),
    )


def cut(path: str) -> None:
    os.truncate(path, 5000)


def write_over(path: str) -> None:
    with open(path, "r+b") as file:
        file.seek(5000)
        file.write(bytes(os.path.getsize(path) - 5000))


@pytest.mark.parametrize(("change", "found"), [(cut, "cut short while it was read"), (write_over, "bytes of a block")])
def test_a_shard_that_changes_while_it_is_read_is_refused(
    shard: tuple[Store, ShardReceipt], change: Callable[[str], None], found: str
) -> None:
    store, receipt = shard
    blocks = read_shard(
        store,
        list_shards(receipt),
        0,
        DOCUMENT_SCHEMA,
        lambda data, checksum, path, block: read_block(data, DOCUMENT_SCHEMA, checksum, path, block),
    )
    assert next(blocks).equals(BATCH)
    change(store.full(receipt.path))
    with pytest.raises(ShardCorruptError, match=f"{receipt.path}.*{found}"):
        list(blocks)


@pytest.mark.parametrize("moved", [-64, 8, 64])
def test_a_footer_that_splits_its_blocks_elsewhere_is_refused(shard: tuple[Store, ShardReceipt], moved: int) -> None:
    """Arrow reads no such file, though each block is where the footer says and has the bytes that were written."""
    store, receipt = shard
    data = bytearray(store.read_bytes(receipt.path))
    offset, length = receipt.block_offsets[3], receipt.block_lengths[3]
    metadata = 8 + struct.unpack_from("<i", data, offset + 4)[0]
    place = data.rindex(struct.pack("<qiiq", offset, metadata, 0, length - metadata))
    struct.pack_into("<qiiq", data, place, offset, metadata + moved, 0, length - metadata - moved)
    store.write_bytes(receipt.path, bytes(data))
    shards = list_shards(receipt.model_copy(update={"checksum": xxhash.xxh3_128_hexdigest(bytes(data))}))
    blocks = read_shard(
        store,
        shards,
        0,
        DOCUMENT_SCHEMA,
        lambda data, checksum, path, block: read_block(data, DOCUMENT_SCHEMA, checksum, path, block),
    )
    with pytest.raises(ShardCorruptError, match=f"record batch 3.*{metadata + moved} bytes of metadata by the footer"):
        list(blocks)


def test_a_file_that_was_opened_whole_is_what_it_was(shard: tuple[Store, ShardReceipt]) -> None:
    store, receipt = shard
    file = open_whole(store, receipt.path, receipt.checksum, DOCUMENT_SCHEMA)
    cut(store.full(receipt.path))
    assert file.read_all().equals(pa.Table.from_batches([BATCH] * BLOCKS))


def test_a_file_that_is_replaced_is_read_as_it_was_opened(shard: tuple[Store, ShardReceipt]) -> None:
    store, receipt = shard
    with store.open_input(receipt.path) as opened:
        store.write_bytes(receipt.path, b"")
        check_file(opened, receipt.checksum, receipt.path)
        assert len(ArrowFile(opened, DOCUMENT_SCHEMA, receipt.path)) == BLOCKS


def test_reading_a_shard_takes_no_memory_for_the_shard(shard: tuple[Store, ShardReceipt]) -> None:
    """Nothing is mapped: the address space is limited to less than the file has."""
    store, _ = shard
    path = store.full("large.bin")
    with open(path, "wb") as file:
        file.truncate(1 << 31)
    program = (
        "import resource, sys; from maskmill.pipeline.storage.store import open_store\n"
        "store = open_store(sys.argv[1])\n"
        "taken = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (taken + (1 << 28), taken + (1 << 28)))\n"
        "with store.open_input('large.bin', whole=True) as file: print(file.size(), file.read(4))\n"
    )
    command = [sys.executable, "-c", program, store.root]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stdout == f"{1 << 31} {bytes(4)!r}\n", ended.stderr
