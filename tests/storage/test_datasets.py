"""A dataset is read as its manifest and table were written, number of its rows included."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.storage.check_table import _SUSPICIOUS
from maskmill.pipeline.storage.datasets import read_manifest, write_manifest
from maskmill.pipeline.storage.paths import check_inside
from maskmill.pipeline.storage.shard_table import read_shard_table, write_shard_table
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.counts import EncodingCounts
from maskmill.schemas.errors import ConfigError, ShardCorruptError
from maskmill.schemas.manifest import EncodedManifest, PackedManifest
from maskmill.schemas.receipt import ShardReceipt

LAST_ROW_ID = (1 << 64) - (1 << 32)  # of the last document shard that there may be


def make_receipt(path: str, number: int, first_row_id: int) -> ShardReceipt:
    return ShardReceipt(
        path=path,
        rows=number,
        tokens=2 * number,
        text_bytes=3 * number,
        size_bytes=8 + 16 * number,
        checksum=f"{number:032x}",
        block_offsets=list(range(8, 8 + 16 * number, 16)),
        block_lengths=[16] * number,
        block_checksums=[(1 << 64) - 1 - index for index in range(number)],
        first_row_id=first_row_id,
    )


RECEIPTS = [
    make_receipt("encoded/shard-00000.arrow", 2, 0),
    make_receipt("encoded/shard-00001.arrow", 0, 1 << 32),
    make_receipt("encoded/shard-99999.arrow", 1, LAST_ROW_ID),
]


def write_encoded(url: str, num_shards: int = 3) -> EncodedManifest:
    store = open_store(url)
    written, checksum = write_shard_table(store, "encoded", RECEIPTS)
    assert written == 3
    return write_manifest(
        store,
        "encoded",
        EncodedManifest(
            run_fingerprint="",
            num_shards=num_shards,
            shards_checksum=checksum,
            held_out=False,
            tokenizer_checksum="",
            documents_fingerprint="",
            text_bytes=9,
            counts=EncodingCounts(**dict.fromkeys(EncodingCounts.model_fields, 0) | {"documents": 3}),
        ),
    )


def test_a_table_is_read_as_columns_of_what_was_written(tmp_path: Path) -> None:
    manifest = write_encoded(str(tmp_path))
    dataset = open_store(str(tmp_path / "encoded"))
    assert read_manifest(dataset, EncodedManifest) == manifest
    table = read_shard_table(dataset, manifest)
    assert [table.path(shard) for shard in range(len(table))] == [
        "shard-00000.arrow",
        "shard-00001.arrow",
        "shard-99999.arrow",
    ]
    assert (table.first_row_id.dtype, table.first_row_id.tolist()) == (np.uint64, [0, 1 << 32, LAST_ROW_ID])
    assert (table.rows.tolist(), table.text_bytes.tolist(), table.size_bytes.tolist()) == (
        [2, 0, 1],
        [6, 0, 3],
        [40, 8, 24],
    )
    assert table.first_block.tolist() == [0, 2, 2, 3]
    assert (table.block_offsets.tolist(), table.block_lengths.tolist()) == ([8, 24, 8], [16, 16, 16])
    assert table.block_checksums.tolist() == [(1 << 64) - 1, (1 << 64) - 2, (1 << 64) - 1]
    assert table.checksums.to_pylist() == [receipt.checksum for receipt in RECEIPTS]


def test_a_table_of_another_number_of_shards_is_refused(tmp_path: Path) -> None:
    manifest = write_encoded(str(tmp_path), num_shards=4)
    with pytest.raises(ShardCorruptError, match="disagree on the number of shards"):
        read_shard_table(open_store(str(tmp_path / "encoded")), manifest)


def test_an_encoded_dataset_is_no_packed_one(tmp_path: Path) -> None:
    write_encoded(str(tmp_path))
    with pytest.raises(ConfigError, match="a manifest of another kind"):
        read_manifest(open_store(str(tmp_path / "encoded")), PackedManifest)


@given(st.text("a./\\:\0\n", max_size=8))
def test_every_path_that_leaves_a_dataset_is_looked_at(path: str) -> None:
    try:
        check_inside(path, "dataset")
    except ShardCorruptError:
        assert pc.match_substring_regex(pa.array([path]), _SUSPICIOUS)[0].as_py()


@pytest.mark.parametrize("num_shards", [0, 1, 128, 300])
def test_the_table_is_one_batch_of_all_shards(tmp_path: Path, num_shards: int) -> None:
    receipts = [make_receipt(f"encoded/shard-{number:05d}.arrow", number % 5, number) for number in range(num_shards)]
    written, checksum = write_shard_table(open_store(str(tmp_path)), "encoded", iter(receipts))
    data = (tmp_path / "encoded" / "shards.arrow").read_bytes()
    assert (written, checksum) == (num_shards, xxhash.xxh3_128_hexdigest(data))
    reader = pa.ipc.open_file(data)
    assert reader.num_record_batches == min(1, num_shards)
    expected = [receipt.model_dump() | {"path": receipt.path.removeprefix("encoded/")} for receipt in receipts]
    assert reader.read_all().to_pylist() == expected


def test_the_receipts_of_many_shards_are_not_all_in_memory(tmp_path: Path) -> None:
    num_shards, num_blocks = 2000, 256

    def generate() -> Iterator[ShardReceipt]:
        for number in range(num_shards):
            yield ShardReceipt(
                path=f"encoded/shard-{number:05d}.arrow",
                rows=1,
                tokens=0,
                text_bytes=0,
                size_bytes=1 << 26,
                checksum="0" * 32,
                block_offsets=[1000 + number + (block << 18) for block in range(num_blocks)],
                block_lengths=[(1 << 18) - number - block for block in range(num_blocks)],
                block_checksums=[number * num_blocks + block + (1 << 40) for block in range(num_blocks)],
                first_row_id=number,
            )

    tracemalloc.start()
    write_shard_table(open_store(str(tmp_path)), "encoded", generate())
    _, most_of_python = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_of_python < 16 << 20  # 130 MB with all receipts in memory


def test_a_table_without_a_shard_is_read(tmp_path: Path) -> None:
    manifest = write_encoded(str(tmp_path), num_shards=0)
    _, checksum = write_shard_table(open_store(str(tmp_path)), "encoded", [])
    table = read_shard_table(
        open_store(str(tmp_path / "encoded")), manifest.model_copy(update={"shards_checksum": checksum})
    )
    assert (len(table), table.first_block.tolist(), len(table.block_lengths)) == (0, [0], 0)
