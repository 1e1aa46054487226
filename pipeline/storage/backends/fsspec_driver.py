"""Any file system that fsspec has a driver for."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import fsspec
from fsspec.core import url_to_fs

from maskmill.pipeline.storage.backends.backend import Backend
from maskmill.pipeline.storage.failures import open_driver
from maskmill.pipeline.storage.paths import LOCAL_PROTOCOLS, split_url
from maskmill.pipeline.storage.regular_files import check_length
from maskmill.pipeline.storage.remote_files import PART_BYTES
from maskmill.schemas.errors import ConfigError

_NO_CHAIN = "\0\0"
"""Replaces `::` in a key while fsspec parses the URL, which would otherwise read it as a chain of URLs."""


def open_filesystem(url: str, **options: Any) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it, whatever characters the path has.

    Raises:
        ValueError: There is no driver for the protocol.
        ImportError: It is not installed.
    """
    protocol, path = split_url(url)
    if protocol in LOCAL_PROTOCOLS:
        return fsspec.filesystem("file", **options), path
    filesystem, root = url_to_fs(url.replace("::", _NO_CHAIN), **options)
    return filesystem, str(root).replace(_NO_CHAIN, "::")


class FsspecBackend(Backend):
    """A folder of an fsspec file system, `fs`."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        super().__init__(url, options)
        self.fs, root = open_driver(url, lambda: open_filesystem(url, **options))
        self.root = str(root).rstrip("/")

    def read(self, path: str, most: int | None) -> bytes:
        """The whole of a file."""
        if most is not None:
            check_length(self.locate(path), self._ask_size(path), most)
        return cast(bytes, self.fs.cat_file(self.full(path)))

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """A part of a file."""
        if length == 0:  # S3 has no empty range: it would send the whole file
            self._ask_size(path)
            return b""
        try:
            data = cast(bytes, self.fs.cat_file(self.full(path), start=offset, end=offset + length))
        except OSError as error:
            if error.errno == errno.EINVAL and offset >= self._ask_size(path):
                return b""
            raise
        if len(data) > length:
            raise ConfigError(
                "the store sends whole files when asked for parts of them",
                path=self.locate(path),
                expected=f"{length} bytes from {offset}",
                found=f"{len(data)}",
                action="use a store, and any proxy in front of it, that supports range requests",
            )
        return data

    def _ask_size(self, path: str) -> int:
        return int(self.fs.info(self.full(path))["size"])

    def find_size(self, path: str) -> int | None:
        """Length of a file."""
        # Not fsspec's `isfile`: it returns False after any failure, such as a lost connection.
        try:
            info = self.fs.info(self.full(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return int(info["size"]) if info["type"] == "file" else None

    def list_files(self, folder: str) -> list[str]:
        """All files below a folder."""
        with contextlib.suppress(FileNotFoundError):
            start = len(self.root.rstrip("/")) + 1
            found = self.fs.find(self.full(folder))
            # S3 has no folders: consoles mark them with empty keys; a key may have the name of the folder.
            inside = [path[start:] for path in found if not path.endswith("/")]
            return [path for path in inside if path != folder]
        return []

    def list_names(self) -> list[str]:
        """Names in the folder."""
        return [path.rstrip("/").rpartition("/")[2] for path in self.fs.ls(self.root, detail=False)]

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file."""
        self.fs.pipe_file(self.full(path), data)

    def create(self, path: str, data: bytes, writer: str) -> bool:  # noqa: ARG002
        """Create a file exclusively, if the driver supports it."""
        try:
            self.fs.pipe_file(self.full(path), data, mode="create")
        except FileExistsError:
            return False
        return True

    def _part_opener(self, path: str) -> Callable[[], Any] | None:
        # Closing does not commit: a file that fsspec closes on its own must not become visible.
        return partial(self.fs.open, self.full(path), "wb", block_size=PART_BYTES, autocommit=False)

    def delete(self, path: str) -> None:
        """Delete a file."""
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self.full(path))
