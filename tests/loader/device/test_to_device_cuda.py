"""Batches on a CUDA device; what only a GPU can show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from maskmill.pipeline.loader import Masking
from maskmill.pipeline.loader.device.copy_stream import CudaCopyStream
from maskmill.pipeline.loader.device.device_batches import iter_ahead
from tests.loader.datasets import write_dataset
from tests.loader.device.device_rows import (
    TABLES,
    assert_equal_batches,
    copy_batch,
    expect_batch,
    make_maker,
    make_rows,
)
from tests.loader.streams import MASKING, open_loader

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def without_waits(batch):
    return replace(batch, waited_seconds=0.0)


MASKINGS = [MASKING, Masking(rate=1.0, mask_share=0.3, random_share=0.7), Masking(selection="bernoulli"), "static"]


@pytest.mark.parametrize("masking", MASKINGS)
@pytest.mark.parametrize("micro", [None, 4])
@pytest.mark.parametrize("pairs", [None, "nsp"])
def test_batches_on_the_gpu_are_those_of_the_cpu(tmp_path, masking, micro, pairs):
    write_dataset(str(tmp_path), pairs=pairs)
    loader = open_loader(str(tmp_path), global_batch_rows=24, micro_batch_rows=micro, masking=masking).epochs(3)
    served = list(loader.to_device("cuda"))
    law = list(loader.to_device("cpu"))
    assert len(served) == len(law)
    for batch, expected in zip(served, law, strict=True):
        assert all(value.is_cuda for value in vars(batch).values() if isinstance(value, torch.Tensor))
        assert_equal_batches(without_waits(batch), without_waits(expected))


def test_rows_of_32_bit_ids_and_real_shapes_are_those_of_the_cpu(tmp_path):
    for vocab_size, seq_len, rows in [(70_000, 512, 64), (30_000, 8192, 8)]:
        folder = str(tmp_path / str(vocab_size))
        write_dataset(folder, vocab_size=vocab_size, seq_len=seq_len, shard_rows=(rows, rows), block_rows=8, copies=0)
        loader = open_loader(folder, global_batch_rows=8).epochs(2)
        for batch, expected in zip(loader.to_device("cuda"), loader.to_device("cpu"), strict=True):
            assert_equal_batches(without_waits(batch), without_waits(expected))


def test_no_batch_changes_while_later_ones_are_made_and_models_keep_the_gpu_busy(dataset):
    loader = open_loader(dataset).epochs(4)
    busy = torch.randn(4096, 4096, device="cuda")
    kept = []
    for batch in loader.to_device("cuda"):
        for _ in range(4):
            busy = busy @ busy * 1e-3
        kept.append((batch, copy_batch(batch)))
    for (batch, copied), expected in zip(kept, loader.to_device("cpu"), strict=True):
        assert_equal_batches(batch, copied)
        assert_equal_batches(without_waits(batch), without_waits(expected))


def test_batches_that_are_dropped_at_once_are_whole_when_they_are_used(dataset):
    """Their memory is the copy stream's: it must not be given to a later batch while a model still reads it."""
    loader = open_loader(dataset).epochs(4)
    busy = torch.randn(4096, 4096, device="cuda")
    sums = []
    for batch in loader.to_device("cuda"):
        for _ in range(8):
            busy = busy @ busy * 1e-3
        sums.append((batch.input_ids.sum(), batch.masked_labels.sum()))
        del batch
    law = [(batch.input_ids.sum(), batch.masked_labels.sum()) for batch in loader.to_device("cpu")]
    assert [(int(a), int(b)) for a, b in sums] == [(int(a), int(b)) for a, b in law]


@pytest.mark.parametrize("has_pairs", [False, True])
def test_nothing_waits_for_the_gpu(has_pairs):
    """Any operation that would synchronise is an error meanwhile; waiting for an event is not."""
    stream = [make_rows(i, 4, 64, np.uint16, "any", [i] * 4, MASKING, False, has_pairs) for i in range(6)]
    maker = make_maker(MASKING, MASKING.most_predicted, np.uint16, torch.device("cuda:0"))
    served = iter_ahead(iter(stream), maker, CudaCopyStream(torch.device("cuda:0")))
    batches = [next(served)]  # makes the plan, which is copied to the device and waited for
    torch.cuda.set_sync_debug_mode("error")
    try:
        batches += list(served)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for batch, rows in zip(batches, stream, strict=True):
        assert_equal_batches(batch, expect_batch(rows, MASKING, TABLES[np.uint16]))


def test_a_batch_is_used_on_the_stream_that_asks_for_it(dataset):
    loader = open_loader(dataset).epochs(2)
    mine = torch.cuda.Stream()
    with torch.cuda.stream(mine):
        sums = [batch.input_ids.sum() for batch in loader.to_device("cuda")]
    mine.synchronize()
    assert [int(value) for value in sums] == [int(batch.input_ids.sum()) for batch in loader.to_device("cpu")]


def test_buffers_are_page_locked_and_the_copies_have_a_stream_of_its_own():
    stream = CudaCopyStream(torch.device("cuda:0"))
    assert stream.allocate(1 << 20).is_pinned()
    assert stream._stream != torch.cuda.current_stream()
