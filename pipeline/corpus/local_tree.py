"""The local file system for `match_files`: by system calls, so that no name is parsed."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Hashable, Iterator

from maskmill.pipeline.corpus.match_files import FoundFile
from maskmill.pipeline.storage.failures import explained_failures
from maskmill.schemas.errors import ConfigError

_ABSENT = (FileNotFoundError, NotADirectoryError)


class LocalTree:
    """The folders and files below a local folder.

    Args:
        root: The folder, absolute.
    """

    def __init__(self, root: str) -> None:
        self._root = root

    def expect_walk(self, folder: str) -> None:
        """Do nothing: listing a folder is cheap."""

    def list_folders(self, folder: str, is_wanted: Callable[[str], bool]) -> Iterator[str]:
        """Names of the folders directly in `folder`, links to folders included."""
        for entry in self._scan(folder):
            if is_wanted(entry.name):
                with _explained(entry.path):
                    is_folder = entry.is_dir()
                if is_folder:
                    yield entry.name

    def list_files(self, folder: str) -> Iterator[str]:
        """All names directly in `folder`: `describe` tells what they are."""
        return (entry.name for entry in self._scan(folder))

    def identify(self, folder: str) -> Hashable | None:
        """Device and inode of a folder."""
        path = self._full(folder)
        with _explained(path):
            try:
                status = os.stat(path)
            except _ABSENT:
                return None
        return status.st_dev, status.st_ino

    def locate(self, path: str) -> str:
        """The absolute path, printable."""
        return _printable(self._full(path))

    def exists(self, path: str) -> bool:
        """Whether anything has exactly this name."""
        return os.path.lexists(self._full(path))

    def is_folder(self, path: str) -> bool:
        """Whether there is such a folder."""
        return os.path.isdir(self._full(path))

    def describe(self, path: str) -> FoundFile | None:
        """A file's size and time of change; `None` for a folder, and where there is nothing.

        Raises:
            ConfigError: It is a link to nothing, or what can be read only once: a pipe, a socket or a device.
        """
        name = self._full(path)
        try:
            status = os.stat(name)
        except OSError:
            _explain_absence(name)
            return None
        if stat.S_ISDIR(status.st_mode):
            return None
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(
                "this input is neither a file nor a folder",
                path=_printable(name),
                expected="a file, which can be read again after an interruption",
                found="a pipe, a socket or a device",
                action="write its output to a file, or leave it out of input.paths",
            )
        identity = (status.st_dev, status.st_ino)
        return FoundFile(_without_detours(name), path, status.st_size, str(status.st_mtime), identity)

    def _full(self, path: str) -> str:
        return os.path.join(self._root, path) if path else self._root

    def _scan(self, folder: str) -> list[os.DirEntry[str]]:
        path = self._full(folder)
        with _explained(path):
            try:
                with os.scandir(path) as entries:
                    return list(entries)
            except _ABSENT:
                return []


def _explain_absence(name: str) -> None:
    """Raise an error that explains why a path cannot be examined, unless it simply does not exist."""
    with _explained(name):
        try:
            os.stat(name)
        except _ABSENT:
            if not os.path.islink(name):
                return
            raise ConfigError(
                "this input is a broken link",
                path=_printable(name),
                expected="a file",
                found="a link whose target does not exist",
                action="restore its target, or leave it out of input.paths",
            ) from None


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    with explained_failures(_printable(path)):
        try:
            yield
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise ConfigError(
                "links form a cycle",
                path=_printable(path),
                expected="a file or a folder",
                found="symbolic links that form a cycle",
                action="remove them, or leave them out of input.paths",
            ) from None


def _printable(path: str) -> str:
    return path.encode(errors="backslashreplace").decode()


def _without_detours(path: str) -> str:
    """An absolute path without `.`, `..` and doubled slashes, so that a file has one URL however it is written.

    `..` after a link is the folder above the link's target, so links are resolved if there is a `..`.
    """
    if "/." not in path and "//" not in path:
        return path
    folder, name = os.path.split(path)
    if ".." in folder.split("/"):
        folder = os.path.realpath(folder)
    clean = os.path.normpath(os.path.join(folder, name))
    return f"/{clean.lstrip('/')}"  # `normpath` keeps two slashes at the start
