"""What a batch carries: law 6 for its masks, brute force for its boundaries."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from maskmill.pipeline.loader import Masking
from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.pipeline.loader.batches.fill_batch import fill_batch
from maskmill.pipeline.loader.fixed_rows import iter_fixed_batches
from maskmill.pipeline.loader.resume.batch_place import BatchPlace
from maskmill.pipeline.loader.rows.row_batch import RowBatch
from maskmill.pipeline.loader.rows.stage_rows import StagedRows
from maskmill.pipeline.masking.numba_masks import mask_rows
from maskmill.pipeline.masking.plan_masks import plan_masks
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.rows import Per
from tests.loader.datasets import COPIES, NUM_ROWS, SEQ_LEN, STATIC_MASKING, VOCABULARY, read_stored_rows, write_dataset
from tests.loader.streams import MASKING, open_loader

TABLES = MaskTables.build(VOCABULARY)


def mask_stored(stored, row_ids, epoch, masking):
    rows = np.array([stored[row].input_ids for row in row_ids], np.uint16)
    return mask_rows(rows, np.array(row_ids, np.int64), epoch, masking, TABLES)


@pytest.mark.parametrize(
    "masking", [MASKING, Masking(), Masking(rate=1.0, mask_share=0.5, random_share=0.5, seed=2**64 - 1)]
)
def test_a_dynamic_mask_is_that_of_its_row_and_epoch_whatever_the_batch(dataset, stored, masking):
    for settings in ({}, {"global_batch_rows": 24, "micro_batch_rows": 3, "seed": 5}):
        for batch in open_loader(dataset, masking=masking, **settings).epochs(2):
            input_ids, labels = mask_stored(stored, batch.row_ids.tolist(), batch.epoch, masking)
            assert batch.input_ids.tolist() == input_ids.tolist()
            assert batch.labels.tolist() == labels.tolist()


def test_static_masks_are_the_dynamic_ones_of_epoch_e_mod_n(dataset, stored):
    for batch in open_loader(dataset, masking="static").epochs(2 * COPIES + 1):
        input_ids, labels = mask_stored(stored, batch.row_ids.tolist(), batch.epoch % COPIES, STATIC_MASKING)
        assert batch.input_ids.tolist() == input_ids.tolist()
        assert batch.labels.tolist() == labels.tolist()


@pytest.mark.parametrize("masking", [MASKING, "static"])
def test_boundaries_are_those_of_the_sequences(dataset, stored, masking):
    padded = 0
    for batch in open_loader(dataset, masking=masking).epochs(1):
        positions, segments, ends = [], [], [0]
        for row in batch.row_ids.tolist():
            lengths = stored[row].sequence_lengths
            padding = SEQ_LEN - sum(lengths)
            padded += padding > 0
            positions.append([place for length in [*lengths, padding] for place in range(length)])
            segments.append([n for n, length in enumerate(lengths, 1) for _ in range(length)] + [0] * padding)
            for length in [*lengths] + [padding] * (padding > 0):
                ends.append(ends[-1] + length)
        assert batch.position_ids.tolist() == positions
        assert batch.segment_ids.tolist() == segments
        assert batch.cu_seqlens.tolist() == ends
        assert ends[-1] == len(batch.row_ids) * SEQ_LEN
        assert batch.max_seqlen == max(np.diff(ends))
        assert isinstance(batch.max_seqlen, int)
    assert padded


def test_the_longest_sequence_may_be_the_padding():
    staged = StagedRows(1, 1, SEQ_LEN, np.uint16, 0)
    sequences = staged.lists[Per.SEQUENCE]
    staged.rows[:], staged.row_ids[:], sequences.counts[:] = 0, 0, 2
    sequences.values["sequence_lengths"][0, 0, :2] = 5, 4
    only = np.zeros(1, np.int64)
    rows = RowBatch(staged, only, only, only, only, [0])
    batch = fill_batch(rows, {0: plan_masks(MASKING, TABLES, 0)}, pad_id=0)
    assert batch.cu_seqlens.tolist() == [0, 5, 9, SEQ_LEN]
    assert batch.max_seqlen == SEQ_LEN - 9


def test_types_are_those_of_the_contract(dataset):
    batch = next(iter(open_loader(dataset)))
    for name in ("input_ids", "labels", "position_ids"):
        assert getattr(batch, name).dtype == torch.int64
        assert getattr(batch, name).shape == (8, SEQ_LEN)
    assert (batch.segment_ids.dtype, batch.segment_ids.shape) == (torch.int32, (8, SEQ_LEN))
    assert (batch.cu_seqlens.dtype, batch.row_ids.dtype) == (torch.int32, torch.int64)
    assert all(getattr(batch, name).is_contiguous() for name in ("input_ids", "labels", "position_ids", "cu_seqlens"))


def test_a_batch_is_never_written_again(dataset):
    stream = iter(open_loader(dataset))
    first = next(stream)
    kept = {name: value.clone() for name, value in vars(first).items() if isinstance(value, torch.Tensor)}
    for _ in range(40):
        next(stream)
    assert all(torch.equal(getattr(first, name), value) for name, value in kept.items())


def test_a_moved_batch_is_the_same_batch(dataset):
    batch = next(iter(open_loader(dataset)))
    moved = batch.to("meta")
    for name, value in vars(batch).items():
        if isinstance(value, torch.Tensor):
            assert getattr(moved, name).is_meta
            assert getattr(moved, name).shape == value.shape
        else:
            assert getattr(moved, name) == value


def test_vocabularies_beyond_65536_are_read_as_they_are(tmp_path):
    write_dataset(str(tmp_path), vocab_size=70_000, shard_rows=(9, 4))
    stored = read_stored_rows(str(tmp_path))
    for masking in (Masking(rate=0.0, seed=1), "static"):
        for batch in open_loader(str(tmp_path), global_batch_rows=4, masking=masking).epochs(1):
            kept = torch.where(batch.labels == -100, batch.input_ids, batch.labels)
            assert kept.tolist() == [stored[row].input_ids for row in batch.row_ids.tolist()]
            assert kept.max() > 65_535


@pytest.mark.parametrize("batch_rows", [1, 4, 7, 50, 1000])
def test_fixed_batches_hold_every_row_once_in_stored_order(dataset, stored, batch_rows):
    batches = list(iter_fixed_batches(dataset, MASKING, batch_rows, epoch=2))
    assert [row for batch in batches for row in batch.row_ids.tolist()] == sorted(stored)
    sizes = [len(batch.row_ids) for batch in batches]
    assert sizes == [batch_rows] * (NUM_ROWS // batch_rows) + [NUM_ROWS % batch_rows] * (NUM_ROWS % batch_rows > 0)
    assert [batch.step for batch in batches] == list(range(len(batches)))
    for batch in batches:
        input_ids, labels = mask_stored(stored, batch.row_ids.tolist(), 2, MASKING)
        assert (batch.input_ids.tolist(), batch.labels.tolist()) == (input_ids.tolist(), labels.tolist())


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 7, 41, NUM_ROWS])
@pytest.mark.parametrize("batch_rows", [1, 4, 9, 1000])
def test_ranks_share_the_fixed_batches_of_one_process(dataset, batch_rows, world_size):
    """Every row once, its fields those of one process, and the same number of batches on every rank."""
    alone = list(iter_fixed_batches(dataset, MASKING, 1, epoch=2))
    ranks = [
        list(iter_fixed_batches(dataset, MASKING, batch_rows, 2, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    for name in ("input_ids", "labels", "position_ids", "segment_ids", "row_ids"):
        whole = torch.cat([getattr(batch, name) for batch in alone])
        assert torch.equal(torch.cat([getattr(batch, name) for batches in ranks for batch in batches]), whole)
    assert len({len(batches) for batches in ranks}) == 1
    shares = [[len(batch.row_ids) for batch in batches] for batches in ranks]
    assert max(map(sum, shares)) - min(map(sum, shares)) <= 1
    assert max(map(max, shares)) <= batch_rows


@pytest.mark.parametrize("weights", ["inverse_rate", "one"])
def test_fixed_batches_have_the_loss_weights_of_the_loader(dataset, weights):
    masking = Masking(per_sequence_rate=(0.1, 0.9), loss_weights=weights, seed=6)
    served = {}
    for batch in open_loader(dataset, masking=masking).steps(NUM_ROWS // 8):  # of 8 rows: all of epoch 0
        weighed = [None] * 8 if weights == "one" else batch.loss_weights
        served |= dict(zip(batch.row_ids.tolist(), weighed, strict=True))
    assert len(served) == NUM_ROWS // 8 * 8
    shared = [iter_fixed_batches(dataset, masking, 7, rank=rank, world_size=2) for rank in range(2)]
    for batch in (one for batches in (iter_fixed_batches(dataset, masking, 9), *shared) for one in batches):
        if weights == "one":
            assert batch.loss_weights is None
            continue
        assert ((batch.loss_weights > 0) == (batch.labels != -100)).all()
        for row, weighed in zip(batch.row_ids.tolist(), batch.loss_weights, strict=True):
            assert torch.equal(weighed, served.get(row, weighed))


def test_ranks_without_a_row_get_no_fixed_batch(dataset):
    world_size = NUM_ROWS + 3
    sizes = [
        [len(batch.row_ids) for batch in iter_fixed_batches(dataset, MASKING, 4, rank=rank, world_size=world_size)]
        for rank in range(world_size)
    ]
    assert sorted(sizes) == [[]] * 3 + [[1]] * NUM_ROWS


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"batch_rows": 0}, "batch_rows"), ({"batch_rows": "8"}, "batch_rows"), ({"epoch": -1}, "epoch"),
     ({"rank": 2, "world_size": 2}, "rank"), ({"world_size": 0}, "world_size"), ({"url": 5}, "dataset")],
)  # fmt: skip
def test_fixed_batches_of_impossible_numbers_are_refused(dataset, settings, name):
    with pytest.raises(ConfigError, match=name):
        iter_fixed_batches(**{"url": dataset, "masking": MASKING, "batch_rows": 8} | settings)


def test_an_assembled_batch_is_the_constructed_one() -> None:
    """The loader sets the fields of a batch past its constructor; every field must be there all the same."""
    tensors = {name: torch.zeros(1) for name in ("input_ids", "labels", "position_ids", "segment_ids", "cu_seqlens")}
    given = {**tensors, "max_seqlen": 3, "row_ids": torch.ones(1), "pad_id": 0}
    given |= {"datasets": torch.zeros(1), "row_epochs": torch.zeros(1)}
    place = BatchPlace(epoch=1, step=2, rows_before=3, state={"step": 4}, waited_seconds=0.5)
    assert vars(Batch.assemble(place, **given)) == vars(Batch(**given, **vars(place)))
