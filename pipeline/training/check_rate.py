"""Refuse masks that leave a step nothing to predict: its loss would be 0, and the step would pass for a trained one."""

from __future__ import annotations

from maskmill.schemas.errors import ConfigError
from maskmill.schemas.masking import Masking, Selection
from maskmill.schemas.shares import PPM


def check_rate(masking: Masking, dataset: str | None, *, steps: int, batch_tokens: int) -> None:
    """Check that every step of a run has labels.

    Where each token is selected by itself, no number of them is certain; then at least one is expected on average.

    Args:
        masking: Settings of the run's masks.
        dataset: The URL to show if they are a dataset's; None if they are the train file's.
        steps: Of the run.
        batch_tokens: Tokens of a global batch, special ones and padding included.

    Raises:
        ConfigError: A step would have no label.
    """
    key = "rate" if masking.per_sequence_rate is None else "per_sequence_rate"
    step, (low, high) = 0, masking.rate_bounds_ppm
    if masking.schedule is not None:
        step, low = masking.schedule.find_lowest(steps)
        high = low
    enough = masking.selection == Selection.EXACT or batch_tokens * (low + high) >= 2 * PPM
    if high > 0 and enough:
        return
    if high == 0:
        expected = "more than 0"
    else:
        expected = f"a rate that selects one of the {batch_tokens} tokens of a global batch on average, or more"
    action = "give [mask] of the train file a rate such as 0.15, or --set mask.rate=0.15"
    if masking.schedule is not None:
        action = f"let the rate reach its end above that, or {action}"
    raise ConfigError(
        "no token would have a label, and there would be nothing to learn",
        path=f"mask.{key}" if dataset is None else dataset,
        place=None if dataset is None else f"mask.{key}",
        expected=expected if masking.schedule is None else f"{expected}, at each of the {steps} steps",
        found=str(getattr(masking, key)) if masking.schedule is None else f"{low / PPM} at step {step}",
        action=action,
    )
