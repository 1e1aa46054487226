"""The model: an encoder of transformers, its weights a function of the configuration and a seed."""

from __future__ import annotations

from typing import Any

import torch

from maskmill.pipeline.training.families import FAMILIES, Dimensions
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.model_section import ModelSection


def build_model(
    section: ModelSection, *, vocab_size: int, seq_len: int, pad_id: int, seed: int, mask_id: int | None = None
) -> Any:
    """Build a model with fresh weights and the heads that are asked for, in training mode, on the CPU in float32.

    Weights are drawn on the CPU, so every device starts from the same ones. torch's generators are seeded here and
    go on from where the weights end: dropout, which has no generator of its own, draws from them. A caller that
    minds forks them first.

    Args:
        section: Family, width, depth, dropout.
        vocab_size: Rows of the embedding.
        seq_len: Longest sequence; positions are learned up to it, or further if the section says so.
        pad_id: Id whose embedding is zero and gets no gradient from the input side.
        seed: Of torch's generators.
        mask_id: Id of [MASK], for configurations that name it.

    Raises:
        ConfigError: The section asks for fewer positions than a row has.
    """
    family = FAMILIES[section.family]
    num_positions = section.max_positions or seq_len
    if num_positions < seq_len:
        raise ConfigError(
            "the model would have fewer positions than a row has tokens",
            path="model.max_positions",
            expected=f"at least {seq_len}",
            found=str(num_positions),
            action="leave it out, or pack shorter rows",
        )
    config = family.configure(section, Dimensions(vocab_size, num_positions, pad_id, mask_id))
    torch.manual_seed(seed)
    model = family.choose_class(section)(config)
    model.train()
    return model
