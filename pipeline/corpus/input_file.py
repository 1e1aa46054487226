"""One file of raw text: where it is, what it is called, what it holds."""

from __future__ import annotations

from dataclasses import dataclass

from maskmill.pipeline.corpus.decompress import compression_of
from maskmill.pipeline.corpus.formats.table import find_format, name_format
from maskmill.pipeline.corpus.input_pattern import UNNAMED

# Stored bytes are turned into bytes of text by this factor where a file is compressed. It only decides how files are
# grouped into units and how finely they are partitioned, both of which hold for any factor.
ASSUMED_COMPRESSION_RATIO = 4


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of raw text.

    Attributes:
        url: Where it is read; of a local file its absolute path.
        path: Its name in ids: relative to the fixed folder of the pattern that found it, without the query of a URL.
            Where patterns have different fixed folders, it begins with the name that `name_sources` gives the folder.
        size_bytes: As stored.
        mark: Its time of change or entity tag, as the store gives it; empty where there is none. Never part of what
            decides bytes.
        source: The source of its documents, unless they name one.
        format_name: Its format where its suffix does not tell.
        compression_name: Its compression where its suffix does not tell.
        table: The table of the run file that it belongs to, from 0.
    """

    url: str
    path: str
    size_bytes: int
    mark: str = ""
    source: str = UNNAMED
    format_name: str | None = None
    compression_name: str | None = None
    table: int = 0

    @property
    def format(self) -> str:
        """The name of its format; empty if it is unknown."""
        if self.format_name:
            return self.format_name
        found = find_format(self.path)
        return found.name if found is not None else ""

    @property
    def compression(self) -> str | None:
        """Its compression."""
        return self.compression_name or compression_of(self.path)

    @property
    def assumed_text_bytes(self) -> int:
        """Estimate the bytes of text in it from its size, format and compression alone."""
        compresses_itself = bool(self.format) and name_format(self.format).compresses_itself
        is_compressed = self.compression is not None or compresses_itself
        return self.size_bytes * (ASSUMED_COMPRESSION_RATIO if is_compressed else 1)
