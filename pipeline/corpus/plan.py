"""How the exchange is cut: the hash's range into buckets, buckets into document shards.

Everything here is a pure function of the inputs' names and sizes, the counts of the map stage and the run file, so
every driver on every machine makes the same plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maskmill.pipeline.engine.units import UnitDescription
from maskmill.schemas.layout import DataSplit

MAX_BUCKETS = 512
BUCKETS_PER_SHARD = 4
MIB = 1 << 20
FEW_SHARDS = 8
SMALL_SHARD_BYTES = 16 * MIB
LARGE_SHARD_BYTES = 64 * MIB


class SortUnit(UnitDescription):
    """Sort one interval of the hash's range and write its document shards.

    Attributes:
        held_out: Whether it is the dataset of the held-out documents.
        num_shards: Of the dataset; shard s holds the hashes in [s, s + 1) / num_shards.
        first_shard: The first shard of this unit.
        stop_shard: The one after its last.
        buckets: Indices of the buckets that overlap the interval.
        num_buckets: Of both datasets together.
    """

    stage: str = "sort"
    held_out: bool
    num_shards: int
    first_shard: int
    stop_shard: int
    buckets: tuple[int, ...]
    num_buckets: int

    @property
    def split(self) -> DataSplit:
        """Which of the two datasets."""
        return DataSplit.of(self.held_out)


@dataclass(frozen=True)
class Buckets:
    """How the hash's range is cut between map and sort."""

    train: int
    held_out: int


def plan_shard_bytes(text_bytes: int, shard_mb: float | None) -> int:
    """Text wanted in a document shard, in bytes: what is configured, else 64 MiB, or less where that is few shards.

    Args:
        text_bytes: Of the corpus: before it is read what its files' sizes let assume, and then what was counted. Shards
            are planned by the latter, which does not depend on how the corpus lies in files.
        shard_mb: As configured.

    183 MB in shards of 64 MiB are three units, which two workers pack hardly faster than one. So a corpus is cut
    into at least eight shards, as long as they hold 16 MiB or more. (In shards of 8 MiB the eight documents of novels
    that are encoded twice are 3 % of the text: 49 MB/s instead of 60.)
    """
    if shard_mb is not None:
        return int(shard_mb * MIB)
    return min(LARGE_SHARD_BYTES, max(SMALL_SHARD_BYTES, text_bytes // FEW_SHARDS))


def plan_buckets(assumed_bytes: int, shard_bytes: int, held_out_share: float) -> Buckets:
    """At most 512 buckets in all, about four for a shard of the text that files are assumed to hold.

    With one level and no bound, 10 TB in 64 MiB shards would be 2.4 * 10^10 pieces of 410 bytes.
    """
    return _share_buckets(round(BUCKETS_PER_SHARD * assumed_bytes / shard_bytes), held_out_share)


def _share_buckets(wanted: int, held_out_share: float) -> Buckets:
    held_out = max(1, round(min(max(1, wanted), MAX_BUCKETS) * held_out_share)) if held_out_share else 0
    return Buckets(max(1, min(wanted, MAX_BUCKETS - held_out)), held_out)


def plan_sort_units(
    text_bytes: Sequence[int], shard_bytes: int, buckets: Buckets, held_out_share: float
) -> list[SortUnit]:
    """Units that write about `shard_bytes` of text in each shard.

    With no more shards than buckets a unit is one shard and reads the buckets that overlap it; with more, there are as
    many units as buckets, and each writes several shards. How many shards there are depends on the text alone, never
    on the buckets, which were planned by what the files' sizes let assume: where the text is more than that, a unit
    reads up to three buckets.

    Args:
        text_bytes: Of the documents to train on, and of the held-out ones.
        shard_bytes: Text wanted in a shard.
        buckets: As planned for the map stage.
        held_out_share: As `plan_buckets` was given it.
    """
    most = _share_buckets(MAX_BUCKETS, held_out_share)
    units: list[SortUnit] = []
    for held_out, num_buckets, first_bucket, most_buckets in (
        (False, buckets.train, 0, most.train),
        (True, buckets.held_out, buckets.train, most.held_out),
    ):
        if not num_buckets:
            continue
        num_shards = max(1, round(text_bytes[held_out] / shard_bytes))
        if num_shards > most_buckets:  # so that each unit is one bucket
            num_shards = round(num_shards / most_buckets) * most_buckets
        num_units = min(num_shards, num_buckets)
        for unit in range(num_units):
            first, stop = (place * num_shards // num_units for place in (unit, unit + 1))
            start_bucket = first * num_buckets // num_shards
            stop_bucket = -(-stop * num_buckets // num_shards)
            units.append(
                SortUnit(
                    unit=len(units),
                    held_out=held_out,
                    num_shards=num_shards,
                    first_shard=first,
                    stop_shard=stop,
                    buckets=tuple(first_bucket + bucket for bucket in range(start_bucket, stop_bucket)),
                    num_buckets=buckets.train + buckets.held_out,
                )
            )
    return units
