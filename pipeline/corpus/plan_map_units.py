"""How input files are shared out to map units: small ones together, large ones cut into ranges.

A pure function of the files' names and sizes and of the run file, so every driver on every machine makes the same plan.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

import xxhash
from pydantic import Field

from maskmill.pipeline.corpus.formats.table import name_format
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.plan import LARGE_SHARD_BYTES, MIB, Buckets
from maskmill.pipeline.corpus.text_range import MIN_RANGE_BYTES
from maskmill.pipeline.engine.units import UnitDescription, UnitSequence
from maskmill.pipeline.storage.backends.table import find_backend
from maskmill.schemas.run_file import DocumentsSection, InputSection

MAP_UNITS_PER_SHARD = 4
RANGE_BYTES = 256 * MIB
"""Of text in a part of a file, at most: 2 GB are eight, which two workers share evenly. No smaller file is cut."""
ALONE_BYTES = 4 * MIB
"""Of text in a file that shares its unit with no other, where files may be appended."""
FILES_PER_GROUP = 32
"""Small files in a unit there, on average at most."""
MAX_GROUPS = 100_000
"""Units of small files that a large corpus is grouped into, about."""
MAX_FILES_PER_UNIT = 1024
"""Opening a file of an object store takes some 30 ms: a million tiny ones must not be in one unit."""


class MapUnit(UnitDescription):
    """Read some input files, or a part of one, and partition their documents into buckets.

    Attributes:
        table: The table of the run file that all of its files belong to, from 0.
        first_file: The place of its first file in the run's list of inputs; the others follow.
        paths: Their relative paths: a receipt is tied to the files it speaks of.
        sizes_bytes: As stored, when listed.
        start: The first byte that it reads, 0 unless it reads a part of a file.
        stop: The byte behind its range; None if it reads whole files.
        num_buckets: Buckets of documents to train on.
        num_held_out_buckets: Buckets of held-out documents; they follow the others.
        inputs: The files.
        key: Of all that decides what it reads, see `unit_keys`; empty where no other output may take it.
        taken_from: The unit of `CorpusContext.reused` that has read the same, which is taken instead of the files.

    The last three are not part of the description: they change nothing that the unit writes but its own key.
    """

    stage: str = "map"
    table: int = 0
    first_file: int
    paths: tuple[str, ...]
    sizes_bytes: tuple[int, ...]
    start: int = 0
    stop: int | None = None
    num_buckets: int
    num_held_out_buckets: int
    inputs: tuple[InputFile, ...] = Field((), exclude=True)
    key: str = Field("", exclude=True)
    taken_from: int | None = Field(None, exclude=True)

    @property
    def is_part(self) -> bool:
        """Whether it reads a part of a file."""
        return self.stop is not None

    @property
    def size_bytes(self) -> int:
        """What it reads, as stored."""
        return sum(self.sizes_bytes) if self.stop is None else self.stop - self.start

    @property
    def assumed_text_bytes(self) -> int:
        """Estimate the bytes of text that it reads."""
        assumed_bytes = sum(file.assumed_text_bytes for file in self.inputs)
        if self.stop is None or not self.sizes_bytes[0]:
            return assumed_bytes
        return assumed_bytes * self.size_bytes // self.sizes_bytes[0]


def plan_group_bytes(documents: DocumentsSection, shard_bytes: int, assumed_bytes: int) -> int:
    """Bytes of a shard by which small files are grouped into map units.

    A million files of 10 MB, two in a unit, would be 2.5 * 10^8 pieces of 40 KB in the exchange, each read by a request
    of its own. So of more than 1.7 TB a unit has more, and there are some 100,000.

    Of an output that others may take units from, it must not depend on how much text there is: with a few files more
    all groups would be others.

    Args:
        documents: Settings.
        shard_bytes: As `plan_shard_bytes` gives it.
        assumed_bytes: Of text, in all files.
    """
    if not documents.appendable:
        return max(shard_bytes, MAP_UNITS_PER_SHARD * assumed_bytes // MAX_GROUPS)
    return LARGE_SHARD_BYTES if documents.shard_mb is None else int(documents.shard_mb * MIB)


def plan_map_units(
    files: Sequence[InputFile],
    group_bytes: int,
    buckets: Buckets,
    tables: Sequence[InputSection],
    *,
    appendable: bool = False,
    range_bytes: int | None = None,
) -> UnitSequence[MapUnit]:
    """One unit a file; small files together until they hold a quarter of `group_bytes` or are 1024; large ones cut.

    Units are made when they are asked for: each takes some 2 KB.

    Args:
        files: All of them.
        group_bytes: As `plan_group_bytes` gives it.
        buckets: As `plan_buckets` gives them.
        tables: How those of each table are read: this decides what may be cut.
        appendable: Whether files that are added must leave most units as they are. Then a file of 4 MiB or more is a
            unit of its own, and groups of smaller ones end also where the files' names say so.
        range_bytes: Instead of `RANGE_BYTES`, for tests.
    """
    spans = array("q")  # of each unit its first file, the one behind its last, which part it is, of how many
    for span in _iter_spans(files, group_bytes, tables, appendable, range_bytes or RANGE_BYTES):
        spans.extend(span)

    def make(unit: int) -> MapUnit:
        first, behind, part, num_parts = spans[4 * unit : 4 * unit + 4]
        inputs = tuple(files[first:behind])
        size_bytes = inputs[0].size_bytes
        return MapUnit(
            unit=unit,
            table=inputs[0].table,
            first_file=first,
            paths=tuple(file.path for file in inputs),
            sizes_bytes=tuple(file.size_bytes for file in inputs),
            start=part * size_bytes // num_parts,
            stop=(part + 1) * size_bytes // num_parts if num_parts > 1 else None,
            num_buckets=buckets.train,
            num_held_out_buckets=buckets.held_out,
            inputs=inputs,
        )

    return UnitSequence(range(len(spans) // 4), make)


def explain_whole(file: InputFile, settings: InputSection) -> str:
    """Why a file cannot be read in parts; empty where it can be."""
    if file.compression is not None:
        return f"it is compressed by {file.compression} as a whole"
    if file.url.startswith(("http://", "https://")) or not find_backend(file.url).capabilities.ranged_reads:
        return "its store does not give parts of files"
    return name_format(file.format).split(settings).reason


def _iter_spans(
    files: Sequence[InputFile], group_bytes: int, tables: Sequence[InputSection], appendable: bool, range_bytes: int
) -> Iterator[tuple[int, int, int, int]]:
    start, held_bytes, table = 0, 0, 0
    for index, file in enumerate(files):
        if file.table != table and start < index:
            yield start, index, 0, 1
            start, held_bytes = index, 0
        table = file.table
        num_parts = _count_parts(file, tables[table], range_bytes)
        is_alone = num_parts > 1 or (appendable and file.assumed_text_bytes >= ALONE_BYTES)
        if is_alone and start < index:
            yield start, index, 0, 1
            start, held_bytes = index, 0
        held_bytes += file.assumed_text_bytes
        is_full = held_bytes * MAP_UNITS_PER_SHARD >= group_bytes or index + 1 - start == MAX_FILES_PER_UNIT
        if is_alone or is_full or (appendable and _ends_group(file)) or index + 1 == len(files):
            yield from ((start, index + 1, part, num_parts) for part in range(num_parts))
            start, held_bytes = index + 1, 0


def _count_parts(file: InputFile, settings: InputSection, range_bytes: int) -> int:
    if file.assumed_text_bytes <= range_bytes or explain_whole(file, settings):
        return 1
    return max(1, min(-(-file.assumed_text_bytes // range_bytes), file.size_bytes // MIN_RANGE_BYTES))


def _ends_group(file: InputFile) -> bool:
    """Whether a group ends behind this file, whatever is in it: so groups meet again behind a file that was added."""
    return xxhash.xxh3_64_intdigest(file.path.encode()) % FILES_PER_GROUP == 0
