"""CSV and TSV: a document a record, columns by the names in the first one.

Records are read with the standard library: quoted fields may hold separators and line ends. Each byte is decoded to one
character, so that what is not UTF-8 is judged field by field and nothing of it is lost. Where a record cannot be read,
such as one with an open quote, all lines that were read for it are rejected together, and reading goes on behind them.
`pyarrow.csv` is quicker, but it says neither which record is not UTF-8 nor where it stood, and refuses a file with a
record longer than a block.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass

from maskmill.pipeline.corpus.formats.document_block import DocumentBlock, Opened, Origin, Reason, Reject
from maskmill.pipeline.corpus.formats.format import Format
from maskmill.pipeline.corpus.formats.judge_document import judge_document
from maskmill.pipeline.corpus.formats.split import split_records
from maskmill.pipeline.corpus.formats.table_rows import no_text_column
from maskmill.pipeline.corpus.read_lines import iter_raw_lines
from maskmill.schemas.documents import KEPT_QUARANTINE_BYTES
from maskmill.schemas.run_file import InputSection

BLOCK_BYTES = 1 << 18
_BYTES = "latin-1"  # one character for each byte


def iter_csv(file: Origin, opened: Opened, settings: InputSection) -> Iterator[DocumentBlock]:
    """The documents of a file with values separated by commas."""
    return _iter_records(file, opened, settings, ",")


def iter_tsv(file: Origin, opened: Opened, settings: InputSection) -> Iterator[DocumentBlock]:
    """The documents of a file with values separated by tabs."""
    return _iter_records(file, opened, settings, "\t")


def _iter_records(file: Origin, opened: Opened, settings: InputSection, delimiter: str) -> Iterator[DocumentBlock]:
    max_record_bytes = 2 * settings.max_text_bytes + (1 << 20)  # a quote in a text is written twice
    csv.field_size_limit(max_record_bytes)  # of the process; every record is measured by `_Lines` too
    lines = _Lines(opened, max_record_bytes)
    header = next(_iter_parsed(lines, delimiter), None)
    if header is None:
        return  # an empty file
    lines.begin()
    columns = _Columns.find(header, settings, file)
    block, held = DocumentBlock(), 0
    for record in _iter_parsed(lines, delimiter):
        columns.add(record, lines, file, settings, block)
        held += lines.size_bytes
        lines.begin()
        if held >= BLOCK_BYTES:
            yield block
            block, held = DocumentBlock(), 0
    yield block


def _iter_parsed(lines: _Lines, delimiter: str) -> Iterator[list[str] | None]:
    """Iterate over records, `None` for one that cannot be parsed; skip blank lines."""
    while True:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)  # one that has failed cannot go on
        try:
            for record in reader:
                if record:
                    yield record
                else:
                    lines.begin()
        except csv.Error:
            yield None
        else:
            return


class _Lines:
    """Iterate over the lines of a file, one character for each byte, and keep track of the current record.

    Attributes:
        first: The line on which the current record begins, from 1.
        size_bytes: The size of the current record so far.
        kept: Its first bytes, for the quarantine.
    """

    def __init__(self, opened: Opened, max_bytes: int) -> None:
        self._lines = iter_raw_lines(opened, max_bytes)
        self._max_bytes = max_bytes
        self._number = 0
        self.begin()

    def begin(self) -> None:
        """Start the next record."""
        self.first, self.size_bytes, self.kept = self._number + 1, 0, bytearray()

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line, length = next(self._lines)
        self._number += 1
        self.size_bytes += length
        self.kept += line[: max(0, KEPT_QUARANTINE_BYTES - len(self.kept))]
        if self.size_bytes > self._max_bytes:
            raise csv.Error("a record longer than the limit")
        return line.decode(_BYTES)


@dataclass(frozen=True)
class _Columns:
    """Where the fields of a document are in a record."""

    number: int
    text: tuple[int, ...]
    doc_id: int | None
    source: int | None

    @classmethod
    def find(cls, header: list[str] | None, settings: InputSection, file: Origin) -> _Columns:
        names = [name.encode(_BYTES).decode(errors="backslashreplace") for name in header or ()]
        if missing := [field for field in settings.text_fields if field not in names]:
            raise no_text_column(file, missing[0], names)
        return cls(
            len(names),
            tuple(names.index(field) for field in settings.text_fields),
            names.index(settings.id_field) if settings.id_field in names else None,
            names.index(settings.source_field) if settings.source_field in names else None,
        )

    def add(
        self, record: list[str] | None, lines: _Lines, file: Origin, settings: InputSection, block: DocumentBlock
    ) -> None:
        """Append the record to the block, as a document or as a reject."""
        reason: Reason | None
        if record is None:
            reason = Reason.TOO_LARGE if lines.size_bytes > settings.max_text_bytes else Reason.BROKEN_CSV
        elif len(record) != self.number:
            reason = Reason.BROKEN_CSV
        else:
            text = settings.text_join_bytes.join(record[at].encode(_BYTES) for at in self.text if record[at])
            doc_id, source = (_encode_name(record, column) for column in (self.doc_id, self.source))
            reason = judge_document(text, doc_id, source, settings.max_text_bytes)
            if reason is None:
                block.append(lines.first, text, doc_id, source, file)
                return
        block.rejects.append(Reject(file.path, lines.first, reason, lines.size_bytes, bytes(lines.kept)))


def _encode_name(record: list[str], column: int | None) -> bytes | None:
    """A field as bytes; an empty one stands for none, as CSV has no other word for it."""
    return record[column].encode(_BYTES) or None if column is not None else None


CSV = Format("csv", "CSV", (".csv",), iter_csv, split_records)
TSV = Format("tsv", "TSV", (".tsv",), iter_tsv, split_records)
