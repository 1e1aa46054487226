"""The table of formats: to add one, write its module and its line here."""

from __future__ import annotations

import os
from collections.abc import Iterator

from maskmill.pipeline.corpus.decompress import compression_of
from maskmill.pipeline.corpus.formats.arrow_ipc import ARROW
from maskmill.pipeline.corpus.formats.delimited import CSV, TSV
from maskmill.pipeline.corpus.formats.document_block import DocumentBlock, Opened, Origin
from maskmill.pipeline.corpus.formats.format import Format
from maskmill.pipeline.corpus.formats.json_lines import JSONL
from maskmill.pipeline.corpus.formats.parquet import PARQUET
from maskmill.pipeline.corpus.formats.plain_text import TXT
from maskmill.pipeline.corpus.formats.warc import WARC
from maskmill.schemas.run_file import InputSection

FORMATS: tuple[Format, ...] = (JSONL, TXT, PARQUET, ARROW, CSV, TSV, WARC)
_BOM = b"\xef\xbb\xbf"

_BY_SUFFIX = {suffix: format_ for format_ in FORMATS for suffix in format_.suffixes}


def find_format(path: str) -> Format | None:
    """The format of a file by its suffix; None if it is not one of `FORMATS`."""
    return _BY_SUFFIX.get(format_suffix(path).lower())


def name_format(name: str) -> Format:
    """The format of a name."""
    return next(format_ for format_ in FORMATS if format_.name == name)


def recognise_format(start: bytes) -> Format | None:
    """The format of a file that begins so, uncompressed; None if its first bytes do not tell."""
    if (found := find_magic(start)) is not None:
        return found
    text = start.removeprefix(_BOM).lstrip()
    return next((one for one in FORMATS if one.text_start and text.startswith(one.text_start)), None)


def find_magic(start: bytes) -> Format | None:
    """The format whose files all begin so, if there is one."""
    return next((format_ for format_ in FORMATS if format_.magic and start.startswith(format_.magic)), None)


def format_suffix(path: str) -> str:
    """The suffix that tells the format, before that of a compression; empty if there is none."""
    stem, suffix = os.path.splitext(path)
    return os.path.splitext(stem)[1] if compression_of(path) else suffix


def iter_documents(file: Origin, opened: Opened, settings: InputSection) -> Iterator[DocumentBlock]:
    """The documents of one file in blocks of some 256 KiB.

    Args:
        file: What is read.
        opened: The same, opened.
        settings: Field names, limits and what a document is.

    Raises:
        InputDataError: The file cannot be read to its end.
    """
    return name_format(file.format).iter_documents(file, opened, settings)
