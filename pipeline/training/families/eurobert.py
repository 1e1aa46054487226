"""EuroBERT (arXiv 2503.05500): the layers of Llama without a causal mask, that is RMSNorm, SwiGLU, rotary positions."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import EuroBertConfig, EuroBertForMaskedLM

from maskmill.pipeline.training.families.family import Dimensions, Family, list_common_keys
from maskmill.schemas.model_section import ModelSection

_ROPE_THETA = 250_000.0


def _configure(section: ModelSection, dimensions: Dimensions) -> Any:
    return EuroBertConfig(
        **list_common_keys(section, dimensions),
        rope_parameters={"rope_type": "default", "rope_theta": section.rope_theta or _ROPE_THETA},
        attention_dropout=section.dropout,
        bos_token_id=None,
        eos_token_id=None,
        **({} if dimensions.mask_id is None else {"mask_token_id": dimensions.mask_id}),
    )


def _predict(model: Any, hidden: Tensor) -> Tensor:
    logits: Tensor = model.lm_head(hidden)
    return logits


EUROBERT = Family(_configure, EuroBertForMaskedLM, _predict)
