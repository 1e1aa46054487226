"""Raw text in, packed and masked batches for BERT-style pretraining out.

The names below are imported when they are first used, so that `import maskmill` loads neither torch nor Ray.

schemas     what is written and read: Arrow schemas, manifests, receipts, run and train files, errors
pipeline    how: corpus -> wordpiece -> packing -> masking -> storage -> engine -> run -> loader -> training
            -> verification
jobs        the command line
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskmill import errors as errors
    from maskmill.pipeline.dataset import open_dataset
    from maskmill.pipeline.loader import (
        Cache,
        MaskedBatches,
        Masking,
        Mixture,
        Phase,
        Source,
        iter_fixed_batches,
    )
    from maskmill.pipeline.loader.batches.objectives import (
        find_original_ids,
        find_span_boundaries,
        label_next_tokens,
        replace_tokens,
    )
    from maskmill.pipeline.loader.for_trainers import (
        as_inputs,
        count_terms,
        describe_encoder,
        group_steps,
        sum_batch_loss,
        sum_losses,
    )
    from maskmill.pipeline.run.mask import mask
    from maskmill.pipeline.run.prepare import prepare
    from maskmill.pipeline.training.train import train
    from maskmill.pipeline.verification.verify import verify
    from maskmill.pipeline.wordpiece.vocabulary.weigh_pieces import find_rare_first

__all__ = [
    "Cache",
    "MaskedBatches",
    "Masking",
    "Mixture",
    "Phase",
    "Source",
    "as_inputs",
    "count_terms",
    "describe_encoder",
    "find_original_ids",
    "find_rare_first",
    "find_span_boundaries",
    "group_steps",
    "iter_fixed_batches",
    "label_next_tokens",
    "mask",
    "open_dataset",
    "prepare",
    "replace_tokens",
    "sum_batch_loss",
    "sum_losses",
    "train",
    "verify",
]

_LOADER = ("Cache", "MaskedBatches", "Mixture", "Phase", "Source", "iter_fixed_batches")
_FOR_TRAINERS = ("as_inputs", "count_terms", "describe_encoder", "group_steps", "sum_batch_loss", "sum_losses")
_OBJECTIVES = ("find_original_ids", "find_span_boundaries", "label_next_tokens", "replace_tokens")
_HOMES = {
    **dict.fromkeys(_LOADER, "maskmill.pipeline.loader"),
    **dict.fromkeys(_FOR_TRAINERS, "maskmill.pipeline.loader.for_trainers"),
    **dict.fromkeys(_OBJECTIVES, "maskmill.pipeline.loader.batches.objectives"),
    "find_rare_first": "maskmill.pipeline.wordpiece.vocabulary.weigh_pieces",
    "Masking": "maskmill.schemas.masking",
    "mask": "maskmill.pipeline.run.mask",
    "open_dataset": "maskmill.pipeline.dataset",
    "prepare": "maskmill.pipeline.run.prepare",
    "train": "maskmill.pipeline.training.train",
    "verify": "maskmill.pipeline.verification.verify",
}
"""The module of each public name."""


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("maskmill.errors")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
