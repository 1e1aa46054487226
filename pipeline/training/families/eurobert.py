"""EuroBERT (arXiv 2503.05500): the layers of Llama without a causal mask, that is RMSNorm, SwiGLU, rotary positions."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import EuroBertConfig, EuroBertForMaskedLM

from maskmill.pipeline.training.families.family import Dimensions, Family
from maskmill.schemas.model_section import ModelSection

_ROPE_THETA = 250_000.0


def _configure(section: ModelSection, dimensions: Dimensions) -> Any:
    return EuroBertConfig(
        vocab_size=dimensions.vocab_size,
        hidden_size=section.hidden_size,
        num_hidden_layers=section.num_layers,
        num_attention_heads=section.num_heads,
        intermediate_size=section.intermediate_size or 4 * section.hidden_size,
        max_position_embeddings=dimensions.num_positions,
        rope_parameters={"rope_type": "default", "rope_theta": section.rope_theta or _ROPE_THETA},
        attention_dropout=section.dropout,
        initializer_range=section.initializer_range,
        pad_token_id=dimensions.pad_id,
        attn_implementation="sdpa",
        bos_token_id=None,
        eos_token_id=None,
        **({} if dimensions.mask_id is None else {"mask_token_id": dimensions.mask_id}),
    )


def _predict(model: Any, hidden: Tensor) -> Tensor:
    logits: Tensor = model.lm_head(hidden)
    return logits


EUROBERT = Family(_configure, EuroBertForMaskedLM, _predict)
