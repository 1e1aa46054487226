"""The building blocks of the sections in run files and train files."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

AtLeastOne = Annotated[int, Field(ge=1, lt=1 << 63)]
AtLeastZero = Annotated[int, Field(ge=0, lt=1 << 63)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
UInt63 = Annotated[int, Field(ge=0, lt=1 << 63)]
"""A seed: integers in TOML are signed and have 64 bits."""
Url = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """The base class of all sections: frozen, no unknown keys, no silent conversions, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
