"""DeBERTa-v2 (arXiv 2006.03654, and 2111.09543 for the settings of version 3): positions by distance.

Its attention takes a mask of two dimensions only, and its convolution mixes neighbours, so each sequence goes into a
padded row of its own. There the convolution sees the zeros that it would see at the ends of the sequence alone.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import DebertaV2Config, DebertaV2ForMaskedLM

from maskmill.pipeline.training.families.bert import configure_learned_positions
from maskmill.pipeline.training.families.family import Dimensions, Family
from maskmill.schemas.model_section import ModelSection

_BUCKETS = 256


def _configure(section: ModelSection, dimensions: Dimensions) -> Any:
    convolution = {} if section.conv_kernel_size is None else {"conv_kernel_size": section.conv_kernel_size}
    return configure_learned_positions(
        DebertaV2Config,
        section,
        dimensions,
        relative_attention=True,
        position_buckets=_BUCKETS,
        pos_att_type=["p2c", "c2p"],
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        attn_implementation="eager",
        **convolution,
    )


def _predict(model: Any, hidden: Tensor) -> Tensor:
    logits: Tensor = model.cls(hidden)
    return logits


DEBERTA_V2 = Family(_configure, DebertaV2ForMaskedLM, _predict)
