"""How the search for near duplicates is cut into units. What is found does not depend on it."""

from __future__ import annotations

from collections.abc import Sequence

from maskmill.pipeline.corpus.near_duplicates.records import RECORD_BYTES, Written
from maskmill.pipeline.corpus.plan import SortUnit
from maskmill.pipeline.engine.units import UnitDescription
from maskmill.schemas.layout import DataSplit

MAX_UNITS = 1024
"""Of a stage: each unit reads a part of what every unit before it has written."""
BYTES_PER_PARTITION = 64 << 20
"""Of records by band; a unit of more than it can hold reads them in several passes."""
DOCUMENTS_PER_PARTITION = 1 << 20


class ShardsUnit(UnitDescription):
    """Some consecutive shards of one split, as the sort stage wrote them.

    Attributes:
        first_unit: The sort unit that wrote the first of them.
        stop_unit: The one after the last.
        held_out: Which split.
        first_number: What is added to a shard's number, so that no two shards have the same.
    """

    first_unit: int
    stop_unit: int
    held_out: bool
    first_number: int

    @property
    def split(self) -> DataSplit:
        """Which of the two datasets."""
        return DataSplit.of(self.held_out)


class SignUnit(ShardsUnit):
    """Sign the documents of some shards.

    Attributes:
        num_partitions: Of the keys of bands.
    """

    stage: str = "sign"
    num_partitions: int


class MatchUnit(UnitDescription):
    """Find the documents with an equal band, in one partition of the keys.

    Attributes:
        source: The units that signed them.
        partition: Which partition.
        num_partitions: Of the documents.
    """

    stage: str = "match"
    source: Written
    partition: int
    num_partitions: int


class JoinUnit(UnitDescription):
    """Replace the edges of one partition of the documents by such as lead nearer to the first of each component.

    Attributes:
        source: The units that wrote the edges.
        partition: Which partition.
        is_large: Whether it is a large star, which moves the later neighbours of each document, or a small one.
    """

    stage: str = "join"
    source: Written
    partition: int
    is_large: bool


class LocateUnit(UnitDescription):
    """Tell the shards which of their documents are near duplicates.

    Attributes:
        source: The units that wrote the last edges.
        partition: Which partition of the documents.
        first_shards: The first shard of each keep unit.
    """

    stage: str = "locate"
    source: Written
    partition: int
    first_shards: tuple[int, ...]


class KeepUnit(ShardsUnit):
    """Write some document shards without near duplicates.

    Attributes:
        source: The units that located those.
        partition: The number of this unit among them.
    """

    stage: str = "keep"
    source: Written
    partition: int


def plan_shard_groups(sort_units: Sequence[SortUnit]) -> list[ShardsUnit]:
    """Cut the shards of each split into groups of consecutive ones, about as many as `MAX_UNITS` in all."""
    size = -(-len(sort_units) // MAX_UNITS)
    num_train = next(unit.num_shards for unit in sort_units if not unit.held_out)
    groups: list[ShardsUnit] = []
    for split in DataSplit:
        numbers = [unit.unit for unit in sort_units if unit.split is split]
        groups += [
            ShardsUnit(
                stage="",
                unit=len(groups) + place,
                first_unit=first,
                stop_unit=min(first + size, numbers[-1] + 1),
                held_out=split.is_held_out,
                first_number=num_train if split.is_held_out else 0,
            )
            for place, first in enumerate(numbers[::size])
        ]
    return groups


def plan_sign_units(groups: Sequence[ShardsUnit], num_documents: int, bands: int) -> list[SignUnit]:
    """A unit for each group of shards."""
    wanted = -(-num_documents * bands * RECORD_BYTES // BYTES_PER_PARTITION)
    num_partitions = min(max(1, wanted), MAX_UNITS)
    return [SignUnit(**group.model_dump(exclude={"stage"}), num_partitions=num_partitions) for group in groups]


def plan_match_units(signed: Sequence[SignUnit], num_documents: int) -> list[MatchUnit]:
    """A unit for each partition of the keys."""
    source = written_by(signed, signed[0].num_partitions)
    num_partitions = min(max(1, -(-num_documents // DOCUMENTS_PER_PARTITION)), MAX_UNITS)
    return [
        MatchUnit(unit=partition, source=source, partition=partition, num_partitions=num_partitions)
        for partition in range(source.num_partitions)
    ]


def plan_join_units(source: Written, step: int) -> list[JoinUnit]:
    """A unit for each partition of the documents; large and small stars take turns."""
    return [
        JoinUnit(
            unit=step * source.num_partitions + partition, source=source, partition=partition, is_large=step % 2 == 0
        )
        for partition in range(source.num_partitions)
    ]


def plan_locate_units(
    source: Written, groups: Sequence[ShardsUnit], sort_units: Sequence[SortUnit]
) -> list[LocateUnit]:
    """A unit for each partition of the documents."""
    first_shards = tuple(group.first_number + sort_units[group.first_unit].first_shard for group in groups)
    return [
        LocateUnit(unit=partition, source=source, partition=partition, first_shards=first_shards)
        for partition in range(source.num_partitions)
    ]


def plan_keep_units(groups: Sequence[ShardsUnit], located: Sequence[LocateUnit]) -> list[KeepUnit]:
    """A unit for each group of shards."""
    source = written_by(located, len(groups))
    return [
        KeepUnit(**group.model_dump(exclude={"stage"}), source=source, partition=partition)
        for partition, group in enumerate(groups)
    ]


def written_by(units: Sequence[UnitDescription], num_partitions: int) -> Written:
    """What the units of a stage have written."""
    first = units[0]
    return Written(
        stage=first.stage, first_unit=first.unit, stop_unit=units[-1].unit + 1, num_partitions=num_partitions
    )
