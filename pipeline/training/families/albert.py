"""ALBERT (arXiv 1909.11942): one layer's weights for all layers, and narrow embeddings."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import AlbertConfig, AlbertForMaskedLM, AlbertForPreTraining

from maskmill.pipeline.training.families.bert import configure_learned_positions
from maskmill.pipeline.training.families.family import Dimensions, Family, PairHead
from maskmill.schemas.model_section import ModelSection

_EMBEDDING_SIZE = 128


def _configure(section: ModelSection, dimensions: Dimensions) -> Any:
    return configure_learned_positions(
        AlbertConfig,
        section,
        dimensions,
        classifier_dropout_prob=section.dropout,
        embedding_size=section.embedding_size or _EMBEDDING_SIZE,
        bos_token_id=None,
        eos_token_id=None,
    )


def _predict(model: Any, hidden: Tensor) -> Tensor:
    logits: Tensor = model.predictions(hidden)
    return logits


def _judge(model: Any, hidden: Tensor) -> Tensor:
    logits: Tensor = model.sop_classifier(model.albert.pooler_activation(model.albert.pooler(hidden)))
    return logits


ALBERT = Family(_configure, AlbertForMaskedLM, _predict, PairHead(AlbertForPreTraining, _judge))
