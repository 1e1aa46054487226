"""The numbers in manifests and receipts, and the base class of what a manifest is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_COUNT = (1 << 63) - 1
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
LateCount = Annotated[int, Field(ge=0, le=MAX_COUNT, exclude_if=lambda count: count == 0)]
"""A count that older manifests lack: written only if it is not 0, so that their fingerprints stay valid."""

LateCounts = Annotated[dict[str, Count], Field(exclude_if=lambda counts: not counts)]
"""Counts by name that older manifests lack: written only if there are any."""


class Written(BaseModel):
    """The base class of everything in a manifest: frozen, with checked sums.

    Fields that a newer minor version added are kept, so that the fingerprint still covers them; `parse_manifest`
    refuses unknown fields in anything else.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
