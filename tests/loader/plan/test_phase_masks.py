"""A masking of its own for every phase, and rates that follow a schedule: on the host and as a GPU would draw them."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from maskmill.pipeline.loader import Masking, Phase
from maskmill.pipeline.loader.batches.objectives import find_original_ids
from maskmill.pipeline.loader.device.device_batches import iter_ahead
from maskmill.pipeline.loader.device.device_fields import BatchMaker
from maskmill.pipeline.masking.numba_masks import mask_rows
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.schemas.errors import ConfigError, StaleArtifactError
from tests.loader.datasets import SEQ_LEN, STATIC_MASKING, VOCABULARY, write_dataset
from tests.loader.device.device_rows import LateStream, assert_equal_batches
from tests.loader.streams import MASKING, hash_steps, join_ranks, open_loader

TABLES = MaskTables.build(VOCABULARY)
LINEAR = Masking(rate={"curve": "linear", "points": [[0, 0.5], [25, 0.1]]}, seed=5)
HIGH, ANY = Masking(rate=0.6, seed=8), Masking(selection="bernoulli", seed=9)


def phases(url):
    return [Phase(0, url, masking=HIGH), Phase(7, url), Phase(13, url, masking=ANY), Phase(18, url, masking=LINEAR)]


def masking_of(step):
    return HIGH if step < 7 else MASKING if step < 13 else ANY if step < 18 else LINEAR.at(step)


def assert_masked_by(batches, masking_of_step, steps_per_epoch=0):
    for batch in batches:
        masking = masking_of_step(batch.epoch * steps_per_epoch + batch.step)
        for row, row_id, epoch, shown, labels in zip(
            find_original_ids(batch), batch.row_ids, batch.row_epochs, batch.input_ids, batch.labels, strict=True
        ):
            law = mask_rows(row[None].numpy(), row_id[None].numpy(), int(epoch), masking, TABLES)
            assert (law[0][0] == shown.numpy()).all()
            assert (law[1][0] == labels.numpy()).all()


def test_every_phase_is_masked_by_its_own_settings(dataset):
    batches = list(open_loader(phases(dataset), global_batch_rows=8).steps(30))
    assert len(batches) == 30
    assert_masked_by(batches, masking_of)


def test_a_schedule_counts_steps_from_the_start_of_the_run(dataset):
    loader = open_loader(dataset, global_batch_rows=24, masking=LINEAR).epochs(6)
    batches = list(loader)
    assert {batch.epoch for batch in batches} == set(range(6))
    assert_masked_by(batches, LINEAR.at, loader.steps_per_epoch)
    shares = [float((batch.labels != -100).sum() / (batch.segment_ids > 0).sum()) for batch in batches]
    assert shares[0] > 0.35 > 0.15 > shares[-1]


@pytest.mark.parametrize("data", [phases, str], ids=["phases", "schedule"])
def test_they_resume_anywhere_on_any_number_of_ranks(dataset, data):
    settings = {"global_batch_rows": 8, "masking": MASKING if data is phases else LINEAR}
    whole = hash_steps(open_loader(data(dataset), **settings).steps(30))
    for world_size, stop in ((2, 6), (4, 14), (1, 19)):
        ranks = [open_loader(data(dataset), **settings, rank=r, world_size=world_size) for r in range(world_size)]
        state = list(islice(ranks[0], stop))[-1].state
        for rank in ranks:
            rank.load_state_dict(state)
        assert join_ranks([rank.steps(30) for rank in ranks]) == whole[stop:]


def test_tensor_operations_make_the_same_batches(dataset):
    """What a GPU runs, on the CPU: some phases draw there, others send sparse masks; every batch has one shape."""
    loader = open_loader(phases(dataset), global_batch_rows=8).steps(30)
    maker = BatchMaker(loader.weigher, loader.most_predicted, VOCABULARY.pad_id, torch.device("cpu"))
    served = list(iter_ahead(loader.iter_rows(), maker, LateStream()))
    law = list(loader.to_device("cpu"))
    assert len(served) == len(law) == 30
    for batch, expected in zip(served, law, strict=True):
        assert_equal_batches(replace(batch, waited_seconds=0.0), replace(expected, waited_seconds=0.0))
    assert {batch.masked_positions.shape for batch in served} == {(8 * loader.most_predicted(SEQ_LEN),)}


def test_a_state_of_other_masks_is_refused_by_name(dataset):
    state = open_loader(phases(dataset), global_batch_rows=8).state_dict()
    plain = open_loader([Phase(0, dataset), Phase(7, dataset), Phase(13, dataset), Phase(18, dataset)])
    assert "phase_maskings" not in plain.state_dict()
    with pytest.raises(StaleArtifactError, match="another phase_maskings"):
        plain.load_state_dict(state)
    with pytest.raises(StaleArtifactError, match="another phase_maskings"):
        open_loader(phases(dataset)).load_state_dict(plain.state_dict())


def test_stored_masks_and_a_masking_of_a_phase_are_refused(dataset):
    with pytest.raises(ConfigError, match=r"phase that begins at step 7.*leave out masking"):
        open_loader([Phase(0, dataset), Phase(7, dataset, masking=HIGH)], masking="static")
    with pytest.raises(ConfigError, match="a Masking"):
        Phase(0, dataset, masking=0.3)


def test_phases_with_masking_of_their_own_may_read_datasets_of_different_masking(dataset, tmp_path):
    other = write_dataset(str(tmp_path), stored_masking=Masking(rate=0.2))
    del other
    with pytest.raises(ConfigError, match="different masking"):
        open_loader([Phase(0, dataset), Phase(5, str(tmp_path))], masking=None)
    loader = open_loader([Phase(0, dataset, masking=HIGH), Phase(5, str(tmp_path), masking=ANY)], masking=None)
    assert_masked_by(loader.steps(10), lambda step: HIGH if step < 5 else ANY)


@pytest.mark.parametrize("weights", ["inverse_rate", "one"])
def test_stored_masks_of_sequence_rates_have_the_weights_of_their_copy(tmp_path, weights):
    masking = Masking(per_sequence_rate=(0.1, 0.9), loss_weights=weights, seed=4)
    write_dataset(str(tmp_path), stored_masking=masking)
    stored, drawn = (list(open_loader(str(tmp_path), masking=m).epochs(2)) for m in ("static", masking))
    assert hash_steps(stored) == hash_steps(drawn)
    if weights == "one":
        assert all(batch.loss_weights is None for batch in [*stored, *drawn])
        return
    for one, other in zip(stored, drawn, strict=True):
        assert torch.equal(one.loss_weights, other.loss_weights)
        assert ((one.loss_weights > 0) == (one.labels != -100)).all()
    for layout in ("sdpa", "varlen", "padded"):
        labels, weighed = stored[0].model_labels(layout), stored[0].model_weights(layout)
        assert ((weighed > 0) == (labels != -100)).all()
        assert sorted(zip(labels[weighed > 0].tolist(), weighed[weighed > 0].tolist(), strict=True)) == sorted(
            zip(
                *(one[stored[0].loss_weights > 0].tolist() for one in (stored[0].labels, stored[0].loss_weights)),
                strict=True,
            )
        )
    later = list(open_loader(str(tmp_path), masking="static").epochs(4))[2 * len(stored) // 2 :]
    seen = {}
    for batch in stored + later:
        for row, epoch, weighed in zip(
            batch.row_ids.tolist(), batch.row_epochs.tolist(), batch.loss_weights, strict=True
        ):
            assert np.array_equal(seen.setdefault((row, epoch % 2), weighed.numpy()), weighed.numpy())


@pytest.mark.parametrize("own", [MASKING, Masking(per_sequence_rate=(0.1, 0.9), seed=5)], ids=["rate", "rates"])
@pytest.mark.parametrize(
    "settings",
    [
        {"rate": 0.5, "selection": "bernoulli"},
        {"per_sequence_rate": (0.2, 0.7)},
        {"per_sequence_rate": (0.2, 0.7), "loss_weights": "one"},
    ],
    ids=["rate", "rates", "weights of one"],
)
def test_another_mask_is_that_of_a_loader_with_its_settings(dataset, settings, own):
    masking = Masking(**settings, seed=77)
    ours, law = open_loader(dataset, masking=own), open_loader(dataset, masking=masking)
    again = ours.another_mask(masking)
    for batch, expected in zip(ours.epochs(2), law.epochs(2), strict=True):
        second = again(batch)
        assert torch.equal(second.input_ids, expected.input_ids)
        assert torch.equal(second.labels, expected.labels)
        assert torch.equal(second.segment_ids, batch.segment_ids)
        assert (second.loss_weights is None) == (expected.loss_weights is None)
        if expected.loss_weights is not None:
            assert torch.equal(second.loss_weights, expected.loss_weights)


def test_another_mask_of_the_same_seed_or_of_a_changing_rate_is_refused(dataset):
    ours = open_loader(dataset)
    with pytest.raises(ConfigError, match="would hide the same tokens"):
        ours.another_mask(Masking(seed=MASKING.seed))
    with pytest.raises(ConfigError, match="would hide the same tokens"):
        open_loader(dataset, masking="static").another_mask(Masking(rate=0.5, seed=STATIC_MASKING.seed))
    with pytest.raises(
        ConfigError, match=r"masking\.rate: another mask has no steps.*expected a number; found \{'curve': 'linear'"
    ):
        ours.another_mask(LINEAR)
