"""ELECTRA: the losses of transformers' two models, each sequence alone; one set of embeddings; runs that go on."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForPreTraining

from maskmill.pipeline.loader.batches.objectives import find_original_ids, replace_tokens
from maskmill.pipeline.training.families import FAMILIES, Dimensions
from maskmill.pipeline.training.objectives import OBJECTIVES
from maskmill.pipeline.training.train import train
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.masking import IGNORE_INDEX
from maskmill.schemas.model_section import ModelSection, ObjectiveName
from tests.training.families.packed_rows import make_packed
from tests.training.objectives.trained import (
    assert_computes,
    assert_continues,
    assert_parts_add_up,
    build_trained,
    compute_token_loss,
    describe_run,
    split_sequences,
    weigh,
)

ELECTRA = {"family": "electra", "objective": "replaced_token", "embedding_size": 12}


def replace_with_samples(models, batch):
    """The discriminator's rows, and the generator's logits of each sequence alone."""
    predicted = (batch.labels != IGNORE_INDEX).flatten().nonzero().squeeze(1)
    alone = [models.generator(input_ids=ids[None]).logits[0] for ids in split_sequences(batch, batch.input_ids)]
    logits, labels = torch.cat(alone), torch.cat(split_sequences(batch, batch.labels))
    return replace_tokens(batch, predicted, logits[labels != IGNORE_INDEX], seed=5), logits


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("keys", [{}, {"embedding_size": 16, "generator_share": 0.5}, {"discriminator_weight": 3.0}])
def test_packed_rows_give_the_losses_and_gradients_of_both_models_on_sequences_alone(keys, weighted):
    """Weights of labels are the generator's: the discriminator's loss is a mean over all tokens."""
    models, batch = build_trained(**ELECTRA | keys), make_packed(0)
    batch = weigh(batch) if weighted else batch
    shown, logits = replace_with_samples(models, batch)
    expected = compute_token_loss(batch, logits)
    judged = [models.discriminator(input_ids=ids[None]).logits[0] for ids in split_sequences(batch, shown.input_ids)]
    is_replaced = torch.cat(split_sequences(batch, shown.input_ids != find_original_ids(batch)))
    assert 0 < is_replaced.sum() < len(is_replaced)
    of_discriminator = functional.binary_cross_entropy_with_logits(torch.cat(judged), is_replaced.double())
    expected = expected + keys.get("discriminator_weight", 50.0) * of_discriminator
    wanted = assert_computes(models, batch, "replaced_token", expected)
    assert wanted.keys() == dict(models.named_parameters()).keys()


@pytest.mark.parametrize("weighted", [False, True])
def test_both_losses_are_counted_over_the_whole_global_batch(weighted):
    batch = make_packed(0)
    assert_parts_add_up(build_trained(**ELECTRA), weigh(batch) if weighted else batch, "replaced_token")


def test_the_generator_is_narrower_and_shares_every_embedding():
    models = build_trained(**ELECTRA)
    small, large = models.generator.config, models.discriminator.config
    assert (small.hidden_size, small.num_attention_heads, small.intermediate_size) == (4, 1, 6)
    assert (small.num_hidden_layers, small.embedding_size) == (large.num_hidden_layers, large.embedding_size)
    assert models.generator.electra.embeddings is models.discriminator.electra.embeddings
    assert models.generator.generator_lm_head.weight is models.discriminator.get_input_embeddings().weight
    names = [name for name, _ in models.named_parameters()]
    assert sum("word_embeddings" in name for name in names) == 1
    assert "generator.generator_lm_head.weight" not in names


@pytest.mark.parametrize(
    ("size", "share", "hidden_size", "heads", "embedding_size"),
    [("small", 0.25, 64, 1, 128), ("base", 0.3333, 256, 4, 768), ("large", 0.25, 256, 4, 1024)],
)
def test_the_sizes_of_the_paper(size, share, hidden_size, heads, embedding_size):
    """Table 6."""
    section = ModelSection(family="electra", objective="replaced_token", size=size, generator_share=share)
    generator = section.shrink()
    assert (generator.hidden_size, generator.num_heads) == (hidden_size, heads)
    assert generator.intermediate_size == 4 * hidden_size
    assert FAMILIES[section.family].configure(section, Dimensions(99, 8, 0)).embedding_size == embedding_size


def test_a_run_that_ends_in_the_middle_continues_to_the_bit_and_its_discriminator_loads(prepared, tmp_path):
    result = assert_continues(lambda output: describe_run(prepared, output, **ELECTRA), tmp_path)
    model = AutoModelForPreTraining.from_pretrained(result.model_url)
    assert type(model).__name__ == "ElectraForPreTraining"
    assert model(input_ids=torch.tensor([[2, 7, 8, 3]])).logits.shape == (1, 4)
    assert 0 < result.held_out.loss < 8  # nats a token, the generator's

    again = describe_run(prepared, str(tmp_path / "again"), **ELECTRA, init=result.model_url)
    again["model"] = {name: again["model"][name] for name in ("family", "objective", "init")}
    said = []
    assert train(again, said.append).step == 8
    (note,) = [event.message for event in said if event.event == "note"]
    assert note.startswith("the generator begins with fresh weights")
    again["run"]["steps"] = 9
    said.clear()
    assert train(again, said.append).resumed_from == 8
    assert "note" not in [event.event for event in said]
    again["model"]["generator_share"] = 0.4
    again["run"]["output"] = str(tmp_path / "refused")
    with pytest.raises(ConfigError, match=r"generator_share.*hidden_size 13.*num_heads 2"):
        train(again)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"objective": "replaced_token"}, "objective replaced_token is for electra, and the family is bert"),
        ({"family": "electra", "generator_share": 0.5}, "generator_share is for the objective replaced_token"),
        ({**ELECTRA, "hidden_size": 20, "generator_share": 0.45}, "is not a multiple of its num_heads"),
        ({**ELECTRA, "generator_share": 0.0}, "generator_share"),
        ({"objective": "nothing"}, "objective"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(prepared, tmp_path, keys, named):
    with pytest.raises(ConfigError) as caught:
        train(describe_run(prepared, str(tmp_path), **keys))
    assert named in str(caught.value)


def test_every_objective_has_an_entry():
    assert OBJECTIVES.keys() == set(ObjectiveName)
