"""A raw file, or a part of one, as a stream of decompressed bytes, which fails unless the file is whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, Self

import pyarrow as pa

from maskmill.pipeline.corpus.decompress import FAILURES, decompress
from maskmill.pipeline.corpus.formats.split import Boundary
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.text_range import TextRange
from maskmill.pipeline.storage.backends.fsspec_driver import open_filesystem
from maskmill.pipeline.storage.credentials import find_secrets
from maskmill.pipeline.storage.failures import explained_failures
from maskmill.pipeline.storage.regular_files import open_regular
from maskmill.schemas.errors import InputDataError
from maskmill.schemas.redaction import redact, remember_secrets

READ_BYTES = 1 << 18  # as a list of lines, 4 MiB of newlines would be 400 MB


class OpenInput:
    """A raw file being read: a stream of decompressed bytes that tracks its progress.

    Args:
        file: What is read.
        start: The first byte of the part that is read.
        stop: The byte behind the part; None to read the whole file.
        new_boundary: Of a part of a text, makes what finds boundaries between documents, see `TextRange`.

    Raises:
        InputDataError: The file is gone.
    """

    def __init__(
        self,
        file: InputFile,
        start: int = 0,
        stop: int | None = None,
        new_boundary: Callable[[], Boundary] | None = None,
    ) -> None:
        self._file = file
        self.start = start
        self.stop = stop
        self.size_bytes = file.size_bytes
        self._part: TextRange | None = None
        if stop is not None and new_boundary is not None:
            self._part = TextRange(self._read_stored, start, stop, new_boundary)
        self._shown = redact(file.url)
        remember_secrets(find_secrets(file.url, {}))

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
                action="restore it, then run the same command again",
            ) from None
        self._raw = _StoredBytes(raw, self._file.url)
        self._stream = decompress(self._raw, self._file.compression)
        if self._part is not None:
            self._check_size()
            self._raw.seek(max(0, self.start - 1))
        return self

    def __exit__(self, *exception: object) -> None:
        self._raw.release()

    @property
    def share_read(self) -> float:
        """How much of the stored file, or of its part, has been read, from 0 to 1."""
        size_bytes = (self._file.size_bytes if self.stop is None else self.stop) - self.start
        return min(1.0, max(0.0, (self._raw.position - self.start) / size_bytes)) if size_bytes else 1.0

    @property
    def first_byte(self) -> int:
        """From where in the file its lines or rows are counted."""
        return self.start if self._part is None else self._part.first_byte

    @property
    def line_ends(self) -> int | None:
        """In what has been read of a part of a text; None of anything else."""
        return None if self._part is None else self._part.line_ends

    def open_seekable(self) -> pa.NativeFile:
        """The file as stored, for Arrow to read at any place; closed with this one.

        Raises:
            InputDataError: It is not as long as when it was listed.
        """
        self._check_size()
        return pa.PythonFile(self._raw, mode="r")

    def _check_size(self) -> None:
        size_bytes = self._raw.measure()
        if size_bytes != self._file.size_bytes:
            raise self._changed(size_bytes)

    @contextlib.contextmanager
    def explain(self, kind: str) -> Iterator[None]:
        """Raise `InputDataError` where Arrow fails, or what reads files of this kind.

        Args:
            kind: What the file should be.
        """
        try:
            yield
        except (*FAILURES, UnicodeDecodeError) as error:  # the latter where a column's name is damaged
            raise self._unreadable(f"whole {kind} data", error) from error

    def read(self) -> bytes:
        """The next 256 KiB, decompressed, or fewer; empty at the end.

        Raises:
            InputDataError: The file is not whole compressed data, or not as long as when it was listed.
            TransientStorageError: The store did not answer.
        """
        return self._read_stored() if self._part is None else self._part.read()

    def _read_stored(self) -> bytes:
        try:
            data = bytes(self._stream.read(READ_BYTES))
            if self._file.compression and not self._raw.position:
                raise EOFError("an empty file, such as a failed upload leaves")
        except FAILURES as error:
            # `_StoredBytes` has translated the store's own failures: these are the decompressor's.
            raise self._unreadable(f"whole {self._file.compression or 'plain'} data", error) from error
        is_longer = self._raw.position > self._file.size_bytes  # it may never end
        if is_longer or (not data and self._raw.position != self._file.size_bytes):
            raise self._changed(self._raw.position)
        return data

    def _unreadable(self, expected: str, error: Exception) -> InputDataError:
        return InputDataError(
            "the file cannot be read to its end",
            path=self._shown,
            place=f"near byte {self._raw.position} of {self._file.size_bytes}",
            expected=expected,
            found=redact(str(error)),
            action="replace the file, or leave it out of input.paths",
        )

    def _changed(self, size_bytes: int) -> InputDataError:
        return InputDataError(
            "the file has changed since the run began",
            path=self._shown,
            expected=f"{self._file.size_bytes} bytes",
            found=f"{size_bytes} bytes",
            action="restore it, or give another output.url for a new run",
        )


def _open(url: str) -> Any:
    if url.startswith("/"):  # local: no part of the name is parsed
        return open_regular(url)
    filesystem, path = open_filesystem(url)
    return filesystem.open(path, "rb")


class _StoredBytes:
    """The file as stored: tracks how far it was read, and translates the store's failures.

    Attributes:
        position: Behind the last byte that was read.
    """

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

    def measure(self) -> int:
        """Its size in bytes; goes on at the start."""
        with _explained(self._url):
            size_bytes = int(self._raw.seek(0, os.SEEK_END))
            self._raw.seek(0)
        return size_bytes

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        with _explained(self._url):
            self.position = int(self._raw.seek(offset, whence))
        return self.position

    def tell(self) -> int:
        return self.position

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return True


def _explained(url: str) -> Any:
    return explained_failures(url, of_driver=True)
