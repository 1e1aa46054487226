"""A store: one folder at any fsspec URL, with the guarantees that maskmill relies on.

A file is visible only when complete: local files are renamed into place, object stores show an upload only when it
is finished. Reads and whole writes are retried after transient failures. Paths are relative, with `/`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import IO, Any, TypeVar, cast

import pyarrow as pa

from maskmill.pipeline.storage.backends.backend import Capabilities
from maskmill.pipeline.storage.backends.table import find_backend
from maskmill.pipeline.storage.credentials import find_secrets
from maskmill.pipeline.storage.failures import explained_failures, retry_transient
from maskmill.pipeline.storage.paths import join_path
from maskmill.pipeline.storage.regular_files import map_regular, open_native
from maskmill.pipeline.storage.remote_files import READ_AHEAD_BYTES, ExplainedWriter, RangeReader
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.redaction import remember_secrets

Result = TypeVar("Result")


class Store:
    """One folder in some file system. Picklable: workers open their own connection.

    Args:
        url: The folder: a local path or any fsspec URL.
        options: Keyword arguments for the fsspec file system.

    Raises:
        ConfigError: No driver for the URL, a chain of URLs, or credentials in the URL of an S3 bucket.
    """

    def __init__(self, url: str, options: dict[str, Any] | None = None) -> None:
        if not isinstance(options or {}, Mapping) or not all(isinstance(key, str) for key in options or ()):
            raise ConfigError(
                "storage_options is not a dictionary of options",
                path="storage_options",
                expected="a dictionary whose keys are text",
                found=f"a {type(options).__name__}",
                action='pass for example storage_options={"anon": True}',
            )
        self.options = dict(options or {})
        remember_secrets(find_secrets(url, self.options))
        self.backend = find_backend(url)(url, self.options)
        self.url, self.root, self.display_url = self.backend.url, self.backend.root, self.backend.display_url

    def __reduce__(self) -> tuple[object, ...]:
        return (Store, (self.url, self.options))

    def __repr__(self) -> str:
        return f"Store({self.display_url!r})"

    @property
    def capabilities(self) -> Capabilities:
        """The capabilities of its backend."""
        return self.backend.capabilities

    def below(self, path: str) -> Store:
        """The store of a folder inside this one."""
        return Store(join_path(self.url, path), self.options)

    def full(self, path: str) -> str:
        """The path of a file as the file system knows it."""
        return self.backend.full(path)

    def locate(self, path: str) -> str:
        """The URL of a file for messages, credentials removed."""
        return self.backend.locate(path)

    def read_bytes(self, path: str, most: int | None = None) -> bytes:
        """The whole of a file. Raises `FileNotFoundError` if there is none.

        Args:
            path: Of the file.
            most: Bytes that a file of its kind may have; `None` if the caller has checked its length.

        Raises:
            ConfigError: It is longer, or not a regular file.
        """
        return self._read(path, lambda: self.backend.read(path, most))

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; fewer if the file ends before, none if it ends before `offset`."""
        return self._read(path, lambda: self.backend.read_range(path, offset, length))

    def iter_pieces(self, path: str, offset: int, sizes: Sequence[int]) -> Iterator[memoryview]:
        """The bytes from `offset` on in pieces of these sizes, each valid until the next is drawn.

        If the store supports it, all come from one request, one piece in memory at a time. If that breaks off, the
        rest is read at once by `read_range`. Pieces are shorter, or empty, where the file ends earlier.
        """
        came = 0
        for piece in self.backend.iter_pieces(path, offset, sizes):
            came += 1
            yield piece
        if came < len(sizes):
            start = sum(sizes[:came])
            rest = memoryview(self.read_range(path, offset + start, sum(sizes) - start))
            for size in sizes[came:]:
                yield rest[:size]
                rest = rest[size:]

    def map_file(self, path: str) -> pa.Buffer:
        """A file as one buffer: memory-mapped where it is local, downloaded elsewhere.

        If a mapped file is truncated while it is read, the process is killed by a signal, so only files too large for
        every process to hold are mapped.
        """
        if not self.capabilities.local_paths:
            return pa.py_buffer(self.read_bytes(path))
        return self._read(path, lambda: map_regular(self.full(path)))

    def open_input(self, path: str, *, whole: bool = False) -> Any:
        """A file as a seekable Arrow file, for readers that need parts of it.

        Args:
            path: Of the file.
            whole: All of it will be read: unless it is on a local disk, it is downloaded at once.
        """
        if self.capabilities.local_paths:
            return self._read(path, lambda: open_native(self.full(path)))
        if whole or not self.capabilities.ranged_reads:
            return pa.BufferReader(self.read_bytes(path))
        reader = RangeReader(lambda offset, length: self.read_range(path, offset, length), self.size(path))
        return pa.PythonFile(io.BufferedReader(reader, READ_AHEAD_BYTES), mode="r")

    def size(self, path: str) -> int:
        """Length of a file in bytes. Raises `FileNotFoundError` if there is none."""
        size = self._find_size(path)
        if size is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.locate(path))
        return size

    def exists(self, path: str) -> bool:
        """Whether there is a file, or anything else except a folder: reading it will say what is wrong."""
        return self._find_size(path) is not None

    def list_names(self) -> list[str]:
        """Names of the files and folders directly in this one, sorted.

        Raises:
            FileNotFoundError: There is no such folder.
        """
        return sorted(set(self._read("", self.backend.list_names)))

    def list(self, prefix: str = "") -> list[str]:
        """Relative paths of all files below the folder `prefix`, sorted; empty if there is nothing.

        Raises:
            ConfigError: A folder below cannot be read.
        """
        folder = prefix.rstrip("/")
        return sorted(self._read(folder, lambda: self.backend.list_files(folder)))

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write a whole file, replacing an existing one."""
        self._write(path, lambda: self.backend.write(path, data))

    def create(self, path: str, data: bytes) -> bool:
        """Write a small file only if there is none; of many writers exactly one succeeds, on any store.

        Returns:
            Whether this call wrote it.
        """
        writer = uuid.uuid4().hex  # one for all attempts
        return self._write(path, lambda: self.backend.create(path, data, writer))

    @contextlib.contextmanager
    def open_output(self, path: str) -> Iterator[IO[bytes]]:
        """Stream a file; it appears only if the block ends without an error."""
        whole = self.backend.open_output(path, lambda data: self.write_bytes(path, data))
        # Only errors of the file's own steps are translated: one of the caller's block is not about this path.
        write = self._step(path, whole.__enter__)
        try:
            yield cast(IO[bytes], ExplainedWriter(lambda data: self._step(path, lambda: write(data))))
        except BaseException as error:
            # On a full disk closing the file fails too; the first failure is the one to report.
            with contextlib.suppress(Exception):
                whole.__exit__(type(error), error, error.__traceback__)
            raise
        self._step(path, lambda: whole.__exit__(None, None, None))

    def delete(self, path: str) -> None:
        """Delete a file; nothing happens if there is none."""
        self._read(path, lambda: self.backend.delete(path))

    def delete_tree(self, prefix: str) -> None:
        """Delete everything below the folder `prefix`; nothing happens if there is nothing.

        Raises:
            ConfigError: The store would not delete something.
        """
        self.backend.delete_tree(prefix.rstrip("/"), lambda step: self._read(prefix, step))

    def delete_partials(self, is_ours: Callable[[str], bool] = lambda _: True) -> None:
        """Delete partial files of killed writers; only while no writer is active. Object stores have none.

        Args:
            is_ours: Which of the folders in this one are searched; others may have writers of their own.
        """
        self._read("", lambda: self.backend.delete_partials(is_ours))

    def hold(self, lose: Callable[[], None], beat_seconds: float) -> AbstractContextManager[None]:
        """Keep every other driver from writing here until the block ends; see `leases`."""
        return self.backend.hold(self, lose, beat_seconds)

    def _find_size(self, path: str) -> int | None:
        """Length of a file; `None` where there is none."""
        return self._read(path, lambda: self.backend.find_size(path))

    def _read(self, path: str, call: Callable[[], Result]) -> Result:
        def attempt() -> Result:
            with explained_failures(self.locate(path), of_driver=True):
                try:
                    return call()
                except FileNotFoundError:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.locate(path)) from None

        return retry_transient(attempt)

    def _write(self, path: str, call: Callable[[], Result]) -> Result:
        return retry_transient(lambda: self._step(path, call))

    def _step(self, path: str, call: Callable[[], Result]) -> Result:
        with explained_failures(self.locate(path), of_driver=True):
            try:
                return call()
            except FileNotFoundError as error:
                raise ConfigError(
                    "cannot write here",
                    path=self.locate(path),
                    found=self.backend.missing_target,
                    action="create it, then run the same command again",
                ) from error


def open_store(url: str, options: dict[str, Any] | None = None) -> Store:
    """The store at a URL."""
    return Store(url, options)
