"""ELECTRA (arXiv 2003.10555): BERT's layers, and embeddings of a width that generator and discriminator can share."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining

from maskmill.pipeline.training.families.bert import configure_learned_positions
from maskmill.pipeline.training.families.family import Dimensions, Family, TokenHead
from maskmill.schemas.model_section import ModelSection

_EMBEDDING_SIZE = 128
_WIDEST_SMALL = 256


def _configure(section: ModelSection, dimensions: Dimensions) -> Any:
    usual = _EMBEDDING_SIZE if section.hidden_size <= _WIDEST_SMALL else section.hidden_size  # table 6
    return configure_learned_positions(
        ElectraConfig, section, dimensions, embedding_size=section.embedding_size or usual
    )


def _predict(model: Any, hidden: Tensor) -> Tensor:
    logits: Tensor = model.generator_lm_head(model.generator_predictions(hidden))
    return logits


def _judge(model: Any, hidden: Tensor) -> Tensor:
    logits: Tensor = model.discriminator_predictions(hidden)
    return logits


ELECTRA = Family(_configure, ElectraForMaskedLM, _predict, replaced=TokenHead(ElectraForPreTraining, _judge))
