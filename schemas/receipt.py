"""The receipt of a finished unit: what it wrote and what it counted."""

from __future__ import annotations

from typing import Annotated, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, model_validator

from maskmill.schemas.counting import Count

UInt64 = Annotated[int, Field(ge=0, lt=1 << 64)]
UInt32 = Annotated[int, Field(ge=0, lt=1 << 32)]
Item = TypeVar("Item")
Items = Annotated[list[Item], FailFast()]
"""A list in a receipt, rejected at its first invalid item: pydantic would keep an error of 900 bytes for each."""
Named = Annotated[dict[str, Item], FailFast()]
"""Values by name, rejected at the first invalid one."""


class ShardReceipt(BaseModel):
    """One Arrow file that a unit wrote.

    Attributes:
        path: Relative to the run's output.
        rows: Documents or packed rows in it.
        tokens: Document tokens in it, without special tokens; 0 in document shards.
        text_bytes: UTF-8 bytes of the text in it, or that it was encoded from.
        size_bytes: Length of the file.
        checksum: xxh3-128 of the whole file, hexadecimal.
        block_offsets: Where each block begins in the file, in bytes.
        block_lengths: Length of each block in bytes.
        block_checksums: xxh3-64 of each block's bytes.
        first_row_id: Number of its first row or document: shard * 2^32 + row in the shard it was cut from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    rows: Count
    tokens: Count
    text_bytes: Count
    size_bytes: Count
    checksum: str
    block_offsets: Items[Count]
    block_lengths: Items[UInt32]
    block_checksums: Items[UInt64]
    first_row_id: UInt64 = 0


class Details(BaseModel):
    """What later stages need from a stage's receipts, besides shards and counts; each stage has its own model.

    Its lists are `Items`, and its dictionaries `Named`.

    Attributes:
        counted: Names that the receipts' `counts` must have.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    counted: ClassVar[frozenset[str]] = frozenset()


AnyDetails = TypeVar("AnyDetails", bound=Details)


class Receipt(BaseModel, Generic[AnyDetails]):
    """What one unit of a stage did; manifests are made from receipts.

    Attributes:
        stage: Name of the stage.
        unit: Number of the unit in the stage.
        description: xxh3-128 of the unit's description; a receipt with another one is stale.
        shards: The Arrow files that become part of a dataset.
        counts: Counts; a manifest has their sums over all units.
        details: What later stages need.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    unit: Count
    description: str
    shards: Items[ShardReceipt] = []
    counts: Named[Count] = {}
    details: AnyDetails

    @model_validator(mode="after")
    def _has_what_is_counted(self) -> Receipt[AnyDetails]:
        if missing := sorted(self.details.counted - self.counts.keys()):
            raise ValueError(f"counts lack {', '.join(missing)}")
        return self
