"""Replaced tokens (ELECTRA, arXiv 2003.10555): a discriminator finds the tokens that a small generator has sampled.

The generator predicts masked tokens. What it samples in their places is shown to the discriminator, which says of every
token whether it is the text's. As in ELECTRA's code, that is asked of [CLS] and [SEP] too, but not of padding, and the
two share all embeddings: of tokens, positions and types. No gradient goes from the discriminator through the samples.
Where masked tokens have weights, they are the generator's: the discriminator judges all tokens, each with weight 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskmill.pipeline.loader.batches.batch import Batch
from maskmill.pipeline.loader.batches.loss_terms import count_terms, count_tokens, sum_cross_entropy
from maskmill.pipeline.loader.batches.objectives import replace_tokens
from maskmill.pipeline.training.families import FAMILIES, Dimensions, family_of
from maskmill.pipeline.training.masked_loss import (
    TrainingBatch,
    encode,
    make_inputs,
)
from maskmill.pipeline.training.objectives.objective import Objective
from maskmill.pipeline.training.train_data import TrainData
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.masking import IGNORE_INDEX
from maskmill.schemas.model_section import ModelSection


class TwoModels(nn.Module):
    """A discriminator and the generator beside it, with shared embeddings.

    Args:
        discriminator: A model of a family with a head for replaced tokens.
        generator: A model of the same family with a head for tokens; it takes over the discriminator's embeddings.
        weight: Of the discriminator's loss.
        seed: Of the samples.
    """

    def __init__(self, discriminator: Any, generator: Any, *, weight: float, seed: int) -> None:
        super().__init__()
        generator.base_model.embeddings = discriminator.base_model.embeddings
        generator.get_output_embeddings().weight = discriminator.get_input_embeddings().weight
        self.discriminator, self.generator = discriminator, generator
        self.weight, self.seed = weight, seed


def _extend(discriminator: Any, section: ModelSection, data: TrainData) -> TwoModels:
    family, config = FAMILIES[section.family], discriminator.config
    dimensions = Dimensions(config.vocab_size, config.max_position_embeddings, data.pad_id, data.mask_id)
    generator = family.model(family.configure(_describe_generator(section, config), dimensions))
    generator.train()
    return TwoModels(discriminator, generator, weight=section.discriminator_weight, seed=data.masking.seed)


def _describe_generator(section: ModelSection, config: Any) -> ModelSection:
    """Shrink the discriminator as it is: its size may be that of a folder. Shared embeddings have one width."""
    sizes = {
        "hidden_size": config.hidden_size,
        "num_layers": config.num_hidden_layers,
        "num_heads": config.num_attention_heads,
        "intermediate_size": config.intermediate_size,
        "embedding_size": config.embedding_size,
    }
    try:
        return section.model_copy(update=sizes).shrink()
    except ValueError as error:
        raise ConfigError(
            "the generator cannot be built",
            path="model.generator_share",
            expected="a share of the discriminator's width and heads",
            found=str(error),
            action="set another share, such as 0.25",
        ) from None


def _count(_models: TwoModels, micro_batches: Sequence[TrainingBatch]) -> list[int]:
    return [count_terms(micro_batches), count_tokens(micro_batches)]


def _sum(models: TwoModels, micro_batch: TrainingBatch, device: torch.device | str) -> list[Tensor]:
    batch = cast("Batch", micro_batch)
    generator, discriminator, family = models.generator, models.discriminator, family_of(models.generator)
    labels = batch.labels.flatten()
    # Found on the CPU: the same on a GPU would wait for all that is queued there.
    positions = (labels != IGNORE_INDEX).nonzero().squeeze(1)
    real = (batch.segment_ids.flatten() > 0).nonzero().squeeze(1).to(device)
    hidden = encode(generator, family, batch, device)
    logits = family.predict(generator, hidden.index_select(0, positions.to(device)))  # (labelled, vocab_size)
    weights = None if batch.loss_weights is None else batch.loss_weights.flatten()[positions]
    of_generator = sum_cross_entropy(logits, labels[positions], weights)

    shown = replace_tokens(batch.to(device), positions.to(device), logits, models.seed)
    inputs = make_inputs(discriminator, family, batch, device) | {"input_ids": shown.input_ids}
    hidden = family.encode(discriminator, inputs).index_select(0, real)
    assert family.replaced is not None  # noqa: S101  # the train file's keys agree
    judged = family.replaced.judge(discriminator, hidden)  # (real,)
    precise = judged.to(torch.promote_types(judged.dtype, torch.float32))
    is_replaced = shown.is_replaced.flatten().index_select(0, real).to(precise.dtype)
    of_discriminator = functional.binary_cross_entropy_with_logits(precise, is_replaced, reduction="sum")
    return [of_generator, models.weight * of_discriminator]


REPLACED_TOKEN = Objective(
    extend=_extend,
    count=_count,
    sum_losses=_sum,
    take_exported=lambda models: models.discriminator,
    take_scored=lambda models: models.generator,
    aside="the generator",
)
