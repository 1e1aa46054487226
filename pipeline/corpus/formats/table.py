"""The table of formats."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from maskmill.pipeline.corpus.decompress import compression_of
from maskmill.pipeline.corpus.formats.document_block import DocumentBlock, Origin
from maskmill.pipeline.corpus.formats.json_lines import iter_json_lines
from maskmill.pipeline.corpus.formats.plain_text import iter_texts
from maskmill.pipeline.corpus.read_lines import Blocks
from maskmill.schemas.run_file import InputSection


@dataclass(frozen=True)
class Format:
    """A format of raw text.

    Attributes:
        name: For people.
        suffixes: Of its files, before that of a compression.
        iter_documents: Given a file, the same opened, and the settings of the input, gives its documents in blocks of
            some 256 KiB. Raises `InputDataError` where the file cannot be read to its end.
    """

    name: str
    suffixes: tuple[str, ...]
    iter_documents: Callable[[Origin, Blocks, InputSection], Iterator[DocumentBlock]]


FORMATS = (
    Format("jsonl", (".jsonl", ".ndjson"), iter_json_lines),
    Format("txt", (".txt",), iter_texts),
)


def find_format(path: str) -> Format | None:
    """The format of a file by its suffix; None if it is not one of `FORMATS`."""
    stem, suffix = os.path.splitext(path)
    if compression_of(path):
        suffix = os.path.splitext(stem)[1]
    return next((format_ for format_ in FORMATS if suffix.lower() in format_.suffixes), None)


def iter_documents(file: Origin, opened: Blocks, settings: InputSection) -> Iterator[DocumentBlock]:
    """The documents of one file in blocks of some 256 KiB.

    Args:
        file: What is read; its name is that of a format.
        opened: The same, opened.
        settings: Field names, limits and what a document is.

    Raises:
        InputDataError: The file cannot be read to its end.
    """
    format_ = find_format(file.path)
    if format_ is None:
        raise ValueError(f"{file.path} has the name of no format")  # `list_inputs` lists no such file
    return format_.iter_documents(file, opened, settings)
