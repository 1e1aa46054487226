"""The table of formats."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from maskmill.pipeline.corpus.decompress import compression_of
from maskmill.pipeline.corpus.formats.arrow_ipc import iter_arrow
from maskmill.pipeline.corpus.formats.delimited import iter_csv, iter_tsv
from maskmill.pipeline.corpus.formats.document_block import DocumentBlock, Opened, Origin
from maskmill.pipeline.corpus.formats.json_lines import iter_json_lines
from maskmill.pipeline.corpus.formats.parquet import iter_parquet
from maskmill.pipeline.corpus.formats.plain_text import iter_texts
from maskmill.schemas.run_file import InputSection


@dataclass(frozen=True)
class Format:
    """A format of raw text.

    Attributes:
        name: As `input.format` gives it.
        suffixes: Of its files, before that of a compression.
        iter_documents: Given a file, the same opened, and the settings of the input, gives its documents in blocks of
            some 256 KiB. Raises `InputDataError` where the file cannot be read to its end.
    """

    name: str
    suffixes: tuple[str, ...]
    iter_documents: Callable[[Origin, Opened, InputSection], Iterator[DocumentBlock]]
    is_compressible: bool = True
    """Whether its files may be compressed as a whole."""


FORMATS = (
    Format("jsonl", (".jsonl", ".ndjson", ".json"), iter_json_lines),
    Format("txt", (".txt",), iter_texts),
    Format("parquet", (".parquet",), iter_parquet, is_compressible=False),
    Format("arrow", (".arrow",), iter_arrow),
    Format("csv", (".csv",), iter_csv),
    Format("tsv", (".tsv",), iter_tsv),
)


def find_format(path: str) -> Format | None:
    """The format of a file by its suffix; None if it is not one of `FORMATS`."""
    suffix = format_suffix(path)
    return next((format_ for format_ in FORMATS if suffix.lower() in format_.suffixes), None)


def name_format(name: str) -> Format:
    """The format of a name."""
    return next(format_ for format_ in FORMATS if format_.name == name)


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
