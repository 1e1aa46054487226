"""Shares in whole millionths, as masks are computed."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

PPM = 10**6
_PPM_TOLERANCE = 1e-6
"""In ppm: accepts 0.1 + 0.05 as 0.15, and rejects 0.1234567."""


def _round_to_ppm(value: float) -> float:
    ppm = round(value * PPM)
    if abs(value * PPM - ppm) > _PPM_TOLERANCE:
        nearest = max(1, ppm) / PPM if value > 0 else 0  # 0 would mean no mask at all
        raise ValueError(f"masks are computed in whole millionths: write {nearest:.6f} instead of {value!r}")
    return ppm / PPM


PpmShare = Annotated[float, Field(strict=True, ge=0.0, le=1.0, allow_inf_nan=False), AfterValidator(_round_to_ppm)]
"""A share from 0 to 1 that is a whole number of millionths."""
