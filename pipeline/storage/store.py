"""A store: one folder at any fsspec URL, with the writes that maskmill relies on.

A file is visible only when complete: local files are renamed into place, object stores show an upload only when it
is finished. Reads and whole writes are tried again after a passing failure. Paths are relative, with `/`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import posixpath
import stat
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import IO, Any, TypeVar, cast

import pyarrow as pa

from maskmill.pipeline.storage import local_files
from maskmill.pipeline.storage.credentials import find_secrets, refuse_credentials
from maskmill.pipeline.storage.failures import explained_failures, open_driver, retry_transient
from maskmill.pipeline.storage.object_stores import (
    DELETE_AT_ONCE,
    S3_PROTOCOLS,
    connect,
    delete_from_bucket,
    put_if_absent,
)
from maskmill.pipeline.storage.paths import LOCAL_PROTOCOLS, join_path, resolve_url, split_url
from maskmill.pipeline.storage.regular_files import (
    check_length,
    map_regular,
    open_native,
    read_regular,
    read_regular_range,
)
from maskmill.pipeline.storage.remote_files import (
    PART_BYTES,
    READ_AHEAD_BYTES,
    ExplainedWriter,
    RangeReader,
    RemoteOutput,
)
from maskmill.pipeline.storage.s3_ranges import S3Ranges
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.redaction import redact, remember_secrets

Result = TypeVar("Result")

_MEMORY_LOCK = threading.Lock()


class Store:
    """One folder in some file system. Picklable: workers open their own connection.

    Args:
        url: The folder: a local path or any fsspec URL.
        options: Keyword arguments for the fsspec file system.

    Raises:
        ConfigError: No driver for the URL, a chain of URLs, or credentials in the URL of an S3 bucket.
    """

    def __init__(self, url: str, options: dict[str, Any] | None = None) -> None:
        protocol, path = split_url(url)
        self.protocol = protocol or "file"
        self.options = dict(options or {})
        self.is_local = self.protocol in LOCAL_PROTOCOLS
        if self.protocol in S3_PROTOCOLS:
            refuse_credentials(self.protocol, path)
        remember_secrets(find_secrets(url, self.options))
        self.fs, root = open_driver(url, lambda: connect(url, self.protocol, self.options))
        self._ranges = S3Ranges(self.fs, self.options) if self.protocol in S3_PROTOCOLS else None
        self.url = resolve_url(url)
        self.root = self.url if self.is_local else str(root).rstrip("/")
        self.display_url = redact(self.url)

    def __reduce__(self) -> tuple[object, ...]:
        return (Store, (self.url, self.options))

    def __repr__(self) -> str:
        return f"Store({self.display_url!r})"

    @property
    def is_in_process(self) -> bool:
        """Whether other processes cannot see what is written here."""
        return self.protocol == "memory"

    def below(self, path: str) -> Store:
        """The store of a folder inside this one."""
        return Store(join_path(self.url, path), self.options)

    def full(self, path: str) -> str:
        """The path of a file as the file system knows it."""
        return join_path(self.root, path)

    def locate(self, path: str) -> str:
        """The URL of a file for messages, credentials removed."""
        return join_path(self.display_url, path)

    def read_bytes(self, path: str, most: int | None = None) -> bytes:
        """The whole of a file. Raises `FileNotFoundError` if there is none.

        Args:
            path: Of the file.
            most: Bytes that a file of its kind may have; `None` where what is read it has checked how long it is.

        Raises:
            ConfigError: It is longer, or no regular file.
        """
        if self.is_local:
            return self._read(path, lambda: read_regular(self.full(path), most))
        if most is not None:
            check_length(self.locate(path), self.size(path), most)
        return self._read(path, lambda: cast(bytes, self.fs.cat_file(self.full(path))))

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; fewer if the file ends before, none if it ends before `offset`."""
        if self.is_local:
            return self._read(path, lambda: read_regular_range(self.full(path), offset, length))

        def read() -> bytes:
            if length == 0:  # S3 has no empty range: it would send the whole file
                self.fs.info(self.full(path))
                return b""
            found = None if self._ranges is None else self._ranges.read(self.full(path), offset, length)
            if found is not None:
                return found
            try:
                data = cast(bytes, self.fs.cat_file(self.full(path), start=offset, end=offset + length))
            except OSError as error:
                if error.errno == errno.EINVAL and offset >= int(self.fs.info(self.full(path))["size"]):
                    return b""
                raise
            if len(data) > length:
                raise ConfigError(
                    "the store sends whole files where parts of them are asked for",
                    path=self.locate(path),
                    expected=f"{length} bytes from {offset}",
                    found=f"{len(data)}",
                    action="use a store, or a proxy before it, that answers requests for ranges of bytes",
                )
            return data

        return self._read(path, read)

    def iter_pieces(self, path: str, offset: int, sizes: Sequence[int]) -> Iterator[memoryview]:
        """The bytes from `offset` on in pieces of these sizes, each valid until the next is drawn.

        From S3 all come by one request and one piece is in memory at a time. Where that breaks off, and from any other
        store, what is left comes by `read_range`, whole. Pieces are shorter, or empty, where the file ends before.
        """
        came = 0
        if self._ranges is not None:
            for piece in self._ranges.iter_pieces(self.full(path), offset, sizes):
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

        A mapped file that is cut short while it is read ends the process by a signal, so only what is too large to be
        held by every process is mapped.
        """
        if not self.is_local:
            return pa.py_buffer(self.read_bytes(path))
        return self._read(path, lambda: map_regular(self.full(path)))

    def open_input(self, path: str, *, whole: bool = False) -> Any:
        """A file as a seekable Arrow file, for readers that need parts of it.

        Args:
            path: Of the file.
            whole: All of it is going to be read: from elsewhere than a local disk it is downloaded at once.
        """
        if self.is_local:
            return self._read(path, lambda: open_native(self.full(path)))
        if whole:
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
        """Whether there is such a file, or whatever else that is no folder: to read it says what is wrong with it."""
        return self._find_size(path) is not None

    def list_names(self) -> list[str]:
        """Names of the files and folders directly in this one, sorted.

        Raises:
            FileNotFoundError: There is no such folder.
        """
        found = self._read("", lambda: self.fs.ls(self.root, detail=False))
        return sorted({posixpath.basename(path.rstrip("/")) for path in found})

    def list(self, prefix: str = "") -> list[str]:
        """Relative paths of all files below the folder `prefix`, sorted; empty if there is nothing.

        Raises:
            ConfigError: A folder below cannot be read.
        """
        folder = prefix.rstrip("/")

        def find() -> list[str]:
            if self.is_local:
                return [posixpath.join(folder, name) for name in local_files.list_files(self.full(folder))]
            with contextlib.suppress(FileNotFoundError):
                start = len(self.root.rstrip("/")) + 1
                found = self.fs.find(self.full(folder))
                # S3 has no folders: consoles mark them with empty keys; a key may stand where a folder is asked.
                inside = [path[start:] for path in found if not path.endswith("/")]
                return [path for path in inside if path != folder]
            return []

        return sorted(self._read(folder, find))

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write a whole file, replacing what stands there."""

        def write() -> None:
            if self.is_local:
                with local_files.open_durable(self.full(path)) as file:
                    file.write(data)
            else:
                self.fs.pipe_file(self.full(path), data)

        self._write(path, write)

    def create(self, path: str, data: bytes) -> bool:
        """Write a small file only if there is none; of many writers exactly one succeeds, on any store.

        Returns:
            Whether this call wrote it.
        """
        if self.is_local:
            return self._write(path, lambda: local_files.create_exclusively(self.full(path), data))
        if self.is_in_process:
            with _MEMORY_LOCK:
                if self.exists(path):
                    return False
                self.fs.pipe_file(self.full(path), data)
                return True
        put = partial(
            put_if_absent,
            *(self.fs, self.full(path), data, uuid.uuid4().hex),
            keeps_metadata=self.protocol in S3_PROTOCOLS,
            exists=lambda: self.exists(path),
        )
        return self._write(path, put)

    @contextlib.contextmanager
    def open_output(self, path: str) -> Iterator[IO[bytes]]:
        """Stream a file; it appears only if the block ends without an error."""
        whole = self._local_output(path) if self.is_local else self._remote_output(path)
        # Only the file's own steps are explained: an error of the caller's block says nothing about this path.
        write = self._step(path, whole.__enter__)
        try:
            yield cast(IO[bytes], ExplainedWriter(lambda data: self._step(path, lambda: write(data))))
        except BaseException as error:
            # On a full disk closing the file fails once more; what counts is the first failure.
            with contextlib.suppress(Exception):
                whole.__exit__(type(error), error, error.__traceback__)
            raise
        self._step(path, lambda: whole.__exit__(None, None, None))

    @contextlib.contextmanager
    def _local_output(self, path: str) -> Iterator[Callable[[Any], object]]:
        with local_files.open_durable(self.full(path)) as file:
            yield file.write

    @contextlib.contextmanager
    def _remote_output(self, path: str) -> Iterator[Callable[[Any], object]]:
        parts = None if self.is_in_process else lambda: self._open_parts(path)
        output = RemoteOutput(lambda data: self.write_bytes(path, data), parts)
        try:
            yield output.write
            output.commit()
        except BaseException:
            output.discard()
            raise

    def _open_parts(self, path: str) -> Any:
        # Committed apart from closing: a file that fsspec closes on its own must not become visible.
        return self.fs.open(self.full(path), "wb", block_size=PART_BYTES, autocommit=False)

    def delete(self, path: str) -> None:
        """Delete a file; nothing happens if there is none."""
        self._read(path, lambda: self._delete_file(self.full(path)))

    def delete_tree(self, prefix: str) -> None:
        """Delete everything below the folder `prefix`; nothing happens if there is nothing.

        Raises:
            ConfigError: The store would not delete something.
        """
        if self.is_local:
            self._read(prefix, lambda: local_files.delete_tree(self.full(prefix)))
            return
        paths = [self.full(path) for path in self.list(prefix)]
        if self.protocol not in S3_PROTOCOLS:
            for path in paths:
                self._read(prefix, partial(self._delete_file, path))
            return
        for start in range(0, len(paths), DELETE_AT_ONCE):
            group = paths[start : start + DELETE_AT_ONCE]
            self._read(prefix, partial(delete_from_bucket, self.fs, self.protocol, group))

    def _delete_file(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(path)

    def delete_partials(self, is_ours: Callable[[str], bool] = lambda _: True) -> None:
        """Delete what killed writers left; only when no writer is at work. Object stores keep nothing visible.

        Args:
            is_ours: Which of the folders in this one are searched; others may have writers of their own.
        """
        if self.is_local:
            self._read("", lambda: local_files.delete_partials(self.root, is_ours))

    def _find_size(self, path: str) -> int | None:
        """Length of a file; `None` where there is none."""

        # Not fsspec's `isfile`: it takes any failure, a lost connection too, for "no".
        def ask() -> int | None:
            try:
                if self.is_local:
                    status = os.stat(self.full(path))
                    return None if stat.S_ISDIR(status.st_mode) else status.st_size
                info = self.fs.info(self.full(path))
            except (FileNotFoundError, NotADirectoryError):
                return None
            return int(info["size"]) if info["type"] == "file" else None

        return self._read(path, ask)

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
                    "there is nothing to write into",
                    path=self.locate(path),
                    found="no such bucket" if self.protocol in S3_PROTOCOLS else "the folder was deleted meanwhile",
                    action="create it, then give the same command again",
                ) from error


def open_store(url: str, options: dict[str, Any] | None = None) -> Store:
    """The store at a URL."""
    return Store(url, options)
