"""Documents that share text with evaluation files, as receipts list them, and the table of all."""

from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import islice
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from maskmill.pipeline.corpus.filters.decision import Match
from maskmill.pipeline.storage.store import Store
from maskmill.schemas.counting import Count
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
        line: Its line, where its id is made of that; else 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    doc_id: str
    source: str
    file: str
    ngram: str
    around: str
    line: Annotated[Count, Field(exclude_if=lambda line: not line)] = 0

    @classmethod
    def of(cls, doc_id: str, source: str, match: Match, line: int) -> DocumentMatch:
        """What a document shares; very long texts are cut."""
        texts = (doc_id, source, match.file, match.ngram, match.around)
        doc_id, source, file, ngram, around = (text[:MAX_CHARACTERS] for text in texts)
        return cls(doc_id=doc_id, source=source, file=file, ngram=ngram, around=around, line=line)

    def in_file(self, path: str, lines_before: int) -> DocumentMatch:
        """The same of a document that was read in a part of a file, by its line in the whole file."""
        if not self.line:
            return self
        return self.model_copy(update={"doc_id": f"{path}#{self.line + lines_before}"[:MAX_CHARACTERS]})


def write_matches(output: Store, matches: Iterable[DocumentMatch]) -> None:
    """Write the table, in the order of the units; there is none if there is no match."""
    rows = [match.model_dump(exclude={"line"}) for match in islice(matches, MAX_LISTED)]
    if not rows:
        output.delete(CONTAMINATION)
        return
    schema = pa.schema([(name, pa.string()) for name in rows[0]])
    target = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), target)
    output.write_bytes(CONTAMINATION, target.getvalue())
