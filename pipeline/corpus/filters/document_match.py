"""Documents that share text with evaluation files, as receipts list them, and the table of all."""

from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from maskmill.pipeline.corpus.filters.decision import Match
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.layout import CONTAMINATION

MAX_MATCHES = 1000
"""In the receipt of a unit."""
MAX_LISTED = 100_000
"""In the table."""
MAX_CHARACTERS = 2000
"""Of each text in it."""


class DocumentMatch(BaseModel):
    """Text that a document shares with an evaluation file.

    Attributes:
        doc_id: Of the document.
        source: Of the document.
        file: The evaluation file.
        ngram: The first n-gram that is shared, as it is compared.
        around: The document's text around it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    doc_id: str
    source: str
    file: str
    ngram: str
    around: str

    @classmethod
    def of(cls, doc_id: str, source: str, match: Match) -> DocumentMatch:
        """What a document shares; very long texts are cut."""
        texts = (doc_id, source, match.file, match.ngram, match.around)
        cut = (text[:MAX_CHARACTERS] for text in texts)
        return cls(**dict(zip(cls.model_fields, cut, strict=True)))


def write_matches(output: Store, matches: Iterable[DocumentMatch]) -> None:
    """Write the table, in the order of the units; there is none if there is no match."""
    rows = [match.model_dump() for match in islice(matches, MAX_LISTED)]
    if not rows:
        output.delete(CONTAMINATION)
        return
    schema = pa.schema([(name, pa.string()) for name in DocumentMatch.model_fields])
    target = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), target)
    output.write_bytes(CONTAMINATION, target.getvalue())
