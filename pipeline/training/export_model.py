"""The trained model as a folder that transformers loads: weights, configuration and tokenizer."""

from __future__ import annotations

from typing import Any

from safetensors.torch import save

from maskmill.pipeline.storage.store import Store
from maskmill.schemas.tokenizer_config import describe_for_transformers

MODEL_FOLDER = "model"


def export_model(store: Store, model: Any, *, tokenizer_json: bytes, seq_len: int) -> str:
    """Write `model/` below the output, `config.json` last: without it transformers does not load the folder.

    `AutoModelForMaskedLM.from_pretrained` loads it, or `AutoModelForPreTraining.from_pretrained` a discriminator, and
    `AutoTokenizer.from_pretrained` the tokenizer. Tied weights are stored once, as transformers does.

    Args:
        store: The output.
        model: A model of `build_model`.
        tokenizer_json: The packed dataset's `tokenizer.json`.
        seq_len: Longest sequence the model has positions for.

    Returns:
        The folder's URL.
    """
    weights = {name: parameter.detach().cpu().contiguous() for name, parameter in model.named_parameters()}
    model.config.architectures = [type(model).__name__]
    files = {
        "tokenizer.json": tokenizer_json,
        "tokenizer_config.json": describe_for_transformers(tokenizer_json, seq_len),
        "model.safetensors": save(weights, metadata={"format": "pt"}),
        "config.json": model.config.to_json_string().encode(),
    }
    for name, data in files.items():
        store.write_bytes(f"{MODEL_FOLDER}/{name}", data)
    return store.locate(MODEL_FOLDER)
