"""Rows are staged as they stand in their blocks, and what a faulty writer made of them is refused, not written past."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from pipeline.loader.stage_rows import StagedRows
from schemas.errors import ShardCorruptError
from schemas.rows import packed_row_schema

SEQ_LEN, BLOCK_ROWS, MASKED = 12, 4, 2


def make_block(block: int, **changed: list[list[int]]) -> pa.RecordBatch:
    schema = packed_row_schema(SEQ_LEN, 1000, 1)
    rows = range(block * BLOCK_ROWS, (block + 1) * BLOCK_ROWS)
    columns = {
        "input_ids": [[10 * row + i for i in range(SEQ_LEN)] for row in rows],
        "sequence_lengths": [[3 + row % 4, 5] for row in rows],
        "mask_0_positions": [[1, 7] for _ in rows],
        "mask_0_input_ids": [[4, 4] for _ in rows],
        "mask_0_labels": [[row, row + 1] for row in rows],
    } | changed
    lists = [pa.array(columns.get(field.name, [[] for _ in rows]), field.type) for field in schema]
    return pa.RecordBatch.from_arrays(lists, schema=schema)


def make_dataset(blocks: list[pa.RecordBatch]) -> SimpleNamespace:
    return SimpleNamespace(
        manifest=SimpleNamespace(block_rows=BLOCK_ROWS, copies=1),
        shards=SimpleNamespace(first_row_id=np.array([1 << 32], np.uint64), path=lambda shard: f"shard-{shard}"),
        store=SimpleNamespace(locate=lambda path: path),
        read_blocks=lambda _, wanted: [blocks[block] for block in wanted],
    )


def stage(blocks: list[pa.RecordBatch], order: list[int], rows: list[int], at: int = 0) -> StagedRows:
    staged = StagedRows(1, at + len(rows), SEQ_LEN, np.uint16, MASKED)
    staged.copy(make_dataset(blocks), 0, at, 0, np.array(order), np.array(rows), epoch=0)
    return staged


def test_rows_of_several_blocks_stand_in_the_order_they_are_served():
    blocks, order = [make_block(block) for block in range(3)], [2, 0]
    rows = [5, 0, 7, 3]  # of blocks 2 and 0 end to end
    staged = stage(blocks, order, rows, at=3)
    for place, row in enumerate(rows, 3):
        number = order[row // BLOCK_ROWS] * BLOCK_ROWS + row % BLOCK_ROWS
        assert staged.rows[0, place].tolist() == [10 * number + i for i in range(SEQ_LEN)]
        assert staged.row_ids[0, place] == (1 << 32) + number
        assert staged.lengths[0, place, : staged.num_sequences[0, place]].tolist() == [3 + number % 4, 5]
        assert staged.mask_labels[0, place, : staged.num_masked[0, place]].tolist() == [number, number + 1]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("sequence_lengths", [SEQ_LEN, 100]),
        ("sequence_lengths", [SEQ_LEN + 1]),
        ("sequence_lengths", [1] * (SEQ_LEN // 3 + 1)),
        ("mask_0_positions", [1, SEQ_LEN]),
        ("mask_0_positions", [1, 2, 3]),
    ],
)
def test_lists_that_do_not_fit_their_row_are_refused_by_name(column, values):
    whole = make_block(0)
    lists = [*whole.column(column).to_pylist()[:-1], values]
    with pytest.raises(ShardCorruptError, match=f"^shard-0, block 0: the {column} "):
        stage([make_block(0, **{column: lists})], [0], list(range(BLOCK_ROWS)))
