"""ModernBERT (arXiv 2412.13663): rotary positions, local attention in two layers of three, gated feed-forward parts."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import ModernBertConfig, ModernBertForMaskedLM

from maskmill.pipeline.training.families.family import Dimensions, Family, list_common_keys
from maskmill.schemas.model_section import ModelSection

_LOCAL_ATTENTION = 128


def _configure(section: ModelSection, dimensions: Dimensions) -> Any:
    return ModernBertConfig(
        **list_common_keys(section, dimensions),
        local_attention=section.local_attention or _LOCAL_ATTENTION,
        attention_dropout=section.dropout,
        embedding_dropout=section.dropout,
        mlp_dropout=section.dropout,
        bos_token_id=None,
        eos_token_id=None,
        cls_token_id=None,
        sep_token_id=None,
    )


def _predict(model: Any, hidden: Tensor) -> Tensor:
    logits: Tensor = model.decoder(model.head(hidden))
    return logits


MODERNBERT = Family(_configure, ModernBertForMaskedLM, _predict)
