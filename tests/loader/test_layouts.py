"""Rows are served alike however they stand: several segments a sequence, several files a document shard, compressed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from maskmill.pipeline.loader.fixed_rows import iter_fixed_batches
from maskmill.pipeline.masking.numba_masks import mask_rows
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.pipeline.storage.shard_table import read_shard_table
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.errors import ShardCorruptError
from maskmill.schemas.rows import Compression
from tests.loader.blocks.test_bad_bytes import find_block, flip_bit
from tests.loader.datasets import (
    CLS,
    COPIES,
    NUM_ROWS,
    SEP,
    SEQ_LEN,
    SHARD_ROWS,
    STATIC_MASKING,
    VOCABULARY,
    read_stored_rows,
    write_dataset,
)
from tests.loader.streams import MASKING, equal_batches, open_loader

TABLES = MaskTables.build(VOCABULARY)


@pytest.mark.parametrize("masking", [MASKING, "static"])
def test_a_sequence_of_several_segments_attends_as_one(tmp_path, masking):
    write_dataset(str(tmp_path), sequences="full_sentences")
    stored = read_stored_rows(str(tmp_path))
    assert max(row.input_ids.count(SEP) for row in stored.values()) > 1
    served = 0
    for batch in open_loader(str(tmp_path), global_batch_rows=1, masking=masking).epochs(1):
        (row,) = batch.row_ids.tolist()
        (length,) = stored[row].sequence_lengths
        assert stored[row].input_ids.count(CLS) == 1
        assert batch.segment_ids.tolist() == [[1] * length + [0] * (SEQ_LEN - length)]
        assert batch.position_ids.tolist() == [[*range(length), *range(SEQ_LEN - length)]]
        assert batch.cu_seqlens.tolist() == [0, length] + [SEQ_LEN] * (length < SEQ_LEN)
        kept = np.where(batch.labels.numpy() == -100, batch.input_ids.numpy(), batch.labels.numpy())
        assert kept.tolist() == [stored[row].input_ids]
        served += 1
    assert served == NUM_ROWS


@pytest.mark.parametrize("compression", [Compression.LZ4, Compression.ZSTD])
@pytest.mark.parametrize("masking", [MASKING, "static"])
def test_compressed_blocks_give_the_batches_of_plain_ones(dataset, tmp_path, compression, masking):
    write_dataset(str(tmp_path / "packed"), compression=compression)
    plain, packed = (open_store(str(folder)) for folder in (dataset, tmp_path / "packed"))
    assert packed.read_bytes("shard-00002.arrow") != plain.read_bytes("shard-00002.arrow")
    for one, other in zip(
        open_loader(dataset, masking=masking).epochs(2),
        open_loader(str(tmp_path / "packed"), masking=masking).epochs(2),
        strict=True,
    ):
        other.state["dataset"] = one.state["dataset"]
        assert equal_batches(one, other)


def test_compressed_blocks_are_checked_as_they_are_stored(tmp_path):
    write_dataset(str(tmp_path), compression=Compression.ZSTD)
    offset, length = find_block(tmp_path, 2, 3)
    flip_bit(tmp_path / "shard-00002.arrow", offset + length // 2)
    with pytest.raises(ShardCorruptError, match=r"shard-00002.arrow, block 3: the bytes of a block have changed"):
        list(open_loader(str(tmp_path)).epochs(1))


@pytest.mark.parametrize("rows_per_shard", [1, 6, 16, 1000])
def test_a_row_keeps_its_number_and_its_masks_in_whatever_file_it_is(dataset, stored, tmp_path, rows_per_shard):
    manifest = write_dataset(str(tmp_path), rows_per_shard=rows_per_shard)
    assert read_stored_rows(str(tmp_path)) == stored
    table = read_shard_table(open_store(str(tmp_path)), manifest)
    assert len(table) == sum(max(1, -(-rows // rows_per_shard)) for rows in SHARD_ROWS)
    for one, following in pairwise(range(len(table))):
        assert table.first_row_id[one] < table.first_row_id[following]
    batches = list(iter_fixed_batches(str(tmp_path), MASKING, 7))
    assert [row for batch in batches for row in batch.row_ids.tolist()] == sorted(stored)
    for epoch in range(COPIES):
        for batch in open_loader(str(tmp_path), masking="static").epochs(epoch + 1):
            rows = np.array([stored[row].input_ids for row in batch.row_ids.tolist()], np.uint16)
            expected = mask_rows(rows, batch.row_ids.numpy(), batch.epoch, STATIC_MASKING, TABLES)
            assert batch.input_ids.tolist() == expected[0].tolist()
            assert batch.labels.tolist() == expected[1].tolist()


def test_the_number_of_a_row_is_what_the_table_says(tmp_path):
    def number_from(receipts):
        return [receipt.model_copy(update={"first_row_id": receipt.first_row_id + (9 << 32)}) for receipt in receipts]

    write_dataset(str(tmp_path), change_receipts=number_from)
    served = {
        row for batch in open_loader(str(tmp_path), global_batch_rows=1).epochs(1) for row in batch.row_ids.tolist()
    }
    assert served == {row + (9 << 32) for row in read_stored_rows(str(tmp_path))}
