"""Raw text in, packed and masked batches for BERT-style pretraining out.

The names below are imported when they are first used, so that `import maskmill` loads neither torch nor Ray.

schemas     what is written and read: Arrow schemas, manifests, receipts, run and train files, errors
pipeline    how: corpus -> wordpiece -> packing -> masking -> storage -> engine -> loader -> training -> verification
jobs        the command line
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskmill.pipeline.loader import (
        Cache,
        MaskedBatches,
        Masking,
        Mixture,
        Phase,
        Source,
        iter_fixed_batches,
    )
    from maskmill.pipeline.loader.for_trainers import (
        as_inputs,
        count_labels,
        describe_encoder,
        group_steps,
        sum_losses,
    )

__all__ = [
    "Cache",
    "MaskedBatches",
    "Masking",
    "Mixture",
    "Phase",
    "Source",
    "as_inputs",
    "count_labels",
    "describe_encoder",
    "group_steps",
    "iter_fixed_batches",
    "sum_losses",
]

_LOADER = ("Cache", "MaskedBatches", "Masking", "Mixture", "Phase", "Source", "iter_fixed_batches")
_HOMES = {
    **dict.fromkeys(__all__, "maskmill.pipeline.loader.for_trainers"),
    **dict.fromkeys(_LOADER, "maskmill.pipeline.loader"),
}
"""The module of each public name."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
