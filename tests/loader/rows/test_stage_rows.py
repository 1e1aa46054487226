"""Rows are staged as they stand in their blocks, in the order they are served."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from maskmill.pipeline.loader.rows.stage_rows import StagedRows
from maskmill.pipeline.storage.packed_blocks import Lists, PackedBlock
from maskmill.schemas.rows import Per

SEQ_LEN, BLOCK_ROWS, MASKED = 12, 4, 2


def make_block(block: int) -> PackedBlock:
    rows = np.arange(block * BLOCK_ROWS, (block + 1) * BLOCK_ROWS)
    ids = (10 * rows[:, None] + np.arange(SEQ_LEN)).astype(np.uint16)
    lengths = np.column_stack([3 + rows % 4, np.full(BLOCK_ROWS, 5)]).astype(np.uint16).reshape(-1)
    offsets = np.arange(0, 2 * BLOCK_ROWS + 1, 2, dtype=np.int32)
    positions = np.tile(np.array([1, 7], np.uint16), BLOCK_ROWS)
    labels = np.column_stack([rows, rows + 1]).astype(np.uint16).reshape(-1)
    shown = np.full_like(labels, 4)
    masks = Lists(offsets, {"mask_positions": positions, "mask_input_ids": shown, "mask_labels": labels})
    return PackedBlock(ids, Lists(offsets, {"sequence_lengths": lengths}), Lists(offsets, {}), {0: masks})


def make_dataset(blocks: list[PackedBlock]) -> SimpleNamespace:
    return SimpleNamespace(
        manifest=SimpleNamespace(block_rows=BLOCK_ROWS, copies=1),
        shards=SimpleNamespace(first_row_id=np.array([1 << 32], np.uint64), path=lambda shard: f"shard-{shard}"),
        store=SimpleNamespace(locate=lambda path: path),
        read_blocks=lambda _shard, wanted, _copies: [blocks[block] for block in wanted],
    )


def stage(blocks: list[PackedBlock], order: list[int], rows: list[int], at: int = 0) -> StagedRows:
    staged = StagedRows(1, at + len(rows), SEQ_LEN, np.uint16, MASKED)
    staged.copy(make_dataset(blocks), 0, at, 0, np.array(order), np.array(rows), epoch=0)
    return staged


def list_of(staged: StagedRows, per: Per, name: str, place: int) -> list[int]:
    lists = staged.lists[per]
    values: list[int] = lists.values[name][0, place, : lists.counts[0, place]].tolist()
    return values


def test_rows_of_several_blocks_stand_in_the_order_they_are_served():
    blocks, order = [make_block(block) for block in range(3)], [2, 0]
    rows = [5, 0, 7, 3]  # of blocks 2 and 0 end to end
    staged = stage(blocks, order, rows, at=3)
    for place, row in enumerate(rows, 3):
        number = order[row // BLOCK_ROWS] * BLOCK_ROWS + row % BLOCK_ROWS
        assert staged.rows[0, place].tolist() == [10 * number + i for i in range(SEQ_LEN)]
        assert staged.row_ids[0, place] == (1 << 32) + number
        assert list_of(staged, Per.SEQUENCE, "sequence_lengths", place) == [3 + number % 4, 5]
        assert list_of(staged, Per.MASKED, "mask_labels", place) == [number, number + 1]


def test_rows_without_masks_take_the_place_of_rows_with_some() -> None:
    """In a mixture the places are used again, and a dataset that was prepared with a rate of 0 has no masks."""
    masked, bare = stage([make_block(0)], [0], [0, 1, 2, 3]), StagedRows(1, 4, SEQ_LEN, np.uint16, 0)
    bare.copy(make_dataset([make_block(0)]), 0, 0, 0, np.array([0]), np.arange(4), epoch=0)
    gathered = StagedRows(1, 4, SEQ_LEN, np.uint16, MASKED)
    slots, places = np.zeros(4, np.int64), np.arange(4)
    gathered.take_rows(masked, slots, places, places)
    assert gathered.lists[Per.MASKED].counts.tolist() == [[MASKED] * 4]
    gathered.take_rows(bare, slots[:2], places[:2], np.array([1, 3]))
    assert gathered.lists[Per.MASKED].counts.tolist() == [[MASKED, 0, MASKED, 0]]
