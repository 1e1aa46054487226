"""BERT (arXiv 1810.04805)."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining

from maskmill.pipeline.training.families.family import Dimensions, Family, PairHead, list_common_keys
from maskmill.schemas.model_section import ModelSection


def configure_learned_positions(config: type[Any], section: ModelSection, dimensions: Dimensions, **keys: Any) -> Any:
    """The configuration of a family with BERT's keys; `keys` are added or replaced."""
    dropout = {"hidden_dropout_prob": section.dropout, "attention_probs_dropout_prob": section.dropout}
    return config(**list_common_keys(section, dimensions) | dropout | keys)


def _configure(section: ModelSection, dimensions: Dimensions) -> Any:
    return configure_learned_positions(BertConfig, section, dimensions)


def _predict(model: Any, hidden: Tensor) -> Tensor:
    head = model.cls.predictions if isinstance(model, BertForPreTraining) else model.cls
    logits: Tensor = head(hidden)
    return logits


def _judge(model: Any, hidden: Tensor) -> Tensor:
    pooler = model.bert.pooler
    logits: Tensor = model.cls.seq_relationship(pooler.activation(pooler.dense(hidden)))
    return logits


BERT = Family(_configure, BertForMaskedLM, _predict, PairHead(BertForPreTraining, _judge))
