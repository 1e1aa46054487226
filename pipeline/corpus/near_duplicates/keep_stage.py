"""Write the document shards without near duplicates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from maskmill.pipeline.corpus.exchange import CorpusContext
from maskmill.pipeline.corpus.near_duplicates.numbered_shards import iter_shards
from maskmill.pipeline.corpus.near_duplicates.plan import KeepUnit
from maskmill.pipeline.corpus.near_duplicates.records import Partition
from maskmill.pipeline.corpus.sort_documents import cut_blocks
from maskmill.pipeline.corpus.source_tally import SourceTally, TalliedSources, count_of_split
from maskmill.pipeline.engine.stage import Stage
from maskmill.pipeline.engine.units import UnitOutcome
from maskmill.pipeline.storage.arrow_files import write_blocks
from maskmill.schemas.documents import DOCUMENT_SCHEMA
from maskmill.schemas.layout import documents_folder, shard_path
from maskmill.schemas.receipt import Details, Items, ShardReceipt, UInt64

SHOWN_CHARACTERS = {"doc_id": 2000, "source": 2000, "text": 200}
"""Of each column of a document in the report, at most."""


class Excerpt(BaseModel):
    """What the report shows of a document.

    Attributes:
        number: Of the document.
        doc_id: Its id.
        source: Its source.
        text: The beginning of its text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    number: UInt64
    doc_id: str
    source: str
    text: str


class KeepDetails(Details):
    """What the report and the manifests need.

    Attributes:
        sources: Documents written and near duplicates, by source.
        excerpts: Of the documents of the largest clusters.
    """

    counted: ClassVar[frozenset[str]] = frozenset({"written", "near_duplicates", "text_bytes"})

    sources: TalliedSources
    excerpts: Items[Excerpt]


@dataclass(frozen=True)
class KeepContext:
    """What every unit is given.

    Attributes:
        corpus: As the units before.
        shown: Numbers of the documents that the report shows, rising.
    """

    corpus: CorpusContext
    shown: tuple[int, ...]


def keep_documents(context: KeepContext, unit: KeepUnit) -> UnitOutcome[KeepDetails]:
    """Write some document shards; the unit of the keep stage.

    Raises:
        ShardCorruptError: What it reads is not what the units before wrote.
        StaleArtifactError: It is gone.
    """
    output = context.corpus.output
    dropped = np.sort(
        np.concatenate(
            [
                np.empty(0, np.uint64),
                *(records[:, 1] for records in Partition(output, unit.source, unit.partition).read()),
            ]
        )
    )
    shown = np.array(context.shown, np.uint64)
    counts = {"written": 0, "near_duplicates": 0, "text_bytes": 0}
    shards: list[ShardReceipt] = []
    sources = SourceTally()
    excerpts: list[Excerpt] = []
    for shard in iter_shards(output, unit):

        def select_documents() -> Iterator[pa.Table]:
            for documents, numbers in shard.iter_blocks():  # noqa: B023  # read before the next shard is taken
                excerpts.extend(_quote(documents, numbers, shown))
                is_dropped = _are_in(numbers, dropped)
                sources.add(documents.column("source").filter(pa.array(is_dropped)).to_pylist(), "near_duplicates")
                kept = documents.select(DOCUMENT_SCHEMA.names).filter(pa.array(~is_dropped))
                sources.add_texts(kept, count_of_split(unit.split))
                counts["written"] += kept.num_rows
                counts["near_duplicates"] += documents.num_rows - kept.num_rows
                counts["text_bytes"] += pc.sum(pc.binary_length(kept.column("text"))).as_py() or 0
                yield pa.Table.from_batches([kept]).replace_schema_metadata(DOCUMENT_SCHEMA.metadata)

        before = counts["text_bytes"]
        path = shard_path(documents_folder(unit.split), shard.shard)
        blocks = cut_blocks(select_documents())
        receipt = write_blocks(output, path, DOCUMENT_SCHEMA, blocks, first_row_id=shard.receipt.first_row_id)
        shards.append(receipt.model_copy(update={"text_bytes": counts["text_bytes"] - before}))
    return UnitOutcome(shards, counts, KeepDetails(sources=sources.tallied(), excerpts=excerpts))


KEEP: Stage[KeepContext, KeepUnit, KeepDetails] = Stage(
    "drop near duplicates", "writing documents without near duplicates", KeepUnit, KeepDetails, keep_documents
)


def _are_in(numbers: npt.NDArray[np.uint64], rising: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    found = np.searchsorted(rising, numbers)
    inside = np.zeros(len(numbers), np.bool_)
    known = found < len(rising)
    inside[known] = rising[found[known]] == numbers[known]
    return inside


def _quote(documents: pa.RecordBatch, numbers: npt.NDArray[np.uint64], shown: npt.NDArray[np.uint64]) -> list[Excerpt]:
    chosen = np.flatnonzero(_are_in(numbers, shown))
    rows = documents.take(pa.array(chosen)).to_pylist() if len(chosen) else []
    return [
        Excerpt(number=number, **{name: row[name][:most] for name, most in SHOWN_CHARACTERS.items()})
        for number, row in zip(numbers[chosen].tolist(), rows, strict=True)
    ]
