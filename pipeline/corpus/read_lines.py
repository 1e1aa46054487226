"""Read lines of a raw file in bounded memory, whatever it contains."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

_BOM = b"\xef\xbb\xbf"
_LAST_SPACE = 0x3000
"""U+3000, the ideographic space: no character behind it is one for `str.isspace`."""
_BLANK = re.compile(
    rb"(?:%s)*+" % b"|".join(re.escape(chr(code).encode()) for code in range(_LAST_SPACE + 1) if chr(code).isspace())
)


class Blocks(Protocol):
    """Anything that hands out bytes a block at a time, and an empty block at the end."""

    @property
    def start(self) -> int:
        """Where in the file it begins; 0 for a whole one."""
        ...

    def read(self) -> bytes:
        """The next block."""
        ...


def iter_lines(opened: Blocks, max_line_bytes: int) -> Iterator[list[tuple[int, bytes, int]]]:
    """Lists of `(number from 1, bytes without the line's end, their full length)`.

    Lines end at LF or at the end of the file; a CR before that belongs to the line's end. A UTF-8 byte order mark at
    the start of the file is dropped. Of a line longer than `max_line_bytes` the first `max_line_bytes` are kept, its
    full length beside them. Block boundaries make no difference.
    """
    number = 0
    kept = bytearray()  # of a long line: as a list of blocks it leaves holes as large in the heap
    length = 0
    ends_with_cr = False
    for block in iter_without_bom(opened):
        lines: list[tuple[int, bytes, int]] = []
        *whole, rest = block.split(b"\n")
        for line in whole:
            full = len(line)
            if length:
                if full:
                    ends_with_cr = line.endswith(b"\r")
                kept += line[: max_line_bytes - len(kept)]
                full += length
                line = bytes(kept)
                kept, length = bytearray(), 0
            else:
                ends_with_cr = line.endswith(b"\r")
            if ends_with_cr:
                full -= 1
            number += 1
            lines.append((number, line[: min(full, max_line_bytes)], full))
        if rest:
            ends_with_cr = rest.endswith(b"\r")
            length += len(rest)
            kept += rest[: max_line_bytes - len(kept)]
        yield lines
    if length:
        full = length - ends_with_cr
        yield [(number + 1, bytes(kept[: min(full, max_line_bytes)]), full)]


def is_blank(line: bytes) -> bool:
    """Whether `str.strip()` would leave nothing of a line; one that is not UTF-8 is not blank.

    `bytes.strip()` is not enough: it knows only ASCII spaces.
    """
    return _BLANK.fullmatch(line) is not None


def iter_raw_lines(opened: Blocks, max_line_bytes: int) -> Iterator[tuple[bytes, int]]:
    """Lines with their ends, LF, and their full lengths; of a longer line the first `max_line_bytes` are given."""
    kept = bytearray()
    length = 0
    for block in iter_without_bom(opened):
        *whole, rest = block.split(b"\n")
        for line in whole:
            line += b"\n"
            if length:
                kept += line[: max_line_bytes - len(kept)]
                yield bytes(kept), length + len(line)
                kept, length = bytearray(), 0
            else:
                yield line[:max_line_bytes], len(line)
        if rest:
            length += len(rest)
            kept += rest[: max_line_bytes - len(kept)]
    if length:
        yield bytes(kept), length


def iter_without_bom(opened: Blocks) -> Iterator[bytes]:
    """Blocks without the UTF-8 byte order mark at the start of a file."""
    start = b""
    while not opened.start and len(start) < len(_BOM) and (block := opened.read()):
        start += block
    if start := start.removeprefix(_BOM):
        yield start
    while block := opened.read():
        yield block
