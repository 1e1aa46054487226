"""Parse an entry of `input.paths`: a file system, a fixed folder and the pattern below it."""

from __future__ import annotations

import dataclasses
import glob
import os
import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from maskmill.pipeline.corpus.local_tree import LocalTree
from maskmill.pipeline.corpus.match_files import RECURSIVE, Tree
from maskmill.pipeline.corpus.store_tree import StoreTree
from maskmill.pipeline.storage.backends.fsspec_driver import open_filesystem
from maskmill.pipeline.storage.backends.table import find_backend
from maskmill.pipeline.storage.credentials import find_secrets
from maskmill.pipeline.storage.failures import open_driver
from maskmill.pipeline.storage.paths import join_path, split_url
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.redaction import redact, remember_secrets

WEB_PROTOCOLS = ("http", "https")
UNNAMED = "input"
"""The source of text whose pattern has no fixed folder."""


@dataclass(frozen=True)
class InputPattern:
    """A path, URL or glob of `input.paths`."""

    written: str
    """As the user wrote it."""
    protocol: str | None
    fixed: str
    """The folder before the first component with a glob character, or that of the one file: as written, without the
    protocol."""
    parts: tuple[str, ...]
    """The components after it."""

    @classmethod
    def parse(cls, written: str, base: InputPattern | None = None) -> InputPattern:
        """Parse a pattern.

        Args:
            written: As the user wrote it.
            base: The file in whose folder a relative path starts; without it, that is the working folder.

        Raises:
            ConfigError: It has a NUL, is a chain of URLs, or has credentials.
        """
        if base is not None and base.may_begin(written):
            return base.beside(written)
        protocol, path = split_url(written)
        if protocol in WEB_PROTOCOLS:
            _check_web(written)
        remember_secrets(find_secrets(written, {}))
        backend = find_backend(written)
        backend.check_url(written)
        parts = path.split("/")
        if backend.capabilities.local_paths:
            # A trailing slash asks for a folder, and `./~` is not the user's home: both are kept.
            parts = [*parts[:1], *(part for part in parts[1:-1] if part not in ("", ".")), *parts[1:][-1:]]
        first = next((index for index, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
        fixed = "/".join(parts[:first]) or ("/" if first and path.startswith("/") else "")
        return cls(written, protocol, fixed, tuple(parts[first:]))

    def may_begin(self, written: str) -> bool:
        """Whether a path is relative to this file; on the web, one with a slash in front is on its host."""
        return split_url(written)[0] is None and (self.is_web or not written.startswith(("/", "~")))

    def beside(self, written: str) -> InputPattern:
        """Parse a path that is relative to the folder of this file."""
        if self.is_web:
            return self.parse(urljoin(self.written, written))
        is_local = find_backend(self.written).capabilities.local_paths
        beside = self.parse(written)
        fixed = posixpath.join(self.fixed, beside.fixed)
        if not is_local and fixed:
            fixed = posixpath.normpath(fixed)  # a key has no `..`
        folder = self.fixed if self.protocol is None else f"{self.protocol}://{self.fixed}"
        return InputPattern(join_path(folder, written) if folder else written, self.protocol, fixed, beside.parts)

    def all_below(self) -> InputPattern:
        """The pattern of all files below the folder that a path without glob characters leads to."""
        (name,) = self.parts
        return dataclasses.replace(self, fixed=join_path(self.fixed, name) if self.fixed else name, parts=(RECURSIVE,))

    @property
    def is_glob(self) -> bool:
        """Whether it may match several files; a web URL never does, since its `?` begins a query."""
        return not self.is_web and any(map(glob.has_magic, self.parts))

    @property
    def is_web(self) -> bool:
        """Whether it is one URL of the web."""
        return self.protocol in WEB_PROTOCOLS

    @property
    def shown(self) -> str:
        """The pattern for messages, without credentials."""
        return redact(self.written)

    @property
    def folders(self) -> tuple[str, ...]:
        """Names of the fixed folders, the outermost first; none of the user's home or a host."""
        fixed = urlsplit(self.written).path.rpartition("/")[0] if self.is_web else self.fixed
        names = posixpath.normpath(fixed or ".").split("/")
        start = 1 if fixed.startswith("~") else 0
        return tuple(name for name in names[start:] if name not in ("", ".", ".."))

    def open_tree(self) -> Tree:
        """The file system below the fixed folder.

        Raises:
            ConfigError: There is no driver for the protocol.
        """
        if find_backend(self.written).capabilities.local_paths:
            return LocalTree(os.path.join(os.getcwd(), os.path.expanduser(self.fixed)))
        url = f"{self.protocol}://{self.fixed}"
        filesystem, root = open_driver(self.written, lambda: open_filesystem(url))
        filesystem.invalidate_cache()
        return StoreTree(filesystem, root.rstrip("/"))


def _check_web(url: str) -> None:
    try:
        is_whole = bool(urlsplit(url).hostname) and urlsplit(url).port != 0
    except ValueError as error:
        raise ConfigError(
            "this is not a valid web URL", path=url, found=str(error), action="check input.paths"
        ) from None
    if not is_whole:
        raise ConfigError("this is not a valid web URL", path=url, expected="a host", action="check input.paths")


def name_sources(patterns: Sequence[InputPattern]) -> list[str]:
    """The source of each pattern's text: the last of its fixed folders.

    Patterns with different fixed folders have different names: where the last folders are the same, as in
    `en/train/*` and `de/train/*`, those above them tell them apart. What is above a pattern's first folder is never
    in the name, so it does not depend on where a relative pattern is read from.
    """
    distinct = {pattern.folders for pattern in patterns}
    ends = Counter(folders[-length:] for folders in distinct for length in range(1, len(folders) + 1))

    def name(folders: tuple[str, ...]) -> str:
        lengths = range(1, len(folders) + 1)
        shortest = next((length for length in lengths if ends[folders[-length:]] == 1), len(folders))
        return "/".join(folders[-shortest:]) or UNNAMED

    return [name(pattern.folders) for pattern in patterns]
