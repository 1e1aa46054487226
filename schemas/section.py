"""What the sections of run files and train files are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

AtLeastOne = Annotated[int, Field(ge=1, lt=1 << 63)]
AtLeastZero = Annotated[int, Field(ge=0, lt=1 << 63)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
UInt63 = Annotated[int, Field(ge=0, lt=1 << 63)]
"""A seed: TOML's integers are signed and of 64 bits."""
Url = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """What every section shares: frozen, no unknown keys, no silent conversions, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
