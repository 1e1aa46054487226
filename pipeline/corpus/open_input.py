"""A raw file as a stream of decompressed bytes that is whole or fails."""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable
from typing import Any, Protocol, Self

import pyarrow as pa

from pipeline.corpus.list_inputs import InputFile
from pipeline.storage.credentials import find_secrets
from pipeline.storage.failures import explained_failures
from pipeline.storage.object_stores import open_filesystem
from schemas.errors import InputDataError
from schemas.redaction import without_user_info

READ_BYTES = 1 << 18  # as a list of lines, 4 MiB of newlines would be 400 MB
MEMBER_READ_BYTES = 1 << 16
XZ_MEMORY_BYTES = 1 << 30  # `xz -9` needs 65 MiB; a hostile header may ask for 4 GiB


class OpenInput:
    """A raw file being read: a stream of decompressed bytes that knows how far it has come.

    Args:
        file: What is read.

    Raises:
        InputDataError: The file is gone.
    """

    def __init__(self, file: InputFile) -> None:
        self._file = file
        self._shown = without_user_info(file.url)

    def __enter__(self) -> Self:
        try:
            with _explained(self._file.url):
                raw = _open(self._file.url)
        except FileNotFoundError:
            raise InputDataError(
                "the file is gone",
                path=self._shown,
                expected=f"{self._file.size_bytes} bytes, as when it was listed",
                found="no file",
                action="restore it, then give the same command again",
            ) from None
        self._raw = _StoredBytes(raw, self._file.url)
        self._stream = _decompress(self._raw, self._file.compression)
        return self

    def __exit__(self, *exception: object) -> None:
        self._raw.release()

    @property
    def share_read(self) -> float:
        """How much of the stored file has been read, from 0 to 1."""
        return min(1.0, self._raw.position / self._file.size_bytes) if self._file.size_bytes else 1.0

    def read(self) -> bytes:
        """The next 256 KiB, decompressed, or fewer; empty at the end.

        Raises:
            InputDataError: The file is not whole compressed data, or not as long as when it was listed.
            TransientStorageError: The store did not answer.
        """
        try:
            data = bytes(self._stream.read(READ_BYTES))
        except (OSError, EOFError, pa.ArrowException, lzma.LZMAError) as error:
            # The store's own failures have been explained by `_StoredBytes`: these are the decompressor's.
            raise InputDataError(
                "the file cannot be read to its end",
                path=self._shown,
                place=f"near byte {self._raw.position} of {self._file.size_bytes}",
                expected=f"whole {self._file.compression or 'plain'} data",
                found=str(error),
                action="replace the file, or leave it out of input.paths",
            ) from error
        if not data and self._raw.position != self._file.size_bytes:
            raise InputDataError(
                "the file has changed since the run began",
                path=self._shown,
                expected=f"{self._file.size_bytes} bytes",
                found=f"{self._raw.position} bytes",
                action="restore it, or give another output.url for a new run",
            )
        return data


def _open(url: str) -> Any:
    if url.startswith("/"):  # local: no part of the name is parsed
        return open(url, "rb")
    filesystem, path = open_filesystem(url)
    return filesystem.open(path, "rb")


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> Any: ...


class _StoredBytes:
    """The file as stored: counts what was read, and gives the store's failures maskmill's names."""

    def __init__(self, raw: Any, url: str) -> None:
        self._raw = raw
        self._url = url
        self.position = 0
        self.closed = False

    def read(self, size: int = -1, /) -> bytes:
        with _explained(self._url):
            data = bytes(self._raw.read(size))
        self.position += len(data)
        return data

    def release(self) -> None:
        self._raw.close()

    def close(self) -> None:  # what Arrow calls when its stream ends, perhaps long after the file was released
        self.closed = True

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


class _Decoder(Protocol):
    """What `bz2` and `lzma` have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Members:
    """The members of a bz2 or xz file one after the other.

    Arrow has no xz, and fails on bz2 where an empty member is followed by another; the standard library's readers
    take what follows the last member for nothing, whatever it is.
    """

    def __init__(self, raw: _StoredBytes, open_member: Callable[[], _Decoder], padding: bytes = b"") -> None:
        self._raw = raw
        self._open_member = open_member
        self._padding = padding
        self._rest = b""
        self._decoder: _Decoder | None = None

    def read(self, size: int = -1, /) -> bytes:
        while True:
            if self._decoder is None:
                self._rest = self._rest.lstrip(self._padding) if self._padding else self._rest
                if not self._rest:
                    self._rest = self._raw.read(MEMBER_READ_BYTES)
                    if not self._rest:
                        return b""
                    continue
                self._decoder = self._open_member()
            elif self._decoder.needs_input:
                self._rest = self._raw.read(MEMBER_READ_BYTES)
                if not self._rest:
                    raise EOFError("Truncated compressed stream")
            data = self._decoder.decompress(self._rest, size)
            self._rest = b""
            if self._decoder.eof:
                self._rest = self._decoder.unused_data
                self._decoder = None
            if data:
                return data


def _decompress(raw: _StoredBytes, compression: str | None) -> _Readable:
    if compression is None:
        return raw
    if compression == "bz2":
        return _Members(raw, bz2.BZ2Decompressor)
    if compression == "xz":
        # Zeros may pad the end of an xz member.
        return _Members(raw, lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES), padding=b"\0")
    stream: _Readable = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), compression)
    return stream


def _explained(url: str) -> Any:
    return explained_failures(url, find_secrets(url, {}))
