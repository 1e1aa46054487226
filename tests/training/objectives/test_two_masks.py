"""RetroMAE: the decoder gives what it gives for each sequence alone, and sees of the encoder nothing but [CLS]."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForMaskedLM

from maskmill.pipeline.loader.batches.another_mask import AnotherMask
from maskmill.pipeline.masking.tables import MaskTables
from maskmill.pipeline.training.objectives.two_masks import TWO_MASKS
from maskmill.pipeline.training.train import train
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.masking import IGNORE_INDEX, Masking
from tests.training.families.packed_rows import FIRST_ORDINARY, make_packed
from tests.training.objectives.trained import (
    VOCABULARY,
    assert_computes,
    assert_continues,
    assert_parts_add_up,
    build_trained,
    compute_token_loss,
    describe_run,
    split_sequences,
    weigh,
)


def make_rows():
    """Rows whose sequences begin with [CLS], with ordinary tokens in their text."""
    batch = make_packed(0)
    batch.labels[batch.labels == 0] = FIRST_ORDINARY
    batch.input_ids[(batch.position_ids == 0) & (batch.segment_ids > 0)] = VOCABULARY.cls_id
    return batch


@pytest.mark.parametrize(("family", "weighted"), [("bert", False), ("roberta", False), ("bert", True)])
def test_packed_rows_give_the_losses_and_gradients_of_sequences_alone(family, weighted):
    """Weights of labels are those of the encoder's mask: the decoder's loss is a mean over its own labels."""
    module, batch = build_trained(family=family, objective="two_masks"), make_rows()
    batch = weigh(batch) if weighted else batch
    model, again = module.model, module.mask(batch)
    assert not torch.equal(again.labels, batch.labels)
    of_encoder, of_decoder = [], []
    for ids, shown in zip(
        split_sequences(batch, batch.input_ids), split_sequences(batch, again.input_ids), strict=True
    ):
        output = model(input_ids=ids[None], output_hidden_states=True)
        embedded = model.base_model.embeddings(input_ids=shown[None])
        joined = torch.cat([output.hidden_states[-1][:, :1], embedded[:, 1:]], dim=1)
        head = model.cls if family == "bert" else model.lm_head
        of_encoder.append(output.logits[0])
        of_decoder.append(head(module.decoder(joined))[0])
    of_tokens = compute_token_loss(batch, torch.cat(of_encoder))
    expected = of_tokens + compute_token_loss(again, torch.cat(of_decoder))
    wanted = assert_computes(module, batch, "two_masks", expected)
    assert wanted.keys() == dict(module.named_parameters()).keys()


@pytest.mark.parametrize("weighted", [False, True])
def test_both_masks_are_counted_over_the_whole_global_batch(weighted):
    batch = make_rows()
    assert_parts_add_up(build_trained(objective="two_masks"), weigh(batch) if weighted else batch, "two_masks")


def test_the_decoder_hides_its_share_of_tokens_behind_masks_of_its_own():
    """Half of the maskable tokens of every row, never [CLS], all shown as [MASK], and others than the encoder's."""
    module, batch = build_trained(objective="two_masks"), make_rows()
    again = module.mask(batch)
    predicted = again.labels != IGNORE_INDEX
    assert (again.input_ids[predicted] == VOCABULARY.mask_id).all()
    starts = (batch.position_ids == 0) & (batch.segment_ids > 0)
    assert not (predicted & (starts | (batch.segment_ids == 0))).any()
    maskable = ((batch.segment_ids > 0) & ~starts).sum(1)
    assert torch.equal(predicted.sum(1), (maskable + 1) // 2)
    same_seed = Masking(rate=0.5, mask_share=1.0, random_share=0.0, seed=5)  # 5 is that of the encoder's masks
    assert not torch.equal(AnotherMask(same_seed, MaskTables.build(VOCABULARY))(batch).labels, again.labels)


def test_the_decoders_loss_reaches_the_encoder_through_cls_alone():
    module, batch = build_trained(objective="two_masks"), make_rows()
    kept = []
    module.model.base_model.encoder.layer[-1].register_forward_hook(lambda _layer, _inputs, output: kept.append(output))
    *_, of_decoder = TWO_MASKS.sum_losses(module, batch, "cpu")
    (gradient,) = torch.autograd.grad(of_decoder, kept[0])
    starts = (batch.position_ids == 0) & (batch.segment_ids > 0)
    assert torch.equal(gradient.abs().sum(2) > 0, starts)


def test_a_run_that_ends_in_the_middle_continues_to_the_bit_and_its_model_loads(prepared, tmp_path):
    mask, objective = {"rate": 0.3}, "two_masks"
    result = assert_continues(lambda output: describe_run(prepared, output, mask, objective=objective), tmp_path)
    AutoModelForMaskedLM.from_pretrained(result.model_url)
    settings = describe_run(prepared, str(tmp_path / "refused"), mask, objective=objective, family="modernbert")
    with pytest.raises(ConfigError, match="objective two_masks is for bert and roberta, and the family is modernbert"):
        train(settings)
