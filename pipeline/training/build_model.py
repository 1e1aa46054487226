"""The model: transformers' BERT, its weights a function of the configuration and a seed."""

from __future__ import annotations

from typing import Any

import torch
from transformers import BertConfig, BertForMaskedLM

from maskmill.schemas.train_file import ModelSection


def build_model(section: ModelSection, *, vocab_size: int, seq_len: int, pad_id: int, seed: int) -> Any:
    """Build a `BertForMaskedLM` with fresh weights, in training mode, on the CPU in float32.

    Weights are drawn on the CPU, so every device starts from the same ones. torch's generators are seeded here and
    go on from where the weights end: dropout, which has no generator of its own, draws from them. A caller that
    minds forks them first.

    Args:
        section: Width, depth, dropout.
        vocab_size: Rows of the embedding.
        seq_len: Longest sequence; positions are learned up to it.
        pad_id: Id whose embedding is zero and gets no gradient from the input side.
        seed: Of torch's generators.
    """
    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=section.hidden_size,
        num_hidden_layers=section.num_layers,
        num_attention_heads=section.num_heads,
        intermediate_size=section.intermediate_size or 4 * section.hidden_size,
        max_position_embeddings=seq_len,
        hidden_dropout_prob=section.dropout,
        attention_probs_dropout_prob=section.dropout,
        initializer_range=section.initializer_range,
        pad_token_id=pad_id,
        attn_implementation="sdpa",
    )
    torch.manual_seed(seed)
    model = BertForMaskedLM(config)
    model.train()
    return model
