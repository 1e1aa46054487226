from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.masking.numba_masks import mask_rows
from maskmill.pipeline.masking.row_keys import derive_row_words
from maskmill.schemas.masking import Masking, count_selected
from tests.masking.cases import EXACT_TOKENS, epochs, expect, maskings, row_ids_63, rows_of_ids
from tests.masking.oracle import VOCAB_SIZE

torch = pytest.importorskip("torch", reason="torch is not installed here")
from maskmill.pipeline.masking.torch_masks import apply_masks, draw_masks, mask_rows_torch, plan_masks_torch  # noqa: E402

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


@pytest.mark.parametrize("device", DEVICES)
@given(data=st.data(), masking=maskings(EXACT_TOKENS), epoch=epochs)
@settings(deadline=None, max_examples=80)
def test_torch_masks_equal_the_law_in_plain_integers(tables, device, data, masking, epoch):
    rows = data.draw(rows_of_ids())
    row_ids = [data.draw(row_ids_63) for _ in rows]
    got = mask_rows_torch(
        torch.from_numpy(rows.astype(np.int64)).to(device),
        torch.tensor(row_ids, dtype=torch.int64, device=device),
        epoch,
        masking,
        tables,
    )
    for ours, law in zip(got, expect(rows, row_ids, epoch, masking), strict=True):
        assert ours.dtype == torch.int64
        np.testing.assert_array_equal(ours.cpu().numpy(), law)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("shape", "rate"), [((2, 65_536), 0.15), ((1, 65_536), 1.0), ((256, 512), 0.3)])
def test_torch_masks_equal_numba_masks_on_large_batches(tables, device, shape, rate):
    rows = np.random.default_rng(2).integers(0, VOCAB_SIZE, shape)
    row_ids = np.arange(shape[0]) * (2**32 + 1)
    masking = Masking(rate=rate, seed=2**64 - 1)
    got = mask_rows_torch(torch.from_numpy(rows).to(device), torch.from_numpy(row_ids).to(device), 1, masking, tables)
    for ours, numba in zip(got, mask_rows(rows, row_ids, 1, masking, tables), strict=True):
        np.testing.assert_array_equal(ours.cpu().numpy(), numba)


@pytest.mark.parametrize("device", DEVICES)
@given(data=st.data(), masking=maskings(EXACT_TOKENS))
@settings(deadline=None, max_examples=40)
def test_every_row_has_the_mask_of_its_own_epoch(tables, device, data, masking):
    rows = data.draw(rows_of_ids(max_rows=5))
    row_ids = [data.draw(row_ids_63) for _ in rows]
    row_epochs = [data.draw(epochs) for _ in rows]
    got = mask_rows_torch(
        torch.from_numpy(rows.astype(np.int64)).to(device),
        torch.tensor(row_ids, dtype=torch.int64, device=device),
        torch.tensor(row_epochs, dtype=torch.int64, device=device),
        masking,
        tables,
    )
    for b, (row_id, epoch) in enumerate(zip(row_ids, row_epochs, strict=True)):
        for ours, law in zip(got, expect(rows[b : b + 1], [row_id], epoch, masking), strict=True):
            np.testing.assert_array_equal(ours[b].cpu().numpy(), law[0])


@given(data=st.data(), masking=maskings(EXACT_TOKENS), epoch=epochs)
@settings(deadline=None, max_examples=60)
def test_masks_in_entries_are_the_masks_in_rows(tables, data, masking, epoch):
    """Row b's entries begin at b * C, ascending, spare ones last."""
    rows = data.draw(rows_of_ids())
    row_ids = np.array([data.draw(row_ids_63) for _ in rows], np.uint64)
    words = torch.from_numpy(derive_row_words(masking.seed, np.full(len(rows), epoch), row_ids))
    ids = torch.from_numpy(rows.astype(np.int64))
    plan = plan_masks_torch(masking, tables, rows.shape[1], torch.device("cpu"))
    masked = apply_masks(ids, draw_masks(ids, words, plan))
    most = count_selected(rows.shape[1], masking.rate_ppm)
    assert len(masked.masked_positions) == len(masked.masked_labels) == len(rows) * most
    positions, labels = (
        entries.view(len(rows), most).tolist() for entries in (masked.masked_positions, masked.masked_labels)
    )
    for b, law in enumerate(expect(rows, row_ids, epoch, masking)[1].tolist()):
        chosen = [i for i, label in enumerate(law) if label != -100]
        spare = most - len(chosen)
        assert positions[b] == [b * rows.shape[1] + i for i in chosen] + [0] * spare
        assert labels[b] == [law[i] for i in chosen] + [-100] * spare


def test_a_count_that_the_rate_rounds_down_is_still_one(tables):
    plan = plan_masks_torch(Masking(rate=0.3), tables, 700, torch.device("cpu"))
    assert plan.counts.tolist() == [count_selected(700 - special, 300_000) for special in range(701)]
    assert plan.counts[-3:].tolist() == [1, 1, 0]


def test_torch_masks_leave_their_rows_alone(tables):
    rows = torch.randint(0, VOCAB_SIZE, (4, 64), generator=torch.Generator().manual_seed(0))
    before = rows.clone()
    mask_rows_torch(rows, torch.arange(4), 0, Masking(), tables)
    assert torch.equal(rows, before)


@pytest.mark.parametrize("shape", [(0, 8), (3, 0)])
def test_torch_masks_of_nothing_are_nothing(tables, shape):
    rows = torch.zeros(shape, dtype=torch.int64)
    got = mask_rows_torch(rows, torch.arange(shape[0]), 0, Masking(), tables)
    assert [tuple(t.shape) for t in got] == [shape, shape]


@pytest.mark.parametrize(
    ("rows", "row_ids", "words"),
    [
        (torch.zeros(8, dtype=torch.int64), torch.arange(8), "rows must be"),
        (torch.zeros((2, 8), dtype=torch.int32), torch.arange(2), "got torch.int32"),
        (torch.zeros((2, 8), dtype=torch.int64), torch.arange(3), "row_ids must be"),
        (torch.zeros((2, 8), dtype=torch.int64), torch.zeros(2), "got torch.float32"),
        (torch.zeros((1, 65_537), dtype=torch.int64), torch.arange(1), "at most 65536"),
    ],
)
def test_wrong_tensors_are_refused_in_words(tables, rows, row_ids, words):
    with pytest.raises(ValueError, match=words):
        mask_rows_torch(rows, row_ids, 0, Masking(), tables)


@pytest.mark.parametrize(
    ("epoch", "words"),
    [
        (-1, "epochs count from 0"),
        (2**63, "below 2\\*\\*63"),
        (torch.arange(3), "epochs must be int64"),
        (torch.zeros(2), "got torch.float32"),
    ],
)
def test_wrong_epochs_are_refused_in_words(tables, epoch, words):
    with pytest.raises(ValueError, match=words):
        mask_rows_torch(torch.zeros((2, 8), dtype=torch.int64), torch.arange(2), epoch, Masking(), tables)
