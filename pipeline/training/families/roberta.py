"""RoBERTa (arXiv 1907.11692): positions begin after the id of the padding, and its table is that much longer."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import RobertaConfig, RobertaForMaskedLM

from maskmill.pipeline.training.families.bert import configure_learned_positions
from maskmill.pipeline.training.families.family import Dimensions, Family
from maskmill.schemas.model_section import ModelSection


def _configure(section: ModelSection, dimensions: Dimensions) -> Any:
    return configure_learned_positions(
        RobertaConfig,
        section,
        dimensions,
        max_position_embeddings=dimensions.num_positions + dimensions.pad_id + 1,
        bos_token_id=None,
        eos_token_id=None,
    )


def _predict(model: Any, hidden: Tensor) -> Tensor:
    logits: Tensor = model.lm_head(hidden)
    return logits


ROBERTA = Family(_configure, RobertaForMaskedLM, _predict)
