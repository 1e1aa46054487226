"""What a format of raw text is: its names, how its files begin, and what reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from maskmill.pipeline.corpus.formats.document_block import DocumentBlock, Opened, Origin
from maskmill.pipeline.corpus.formats.split import Splitting
from maskmill.schemas.run_file import InputSection


@dataclass(frozen=True)
class Format:
    """A format of raw text.

    Attributes:
        name: As `input.format` gives it.
        title: As people call it.
        suffixes: Of its files, before that of a compression.
        iter_documents: Given a file, the same opened, and the settings of the input, gives its documents in blocks of
            some 256 KiB. Raises `InputDataError` where the file cannot be read to its end.
        split: Given the settings of the input, says where its files may be cut.
        magic: How each of its files begins, as one of these; empty where any bytes may come first.
        text_start: How most of its files begin, after a byte order mark and blank space; empty if nothing tells.
        is_compressible: Whether its files may be compressed as a whole.
        compresses_itself: Whether its files hold compressed data.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    iter_documents: Callable[[Origin, Opened, InputSection], Iterator[DocumentBlock]]
    split: Callable[[InputSection], Splitting]
    magic: tuple[bytes, ...] = ()
    text_start: bytes = b""
    is_compressible: bool = True
    compresses_itself: bool = False
