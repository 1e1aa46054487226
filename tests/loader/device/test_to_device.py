"""Batches on a device are the loader's own, bit for bit, whenever they are looked at."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from maskmill.pipeline.loader.device import device_batches
from maskmill.pipeline.loader.device.device_batches import DeviceBatches, iter_ahead
from maskmill.pipeline.loader.device.device_fields import BatchMaker
from maskmill.schemas.errors import ConfigError, ShardCorruptError
from maskmill.schemas.masking import Masking
from tests.loader.datasets import NUM_ROWS, SEQ_LEN, STATIC_MASKING, read_stored_rows, write_dataset
from tests.loader.device.device_rows import (
    TABLES,
    LateStream,
    arrays_of,
    assert_equal_batches,
    expect_batch,
    list_masked,
    make_maker,
    make_rows,
    row_batches,
)
from tests.loader.streams import MASKING, open_loader
from tests.masking.cases import maskings

CPU = torch.device("cpu")


def make_batches(stream, masking, *, static=False, copy_stream=None, device=CPU):
    """Batches of a stream of rows, by tensor operations; the rows stand in one place that is written again."""
    dtype = stream[0].staged.rows.dtype.type
    drawn, stored = (None, masking) if static else (masking, None)
    maker = make_maker(drawn, masking.most_predicted, dtype, device, stored)

    def reuse():
        for batch in stream:
            rows = copy.deepcopy(batch)
            yield rows
            for array in (rows.slots, rows.places, rows.epochs, rows.datasets, *arrays_of(rows.staged)):
                array[:] = 1

    return iter_ahead(reuse(), maker, copy_stream or LateStream())


@given(data=st.data(), masking=maskings(), static=st.booleans())
@settings(deadline=None, max_examples=120)
def test_a_batch_made_by_tensor_operations_is_that_of_the_loops(data, masking, static):
    rows = data.draw(row_batches(masking=masking, static=static))
    (batch,) = make_batches([rows], masking, static=static)
    assert_equal_batches(batch, expect_batch(rows, masking, TABLES[rows.staged.rows.dtype.type]))


@pytest.mark.parametrize("static", [False, True])
def test_the_longest_rows_have_places_beyond_32767(static):
    rows = make_rows(1, 2, 65_536, np.uint16, "full", [0, 3], MASKING, static)
    (batch,) = make_batches([rows], MASKING, static=static)
    assert_equal_batches(batch, expect_batch(rows, MASKING, TABLES[np.uint16]))
    assert batch.masked_positions.max() > 65_536 + 32_767


@pytest.mark.parametrize("static", [False, True])
@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_no_batch_changes_while_later_ones_are_made(data, static):
    """Rows are copied as late as a device may: had a buffer been written too early, a batch would show it."""
    has_pairs = data.draw(st.booleans())
    drawn = row_batches(masking=MASKING, static=static, shape=(3, 64), dtype=np.uint16, has_pairs=has_pairs)
    stream = data.draw(st.lists(drawn, min_size=1, max_size=6))
    law = [expect_batch(rows, MASKING, TABLES[np.uint16]) for rows in stream]
    copy_stream = LateStream(is_busy=True)
    served = list(make_batches(stream, MASKING, static=static, copy_stream=copy_stream))
    copy_stream.finish()
    assert len(served) == len(law)
    for batch, expected in zip(served, law, strict=True):
        assert_equal_batches(batch, expected)
    assert len(copy_stream.allocated) == min(2, len(stream))


def of_lengths(*seq_lens, num_rows=2):
    return [
        make_rows(i, num_rows, seq_len, np.uint16, "any", [i] * num_rows, MASKING, static=False)
        for i, seq_len in enumerate(seq_lens)
    ]


def test_the_next_batch_is_on_its_way_before_this_one_is_given_out():
    copy_stream = LateStream()
    stream = make_batches(of_lengths(*[32] * 5), MASKING, copy_stream=copy_stream)
    assert [len(copy_stream.pending) for _ in stream] == [2, 3, 4, 5, 5]


def test_two_buffers_serve_all_batches_and_grow_with_them():
    copy_stream = LateStream()
    assert len(list(make_batches(of_lengths(*[64] * 9), MASKING, copy_stream=copy_stream))) == 9
    assert len(copy_stream.allocated) == 2
    stream = [*of_lengths(32, 32, 128, 128), *of_lengths(32, 256, num_rows=3)]
    copy_stream = LateStream()
    for batch, rows in zip(make_batches(stream, MASKING, copy_stream=copy_stream), stream, strict=True):
        assert_equal_batches(batch, expect_batch(rows, MASKING, TABLES[np.uint16]))
    assert len(copy_stream.allocated) == 5


def test_batches_before_a_broken_block_are_given_out_first():
    def broken(rows):
        yield from rows
        raise ShardCorruptError("a block is not what was written", path="here")

    maker = make_maker(MASKING, MASKING.most_predicted, np.uint16, CPU)
    stream = iter_ahead(broken(of_lengths(32, 32)), maker, LateStream())
    assert [batch.row_epochs.tolist() for batch in itertools.islice(stream, 2)] == [[0, 0], [1, 1]]
    with pytest.raises(ShardCorruptError, match="not what was written"):
        next(stream)


def test_no_rows_make_no_batches():
    assert list(iter_ahead(iter(()), make_maker(MASKING, 1, np.uint16, CPU), LateStream())) == []


def test_a_batch_that_is_kept_keeps_nothing_else():
    (batch,) = make_batches(of_lengths(128), MASKING)
    for name, tensor in vars(batch).items():
        if isinstance(tensor, torch.Tensor):
            spare = 8 if name in ("input_ids", "labels") else 0  # the place that spare entries are written to
            marks = 3 if name in ("row_ids", "row_epochs", "datasets") else 1  # these are one copy
            assert tensor.untyped_storage().nbytes() == marks * tensor.nbytes + spare, name


class CountOperations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("has_pairs", [False, True])
@pytest.mark.parametrize("static", [False, True])
def test_a_batch_takes_one_number_of_operations_and_reads_no_value_back(static, has_pairs):
    """Tensors of the meta device have no values: what had to wait for one would fail."""
    counted = []
    for num_rows, seq_len in [(1, 32), (64, 32), (2, 2000)]:
        rows = make_rows(3, num_rows, seq_len, np.uint16, "any", [0] * num_rows, MASKING, static, has_pairs)
        maker = make_maker(None if static else MASKING, MASKING.most_predicted, np.uint16, torch.device("meta"))
        buffer = torch.empty(maker.lay_out(rows).capacity_bytes, dtype=torch.uint8)
        num_bytes, make = maker.write(rows, buffer)
        sent = buffer[:num_bytes].to("meta")
        with CountOperations() as operations:
            batch = make(sent)
        law = expect_batch(rows, MASKING, TABLES[np.uint16])
        assert batch.input_ids.is_meta
        assert {n: v.shape for n, v in vars(batch).items() if isinstance(v, torch.Tensor)} == {
            n: v.shape for n, v in vars(law).items() if isinstance(v, torch.Tensor)
        }
        counted.append(len([name for name in operations.seen if not is_view(name)]))
    assert counted == [counted[0]] * 3
    assert counted[0] <= (32 if static else 70) + (8 if has_pairs else 0)


def is_view(name):
    return name.split(".")[1] in {"view", "slice", "select", "unsqueeze", "unbind", "_unsafe_view", "alias", "detach"}


@pytest.mark.parametrize("masking", [MASKING, Masking(rate=0.0), Masking(rate=1.0, mask_share=0.1), "static"])
@pytest.mark.parametrize("micro", [None, 4])
def test_on_the_cpu_the_batches_are_the_loaders_own(dataset, masking, micro):
    loader = open_loader(dataset, global_batch_rows=24, micro_batch_rows=micro, masking=masking).epochs(3)
    most = (STATIC_MASKING if masking == "static" else masking).most_predicted(SEQ_LEN)
    assert (most == 0) == (masking == Masking(rate=0.0))
    served = list(loader.to_device("cpu"))
    law = list(loader)
    assert len(served) == len(law)
    for batch, expected in zip(served, law, strict=True):
        entries, wanted = list_masked(expected.labels, most)
        expected = replace(expected, masked_positions=entries, masked_labels=wanted, waited_seconds=0.0)
        assert_equal_batches(replace(batch, waited_seconds=0.0), expected)


@pytest.mark.parametrize("masking", [MASKING, "static"])
@pytest.mark.parametrize("micro", [None, 4])
def test_tensor_operations_make_the_loaders_batches(dataset, masking, micro):
    """What a GPU runs, on the CPU: epoch after epoch, both kinds of masks, whole and micro-batches."""
    loader = open_loader(dataset, global_batch_rows=24, micro_batch_rows=micro, masking=masking).epochs(3)
    maker = BatchMaker(loader.weigher, loader.most_predicted, loader.manifest.vocabulary.pad_id, CPU)
    served = list(iter_ahead(loader.iter_rows(), maker, LateStream()))
    law = list(loader.to_device("cpu"))
    assert len(served) == len(law)
    for batch, expected in zip(served, law, strict=True):
        assert_equal_batches(replace(batch, waited_seconds=0.0), replace(expected, waited_seconds=0.0))


@pytest.mark.parametrize("masking", [Masking(rate=0.0), "static"])
def test_at_a_rate_of_0_nothing_is_predicted_and_every_row_is_as_stored(tmp_path, masking):
    write_dataset(str(tmp_path), stored_masking=Masking(rate=0.0))
    stored = read_stored_rows(str(tmp_path))
    loader = open_loader(str(tmp_path), masking=masking).epochs(2)
    maker = BatchMaker(loader.weigher, loader.most_predicted, loader.manifest.vocabulary.pad_id, CPU)
    made = iter_ahead(loader.iter_rows(), maker, LateStream())
    for batches in (loader, loader.to_device("cpu"), made):
        rows = 0
        for batch in batches:
            assert batch.input_ids.tolist() == [stored[row].input_ids for row in batch.row_ids.tolist()]
            assert (batch.labels == -100).all()
            rows += len(batch.row_ids)
            if batch.masked_positions is not None:
                assert len(batch.masked_positions) == len(batch.masked_labels) == 0
        assert rows == 2 * (NUM_ROWS - NUM_ROWS % 8)


def test_the_state_is_that_of_the_last_batch_given_out(dataset):
    batches = open_loader(dataset).to_device("cpu")
    assert batches.state_dict() == open_loader(dataset).state_dict()
    stream = iter(batches)
    for _ in range(5):
        batch = next(stream)
        assert batches.state_dict() == batch.state
    following = next(stream)
    batches.load_state_dict(batch.state)
    assert batches.state_dict() == batch.state
    assert_equal_batches(replace(next(iter(batches)), waited_seconds=0.0), replace(following, waited_seconds=0.0))


def test_the_state_is_never_that_of_the_batch_made_ahead(dataset, monkeypatch):
    loader = open_loader(dataset)
    law = [batch.state for batch in itertools.islice(loader, 6)]
    batches = loader.to_device("cpu")
    monkeypatch.setattr(device_batches, "CudaCopyStream", lambda _: LateStream())
    batches.device = torch.device("cuda:0")
    for _ in range(2):  # every iteration begins where the first did
        for batch, state in zip(batches, law, strict=False):
            assert batches.state_dict() == batch.state == state
    batches.load_state_dict(law[2])
    assert batches.state_dict() == law[2]
    assert next(iter(batches)).state == law[3]


def test_an_iteration_that_gives_out_nothing_stands_where_it_began(dataset, monkeypatch):
    def broken():
        raise ShardCorruptError("a block is not what was written", path="here")

    loader = open_loader(dataset)
    batches = loader.to_device("cpu")
    next(iter(batches))
    begin = [batch.state for batch in itertools.islice(loader, 3)][2]
    loader.load_state_dict(begin)
    monkeypatch.setattr(loader, "_iter_row_batches", broken)
    with pytest.raises(ShardCorruptError):
        next(iter(batches))
    assert batches.state_dict() == begin


@pytest.mark.parametrize(
    "device",
    ["meta", "this device is not available", "mps", 3.5, *([] if torch.cuda.is_available() else ["cuda"]), "cuda:99"],
)
def test_a_device_that_batches_cannot_be_made_on_is_refused_in_words(dataset, device):
    with pytest.raises(
        ConfigError, match=r"(does not run on|no such device|has such a name).*cpu, cuda, or cuda and a number"
    ):
        open_loader(dataset).to_device(device)


def test_devices_are_named_as_torch_names_them(dataset):
    assert isinstance(open_loader(dataset).to_device(CPU), DeviceBatches)
    assert open_loader(dataset).to_device("cpu").device == CPU


def test_a_state_asked_for_before_the_first_batch_is_where_the_iteration_begins(dataset):
    loader = open_loader(dataset)
    batches = loader.to_device("cpu")
    begin = loader.state_dict()
    first = iter(batches)
    for _ in range(3):
        given = next(first)
    assert batches.state_dict() == given.state != begin
    again = iter(batches)
    assert batches.state_dict() == begin
    assert next(again).step == 0
