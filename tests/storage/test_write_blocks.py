"""Blocks are where Arrow says, and a byte of them that changes is found."""

from __future__ import annotations

import uuid

import pyarrow as pa
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskmill.pipeline.storage.arrow_batches import read_block
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.pipeline.storage.checksums import check_bytes
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.errors import ShardCorruptError
from tests.storage.arrow_tables import arrow_footer_blocks, write_table


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    names=st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=5, unique=True),
    sizes=st.lists(st.integers(0, 50), max_size=5),
)
def test_block_offsets_are_arrows_for_any_schema(names: list[str], sizes: list[int]) -> None:
    store = open_store(f"memory://{uuid.uuid4().hex}")
    schema = pa.schema([pa.field(name, pa.int32()) for name in names])
    batches = [pa.record_batch([pa.array(range(size), pa.int32())] * len(names), schema=schema) for size in sizes]
    receipt = write_blocks(store, "f", schema, batches)
    data = store.read_bytes("f")
    store.delete("f")
    assert list(zip(receipt.block_offsets, receipt.block_lengths, strict=True)) == arrow_footer_blocks(data)
    assert receipt.checksum == xxhash.xxh3_128_hexdigest(data)
    assert receipt.block_checksums == [
        xxhash.xxh3_64_intdigest(data[offset : offset + length]) for offset, length in arrow_footer_blocks(data)
    ]


def test_every_flipped_byte_of_a_block_is_found() -> None:
    store = open_store(f"memory://{uuid.uuid4().hex}")
    receipt, schema, _ = write_table(store, "f", [[1, 2, 3]])
    offset, length = receipt.block_offsets[0], receipt.block_lengths[0]
    block = store.read_range("f", offset, length)
    for at in range(length):
        broken = bytearray(block)
        broken[at] ^= 1 << (at % 8)
        with pytest.raises(ShardCorruptError) as caught:
            read_block(bytes(broken), schema, receipt.block_checksums[0], "f", 0)
        assert (caught.value.path, caught.value.place) == ("f", "block 0")
    with pytest.raises(ShardCorruptError):
        read_block(block[:-1], schema, receipt.block_checksums[0], "f", 0)
    whole = store.read_bytes("f")
    for at in range(len(whole)):
        broken = bytearray(whole)
        broken[at] ^= 1
        with pytest.raises(ShardCorruptError):
            check_bytes(bytes(broken), receipt.checksum, "f")


def test_dictionary_types_are_refused_before_a_byte_is_written() -> None:
    store = open_store(f"memory://{uuid.uuid4().hex}")
    schema = pa.schema([pa.field("a", pa.list_(pa.dictionary(pa.int8(), pa.string())))])
    with pytest.raises(ValueError, match="dictionary"):
        write_blocks(store, "f", schema, [])
    assert store.list() == []
