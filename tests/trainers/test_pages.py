"""The scripts of `docs/trainers`, run unchanged: each trainer gives the model the loader's rows and no others.

A page's script runs on two ranks (one, where it is about one), is killed after five steps, and goes on from its own
checkpoint on one rank with another number of worker processes and padded rows. What is compared was written down at
the model and at the optimizer (`record_model`); what it is compared with is the plain loader and plain arithmetic.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
from itertools import groupby

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForMaskedLM

from maskmill.pipeline.loader import MaskedBatches, Masking, iter_fixed_batches
from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.pipeline.loader.for_trainers import (
    as_inputs,
    count_terms,
    describe_encoder,
    group_steps,
    sum_batch_loss,
    sum_losses,
)
from maskmill.schemas.errors import ConfigError
from tests.loader.datasets import write_dataset
from tests.trainers.conftest import SHARD_ROWS
from tests.trainers.run_pages import ALL_PAGES, ALL_STEPS, KILLED_AT, Page, Run, run_page

TOLERANCE = 1e-5  # of logits
GRADIENT_TOLERANCE = 1e-4  # of the gradient's own length: float32 sums in another order
DIFFUSION = Masking(per_sequence_rate=(0.05, 1.0), mask_share=1.0, random_share=0.0)


def open_batches(url: str, **settings) -> MaskedBatches:
    """The loader of every page."""
    fixed = {"global_batch_rows": 64, "seed": 1}
    return MaskedBatches(url, **fixed | settings).epochs(3)


def serve_steps(url: str, rank: int, world_size: int) -> list[list[Batch]]:
    """A rank's micro-batches by step, from the loader alone."""
    batches = open_batches(url, micro_batch_rows=16, rank=rank, world_size=world_size)
    return [list(step) for _, step in groupby(batches, key=lambda batch: (batch.epoch, batch.step))]


@pytest.fixture(
    scope="module",
    params=[pytest.param(page, marks=pytest.mark.long) for page in ALL_PAGES],
    ids=[page.name for page in ALL_PAGES],
)
def page(request) -> Page:
    for module in request.param.needs:
        if importlib.util.find_spec(module.split(".")[0]) is None:
            pytest.skip(f"{module} is not installed")
    return request.param


@pytest.fixture(scope="module")
def runs(page, dataset, tmp_path_factory) -> tuple[Run, Run]:
    return run_page(page, dataset, tmp_path_factory.mktemp(page.name[:4]) / "run")


def test_every_rank_gets_the_loaders_rows_and_goes_on_with_the_next(runs, dataset):
    for run, stop in zip(runs, (KILLED_AT, ALL_STEPS), strict=True):
        assert sorted(run.steps) == list(range(run.world_size))
        for rank, steps in run.steps.items():
            expected = serve_steps(dataset, rank, run.world_size)[run.first_step : stop]
            assert len(expected) == stop - run.first_step == len(steps)
            for micro_batches, (calls, _) in zip(expected, steps, strict=True):
                assert len(calls) == len(micro_batches)
                for batch, call in zip(micro_batches, calls, strict=True):
                    assert torch.equal(call.input_ids, batch.model_inputs(run.layout)["input_ids"])


def test_packed_logits_are_those_of_each_sequence_alone(runs):
    for run in runs:
        for steps in run.steps.values():
            for call in steps[0][0][:2]:
                assert call.from_alone < TOLERANCE
                if run.layout == "sdpa":
                    assert call.from_alone_unmasked > 0.1  # the comparison can fail: this is what a row costs unmasked


def test_the_loss_is_the_sum_over_the_labels_of_the_whole_global_batch(page, runs, dataset):
    """Every rank's gradient against that of one process that is given the global batch whole."""
    whole = list(open_batches(dataset))
    for run in runs:
        for place in (0, 2):
            batch = whole[run.first_step + place]
            for steps in run.steps.values():
                step = steps[place][1]
                expected = find_gradient(step.weights, [batch], page.clipped_norm)
                assert distance(step.gradients, expected) < GRADIENT_TOLERANCE


@pytest.mark.long
def test_a_page_trains_with_the_weights_of_masked_diffusion(tmp_path):
    """On two ranks, and after a resume on one: the weighted sum over all tokens of the whole global batch."""
    dataset, page = str(tmp_path / "packed"), ALL_PAGES[0]
    write_dataset(dataset, shard_rows=SHARD_ROWS, stored_masking=DIFFUSION)
    whole = list(open_batches(dataset))
    for run in run_page(page, dataset, tmp_path / "run"):
        batch = whole[run.first_step]
        assert batch.loss_weights is not None
        for steps in run.steps.values():
            step = steps[0][1]
            assert distance(step.gradients, find_weighted_gradient(step.weights, batch)) < GRADIENT_TOLERANCE
            assert distance(step.gradients, find_gradient(step.weights, [batch])) > 100 * GRADIENT_TOLERANCE


@pytest.mark.parametrize("layout", ["sdpa", "padded", "varlen"])
@pytest.mark.parametrize("masking", [DIFFUSION, Masking(rate=0.3)], ids=["weights", "none"])
def test_the_loss_of_ranks_and_micro_batches_is_that_of_the_global_batch(dataset, masking, layout):
    """Random logits of every token, laid out as the model would: the weighted sum over the terms, by hand."""
    (whole,) = open_batches(dataset, masking=masking).steps(1)
    logits = torch.randn(*whole.labels.shape, 300, generator=torch.Generator().manual_seed(1))
    total, of_ranks, terms = 0.0, [], 0
    for row, labels in enumerate(whole.labels.tolist()):
        for place, label in enumerate(labels):
            if whole.segment_ids[row, place] and masking is DIFFUSION:
                terms += 1
            if label != -100:
                weight = float(whole.loss_weights[row, place]) if masking is DIFFUSION else 1.0
                total -= weight * float(logits[row, place].double().log_softmax(0)[label])
                terms += masking is not DIFFUSION
    for rank in range(2):
        ranks = open_batches(dataset, masking=masking, rank=rank, world_size=2, micro_batch_rows=8)
        step = next(group_steps(ranks))
        assert len(step) == 4
        sums = []
        for batch in step:
            rows = [whole.row_ids.tolist().index(row) for row in batch.row_ids.tolist()]
            sums.append(sum_batch_loss(lay_out(batch, logits[rows], layout), batch, layout))
        of_ranks.append((sum(sums), count_terms(step)))
    assert sum(count for _, count in of_ranks) == terms
    assert sum(float(loss) for loss, _ in of_ranks) == pytest.approx(total, rel=1e-5)


def lay_out(batch: Batch, logits: torch.Tensor, layout: str) -> torch.Tensor:
    """Logits `(B, S, V)` of rows in the shape that a model gives for the inputs of a layout."""
    if layout != "padded":
        return logits if layout == "sdpa" else logits.flatten(0, 1)[None]
    shape = batch.model_inputs("padded")["input_ids"].shape
    found = torch.zeros(*shape, logits.shape[-1])
    number = -1
    for row, places in enumerate(batch.position_ids.tolist()):
        for column, place in enumerate(places):
            if batch.segment_ids[row, column]:
                number += place == 0
                found[number, place] = logits[row, column]
    return found


def test_logits_of_another_layout_are_refused(dataset):
    batch = next(iter(open_batches(dataset)))
    for wrong in (torch.zeros(2, 3, 300), torch.zeros(300), torch.tensor(1.0), [[1.0]], None):
        with pytest.raises(ConfigError, match=r"logits"):
            sum_batch_loss(wrong, batch)


def test_a_dictionary_without_a_place_for_weights_is_refused(dataset):
    with pytest.raises(ConfigError, match=r'weights.*loss_weights="one"'):
        as_inputs(next(iter(open_batches(dataset, masking=DIFFUSION))))
    as_inputs(next(iter(open_batches(dataset, masking=DIFFUSION.model_copy(update={"loss_weights": "one"})))))


def test_a_mean_of_means_is_another_gradient(dataset):
    """The comparison above can fail: what most trainers do by default is a hundred tolerances away."""
    torch.manual_seed(0)
    weights = {name: value.detach() for name, value in build_model().named_parameters()}
    whole = find_gradient(weights, [next(iter(open_batches(dataset)))])
    parts = [find_gradient(weights, [batch]) for batch in serve_steps(dataset, 0, 1)[0]]
    means = {name: torch.stack([part[name] for part in parts]).mean(0) for name in whole}
    assert distance(means, whole) > 100 * GRADIENT_TOLERANCE


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true", "bf16-mixed", "32-true"])
def test_lightning_trains_in_every_precision(precision, dataset):
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model, self.losses = build_model(), []

        def training_step(self, batch, _):
            assert type(self.trainer.strategy.precision_plugin.convert_input(batch)).model_inputs
            logits = self.model(**batch.model_inputs("sdpa", self.model)).logits
            loss = cross_entropy(logits.transpose(1, 2), batch.model_labels("sdpa"))
            self.losses.append(loss.item())
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module = Module()
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", precision=precision, logger=False, enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, DataLoader(open_batches(dataset, global_batch_rows=4).steps(2), batch_size=None))
    assert len(module.losses) == 2
    assert all(5 < loss < 7 for loss in module.losses)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_lightning_leaves_the_weights_of_labels_as_they_are(precision, dataset):
    """1 / rate is up to 10**6, and the largest number of float16 is 65504."""
    plugins = pytest.importorskip("lightning.pytorch.plugins.precision")
    masking = DIFFUSION.model_copy(update={"per_sequence_rate": (0.000001, 0.01)})
    batch = next(one for one in open_batches(dataset, masking=masking) if (one.labels != -100).any())
    (converted,) = plugins.HalfPrecision(precision).convert_input([batch])
    assert converted.loss_weights.dtype == torch.float32
    assert torch.equal(converted.loss_weights, batch.loss_weights)


def test_a_batch_is_frozen_and_a_copy_of_it_is_not(dataset):
    batch = next(iter(open_batches(dataset)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.epoch = 3
    copied = copy.deepcopy(batch)
    copied.epoch = 3
    copied.input_ids += 1
    copied.state["step"] = 9
    assert isinstance(copied, Batch)
    assert (batch.epoch, batch.state["step"]) == (0, 1)
    assert torch.equal(copied.input_ids, batch.input_ids + 1)
    assert torch.equal(copied.to("cpu").labels, batch.labels)
    assert torch.equal(copied.model_inputs("sdpa")["attention_mask"], batch.model_inputs("sdpa")["attention_mask"])


def test_held_out_sums_are_those_of_all_ranks_together(dataset):
    model = build_model()
    masking = Masking(rate=0.15)
    whole = sum_losses(model, iter_fixed_batches(dataset, masking, 300))
    shares = [
        sum_losses(model, iter_fixed_batches(dataset, masking, 9, rank=rank, world_size=3), "padded")
        for rank in range(3)
    ]
    assert torch.allclose(sum(shares), whole)
    assert whole[1] == sum(count_terms([batch]) for batch in iter_fixed_batches(dataset, masking, 50))
    (batch,) = iter_fixed_batches(dataset, masking, 300)
    expected = cross_entropy(model.eval()(**batch.model_inputs("sdpa")).logits.flatten(0, 1), batch.labels.flatten())
    assert whole[0] / whole[1] == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("layout", ["sdpa", "padded"])
def test_held_out_sums_weigh_as_training_does(dataset, layout):
    model = build_model().eval()
    whole = sum_losses(model, iter_fixed_batches(dataset, DIFFUSION, 300), layout)
    shares = [
        sum_losses(model, iter_fixed_batches(dataset, DIFFUSION, 9, rank=rank, world_size=2), layout)
        for rank in range(2)
    ]
    (batch,) = iter_fixed_batches(dataset, DIFFUSION, 300)
    logits = model(**batch.model_inputs("sdpa")).logits.detach().double()
    each = cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), reduction="none")
    assert whole[0] == pytest.approx(float(each @ batch.loss_weights.flatten().double()), rel=1e-5)
    assert whole[1] == int((batch.segment_ids > 0).sum())
    assert torch.allclose(sum(shares), whole)


def test_every_part_of_a_scored_model_is_in_its_own_mode_again(dataset):
    """What a trainer has frozen in evaluation mode stays so, in a model that trains, and what trains goes on."""
    model = build_model()
    for training in (True, False):
        model.train(training)
        model.bert.encoder.layer[0].train(not training)
        before = {name: module.training for name, module in model.named_modules()}
        assert sum_losses(model, []).tolist() == [0, 0]
        assert {name: module.training for name, module in model.named_modules()} == before
        with pytest.raises(RuntimeError):
            sum_losses(model, _fail())
        assert {name: module.training for name, module in model.named_modules()} == before


def _fail():
    yield from ()
    raise RuntimeError


@pytest.mark.parametrize("dispatch", [None, False])
def test_accelerate_cannot_cut_up_a_prepared_loader(dataset, dispatch):
    """As its page says: a loader given to `prepare` by mistake ends in an error, not in rows left out."""
    accelerate = pytest.importorskip("accelerate")
    accelerate.PartialState(cpu=True)
    loader = DataLoader(open_batches(dataset, rank=0, world_size=2), batch_size=None)
    try:
        prepared = accelerate.data_loader.prepare_data_loader(
            loader, device=torch.device("cpu"), num_processes=2, process_index=0, put_on_device=True,
            dispatch_batches=dispatch,
        )  # fmt: skip
        with pytest.raises(TypeError):
            next(iter(prepared))
    finally:
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("world_size", [1, 2])
def test_an_epoch_holds_no_row_twice_and_all_that_the_order_serves(dataset, world_size):
    """What the pages are compared with: the ranks' rows of an epoch together are those of the plain loader."""
    whole = [batch.row_ids for batch in open_batches(dataset)]
    shares = [serve_steps(dataset, rank, world_size) for rank in range(world_size)]
    for step, rows in enumerate(whole):
        assert torch.equal(torch.cat([batch.row_ids for share in shares for batch in share[step]]), rows)
    epoch = torch.cat(whole[: len(whole) // 3])
    assert len(whole) == ALL_STEPS
    assert len(epoch.unique()) == len(epoch) == 64 * 3


def test_steps_are_whole_or_refused(dataset):
    batches = open_batches(dataset, micro_batch_rows=16)
    grouped = list(group_steps(batches))
    assert [[batch.row_ids.tolist() for batch in step] for step in grouped] == [
        [batch.row_ids.tolist() for batch in step] for step in serve_steps(dataset, 0, 1)
    ]
    first = iter(batches)
    with pytest.raises(ConfigError, match="inside a global batch"):
        list(group_steps([next(first) for _ in range(6)]))
    for done in (1, 2, 3):
        with pytest.raises(ConfigError, match="begin inside a global batch"):
            next(group_steps(batches.skip(done)))
    assert len(list(group_steps(batches.skip(4)))) == len(grouped) - 1
    consumed = iter(batches)
    next(group_steps(consumed))
    assert torch.equal(next(consumed).row_ids, grouped[1][0].row_ids)  # nothing was fetched to see the step's end


@pytest.mark.parametrize("layout", ["sdpa", "padded", "varlen"])
def test_plain_inputs_are_the_batchs_own(dataset, layout):
    batch = next(iter(open_batches(dataset)))
    inputs = as_inputs(batch, layout)
    labels = inputs.pop("labels")
    expected = batch.model_inputs(layout)
    assert inputs.keys() == expected.keys()
    assert all(torch.equal(torch.as_tensor(inputs[name]), torch.as_tensor(expected[name])) for name in expected)
    assert labels.shape == inputs["input_ids"].shape
    encoder = describe_encoder(build_model())
    assert as_inputs(batch, "sdpa", encoder)["attention_mask"].dtype is torch.bool
    assert count_terms([batch, batch]) == 2 * int((labels >= 0).sum()) > 0


def build_model() -> BertForMaskedLM:
    """The model of every page."""
    config = BertConfig(
        vocab_size=300, hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return BertForMaskedLM(config)


def find_gradient(weights, batches: list[Batch], clipped_norm: float | None = None) -> dict[str, torch.Tensor]:
    """The gradient of the law: summed cross-entropy over the number of labels, in one process."""
    model = build_model()
    model.load_state_dict(weights, strict=False)
    labels = sum(int((batch.labels != -100).sum()) for batch in batches)
    for batch in batches:
        logits = model(**batch.model_inputs("sdpa")).logits
        (cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), reduction="sum") / labels).backward()
    if clipped_norm is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), clipped_norm)
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


def find_weighted_gradient(weights, batch: Batch) -> dict[str, torch.Tensor]:
    """The gradient of masked diffusion: cross-entropy times weight, over all tokens but padding, in one process."""
    model = build_model()
    model.load_state_dict(weights, strict=False)
    logits = model(**batch.model_inputs("sdpa")).logits
    each = cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), reduction="none")
    ((each * batch.loss_weights.flatten()).sum() / (batch.segment_ids > 0).sum()).backward()
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


def distance(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """How far a gradient lies from another, in lengths of that one."""
    assert found.keys() == expected.keys()
    error = sum(float((found[name] - expected[name]).square().sum()) for name in expected)
    return (error / sum(float(value.square().sum()) for value in expected.values())) ** 0.5
