"""What map units leave for the sort stage: an Arrow file each, and in the unit's receipt where its pieces are.

An object is made of runs of bounded size; within a run the documents of each bucket form one record batch, in the
order they were read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import pyarrow as pa
from pydantic import Field, model_validator

from maskmill.pipeline.corpus.filters.document_match import MAX_MATCHES, DocumentMatch
from maskmill.pipeline.corpus.filters.evaluation_index import IndexPlace
from maskmill.pipeline.corpus.plan import plan_shard_bytes
from maskmill.pipeline.corpus.source_tally import SourceTally, TalliedSources
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.counting import Count
from maskmill.schemas.layout import EXCHANGE
from maskmill.schemas.receipt import Details, Items, UInt32, UInt64
from maskmill.schemas.run_file import RunFile

EXCHANGE_SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("file", pa.uint32(), nullable=False),
        pa.field("line", pa.uint64(), nullable=False),
        pa.field("is_numbered", pa.bool_(), nullable=False),
        pa.field("hash_high", pa.uint64(), nullable=False),
        pa.field("hash_low", pa.uint64(), nullable=False),
    ]
)
"""A document between map and sort: `file` is the place of its file among those of the map unit, `line` its line or row
there, from 1, and `is_numbered` says whether its id ends with that. Of a part of a file, lines are counted in the part.
Readers of the exchange get places in the run instead, see `iter_pieces`."""
MAX_OFFSET = 1 << 50
"""Of a record batch in an object; a number beyond it is no offset."""
WITHOUT_ID, WITHOUT_SOURCE = "without id", "without source"
"""Counts of documents that do not have the key of `id_field` or `source_field`, where one is set."""
EMPTY_FILES, MISNAMED_FILES = "empty files", "misnamed files"
"""Counts of files that hold no document and nothing that was rejected, and of those that are not what their names say,
such as gzip under `.jsonl`."""


@dataclass(frozen=True)
class CorpusContext:
    """What every unit of the corpus's stages is given.

    Attributes:
        output: Where everything is written.
        run: The run file.
        assumed_text_bytes: Of all files that are read.
        reused: Another output, whose map work units take where they say so.
        libraries: Versions of the libraries that filters need, where the run was begun.
        evaluation: The index of the evaluation text.
    """

    output: Store
    run: RunFile
    assumed_text_bytes: int
    reused: Store | None = None
    libraries: Mapping[str, str] = field(default_factory=dict)
    evaluation: IndexPlace | None = None

    @property
    def shard_bytes(self) -> int:
        """Text wanted in a shard, in bytes, by what the files' sizes let assume."""
        return plan_shard_bytes(self.assumed_text_bytes, self.run.documents.shard_mb)


class KeptUnit(Details):
    """What another run needs to take a unit instead of reading its files.

    Attributes:
        key: Of all that decides what the unit read, see `unit_keys`.
        runs: Record batches of each run.
        quarantined: xxh3-128 of each part of the quarantine, hexadecimal.
    """

    key: str
    runs: Items[UInt32]
    quarantined: Items[str]


class MapDetails(Details):
    """Where the pieces of each bucket are in the object of a map unit, one value a record batch in every list but one.

    Attributes:
        buckets: The bucket.
        rows: Documents.
        offsets: Where it begins in the object, in bytes.
        lengths: In bytes.
        checksums: xxh3-64.
        text_bytes: Not of a batch: UTF-8 bytes of the documents to train on, and of the held-out ones, duplicates
            among them. How many those are depends on how a corpus lies in files; this does not.
        lines: Of a part of a file: its line ends, or rows, from which the lines of the parts behind it are counted.
        first_empty: Path of the first file without a document; empty where there is none.
        first_misnamed: What to do with the first file that is not what its name says; empty where there is none.
        matches: Documents that share text with evaluation files, the first of them.
        sources: What became of the documents, by source.
        kept: For other runs; None, and not written, where they cannot take the unit.
    """

    buckets: Items[UInt32]
    rows: Items[Count]
    offsets: Items[Count]
    lengths: Items[UInt32]
    checksums: Items[UInt64]
    text_bytes: Annotated[Items[Count], Field(min_length=2, max_length=2)]
    lines: Annotated[Count, Field(exclude_if=lambda lines: lines == 0)] = 0
    first_empty: str
    first_misnamed: str
    matches: Annotated[
        Items[DocumentMatch],
        Field(default_factory=list, max_length=MAX_MATCHES, exclude_if=lambda matches: not matches),
    ]
    sources: TalliedSources
    kept: Annotated[KeptUnit | None, Field(exclude_if=lambda kept: kept is None)] = None

    @model_validator(mode="after")
    def _are_of_the_same_batches(self) -> MapDetails:
        lists = (self.buckets, self.rows, self.offsets, self.lengths, self.checksums)
        if len(set(map(len, lists))) > 1:
            raise ValueError("its lists differ in length")
        if self.kept and (sum(self.kept.runs) != len(self.buckets) or 0 in self.kept.runs):
            raise ValueError("its runs are not made of its record batches")
        return self


@dataclass
class UnitNotes:
    """What the receipt of a map unit says of its files, known when they have been read to their ends.

    Attributes:
        counts: Of documents, of those rejected, and of odd files.
        text_bytes: As in `MapDetails`.
        lines: As in `MapDetails`.
        quarantined: xxh3-128 of each part of the quarantine.
        first_empty: As in `MapDetails`.
        first_misnamed: As in `MapDetails`.
        matches: As in `MapDetails`.
        sources: As in `MapDetails`.
    """

    counts: Counter[str] = field(default_factory=Counter)
    text_bytes: list[int] = field(default_factory=lambda: [0, 0])
    lines: int = 0
    quarantined: list[str] = field(default_factory=list)
    first_empty: str = ""
    first_misnamed: str = ""
    matches: list[DocumentMatch] = field(default_factory=list)
    sources: SourceTally = field(default_factory=SourceTally)


def exchange_path(unit: int) -> str:
    """Where a map unit's object is."""
    return f"{EXCHANGE}/{unit:06d}.arrow"
