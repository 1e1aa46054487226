"""Compressed files as streams that fail unless the file is whole, as `gzip -t`, `bzip2 -t`, `xz -t` and `zstd -t` do.

A file has one or more compressed members, which are decompressed one after the other; a member may be empty, but a
file of 0 bytes has no member. What may follow the last one:

| | zeros | anything else |
| --- | --- | --- |
| gzip, bz2 | yes, as tapes and block devices pad | refused; the tools warn and ignore it, and text with it |
| xz | in multiples of four bytes, between members too | refused |
| zstd | refused; skippable frames are skipped anywhere | refused |

zstd is Arrow's, which judges as `zstd -t` does. The others are the standard library's decompressors: Arrow has no xz,
refuses zeros after gzip and fails on bz2 where an empty member is followed by another.
"""

from __future__ import annotations

import bz2
import lzma
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

MEMBER_READ_BYTES = 1 << 16
XZ_MEMORY_BYTES = 1 << 30  # `xz -9` needs 65 MiB; a hostile header may ask for 4 GiB
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}
_GZIP_WINDOW = 16 + zlib.MAX_WBITS

FAILURES = (EOFError, OSError, lzma.LZMAError, zlib.error, pa.ArrowException)
"""Exceptions that reading raises if the data is not whole."""


class Readable(Protocol):
    """Anything that hands out bytes, at most so many at a time, and none at the end."""

    def read(self, size: int = -1, /) -> Any:
        """The next bytes."""
        ...


def compression_of(path: str) -> str | None:
    """How a file is compressed, by the last suffix of its name."""
    return COMPRESSIONS.get(os.path.splitext(path)[1].lower())


def decompress(raw: Any, compression: str | None) -> Readable:
    """A stored file as a stream of its decompressed bytes.

    Args:
        raw: The file, open at its start.
        compression: As `compression_of` gives it.

    Returns:
        A stream whose `read` raises one of `FAILURES` where the file is not whole.
    """
    if compression is None:
        stream: Readable = raw
    elif compression == "zstd":
        stream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), compression)
    else:
        stream = _Members(raw, _FORMATS[compression])
    return stream


class _Decoder(Protocol):
    """The common interface of the decompressors of one member."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _GzipDecoder:
    """`zlib`'s decompressor, which checks length and checksum, with the interface of those of `bz2` and `lzma`."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(_GZIP_WINDOW)
        self._may_have_more = False

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not (self._inner.unconsumed_tail or self._may_have_more)

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        tail = self._inner.unconsumed_tail
        found = self._inner.decompress(tail + data if tail else data, max(0, max_length))
        self._may_have_more = len(found) == max_length
        return found


@dataclass(frozen=True)
class _Format:
    """The structure of a file of several members."""

    open_member: Callable[[], _Decoder]
    magic: bytes
    """The first byte of a member. Of xz, a file that begins with another is of an older format with one member."""
    padding_unit: int = 1
    """Zeros come in multiples of so many bytes."""
    goes_on_after_padding: bool = False
    """Whether members may follow zeros."""


_FORMATS = {
    "gzip": _Format(_GzipDecoder, b"\x1f"),
    "bz2": _Format(bz2.BZ2Decompressor, b"B"),
    "xz": _Format(
        lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES), b"\xfd", padding_unit=4, goes_on_after_padding=True
    ),
}


class _Members:
    """The members of a file one after the other."""

    def __init__(self, raw: Readable, file_format: _Format) -> None:
        self._raw = raw
        self._format = file_format
        self._rest = b""
        self._decoder: _Decoder | None = None
        self._has_begun = False
        self._has_one_member = False
        self._zeros = 0

    def read(self, size: int = -1, /) -> bytes:
        while True:
            if self._decoder is None:
                self._decoder = self._begin_member()
                if self._decoder is None:
                    return b""
            elif self._decoder.needs_input:
                self._rest = self._raw.read(MEMBER_READ_BYTES)
                if not self._rest:
                    raise EOFError("compressed data that ends too early")
            data = self._decoder.decompress(self._rest, size)
            self._rest = b""
            if self._decoder.eof:
                self._rest = self._decoder.unused_data
                self._decoder = None
            if data:
                return data

    def _begin_member(self) -> _Decoder | None:
        """A decoder for the next member; `None` at the end of the file."""
        self._skip_zeros()
        is_magic = self._rest.startswith(self._format.magic)
        if self._has_begun:
            if self._zeros and (self._has_one_member or self._zeros % self._format.padding_unit):
                raise EOFError(f"{self._zeros} zero bytes after the compressed data")
            is_next = is_magic and not self._has_one_member
            if self._rest and not (is_next and (self._format.goes_on_after_padding or not self._zeros)):
                raise EOFError("uncompressed bytes after the compressed data")
        else:
            self._has_begun, self._has_one_member = True, not is_magic
        self._zeros = 0
        return self._format.open_member() if self._rest else None

    def _skip_zeros(self) -> None:
        """Read on to what comes next: behind a member all zeros are skipped, and counted."""
        while True:
            if self._has_begun:
                rest = self._rest.lstrip(b"\0")
                self._zeros += len(self._rest) - len(rest)
                self._rest = rest
            if self._rest:
                return
            self._rest = self._raw.read(MEMBER_READ_BYTES)
            if not self._rest:
                return
