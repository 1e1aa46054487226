"""Find the files that a pattern matches: the rules of `glob.glob(pattern, recursive=True)`, for any file system.

- `*`, `?` and `[...]` match within one component of a path, as `fnmatch` does. `**` as a whole component matches any
  number of folders, none included; as the last one, all files below.
- A name with a leading dot is matched only by a component that itself begins with a dot, and never by `**`.
- Links to folders are followed. `glob` follows a link that leads back to a folder above it until the system gives up;
  here it is refused, since it would give every file below many times over.

Where `glob` silently leaves out what it may not read, the file system's error is raised here.
"""

from __future__ import annotations

import fnmatch
import glob
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from maskmill.schemas.errors import ConfigError

RECURSIVE = "**"


@dataclass(frozen=True)
class FoundFile:
    """A file as its file system describes it."""

    url: str
    """URL or path to read it from."""
    path: str
    """Relative to the tree's root."""
    size_bytes: int | None
    """Stored size; `None` if the store does not say."""
    mark: str
    """Its time of change or entity tag; empty where there is none."""
    identity: Hashable | None = None
    """Its identity under any name; `None` if there are no links."""


class Tree(Protocol):
    """The interface of a file system. Paths are relative to a fixed folder, the root, which is the empty path."""

    def expect_walk(self, folder: str) -> None:
        """Announce that everything below a folder will be listed."""
        ...

    def list_folders(self, folder: str, is_wanted: Callable[[str], bool]) -> Iterable[str]:
        """Names of the folders directly in `folder`, links to folders included; none if there is no such folder."""
        ...

    def list_files(self, folder: str) -> Iterable[str]:
        """Names directly in `folder` of all that may be a file."""
        ...

    def identify(self, folder: str) -> Hashable | None:
        """The identity of a folder under any path; `None` if there are no links."""
        ...

    def locate(self, path: str) -> str:
        """A path for messages."""
        ...

    def exists(self, path: str) -> bool:
        """Whether there is a file or a folder under exactly this name."""
        ...

    def is_folder(self, path: str) -> bool:
        """Whether there is such a folder."""
        ...

    def describe(self, path: str) -> FoundFile | None:
        """A file; `None` for a folder, and where there is nothing.

        Raises:
            ConfigError: It is something that cannot be read as a file.
        """
        ...


def match_files(tree: Tree, parts: Sequence[str]) -> list[str]:
    """The paths that a pattern's components match, each once; a literal last component is not checked to exist.

    Raises:
        ConfigError: Links form a cycle below a `**`.
    """
    *above, last = parts
    folders = [""]
    for part in above:
        folders = _unique(inner for folder in folders for inner in _enter(tree, folder, part))
    return _unique(path for folder in folders for path in _match_last(tree, folder, last))


def join(folder: str, name: str) -> str:
    """A relative path; the empty one is the fixed folder."""
    return f"{folder}/{name}" if folder else name


def _enter(tree: Tree, folder: str, part: str) -> Iterator[str]:
    if part == RECURSIVE:
        yield from _walk(tree, folder)
    elif glob.has_magic(part):
        for name in tree.list_folders(folder, lambda name: _matches(name, part)):
            yield join(folder, name)
    else:
        yield join(folder, part)


def _match_last(tree: Tree, folder: str, part: str) -> Iterator[str]:
    if part == RECURSIVE:
        for below in _walk(tree, folder):
            yield from (join(below, name) for name in tree.list_files(below) if _matches(name, "*"))
    elif glob.has_magic(part):
        yield from (join(folder, name) for name in tree.list_files(folder) if _matches(name, part))
    else:
        yield join(folder, part)


def _walk(tree: Tree, folder: str) -> Iterator[str]:
    """A folder and all below it that are not hidden, each before those inside it."""
    tree.expect_walk(folder)
    waiting: list[tuple[str, dict[Hashable, str]]] = [(folder, {})]
    while waiting:
        current, above = waiting.pop()
        identity = tree.identify(current)
        if identity is not None:
            if identity in above:
                raise ConfigError(
                    "links form a cycle",
                    path=tree.locate(current),
                    expected="folders without cycles for **",
                    found=f"a link back to {tree.locate(above[identity])}",
                    action="remove the link, or name the folders without **",
                )
            above = {**above, identity: current}
        yield current
        waiting += [(join(current, name), above) for name in tree.list_folders(current, lambda n: _matches(n, "*"))]


def _matches(name: str, part: str) -> bool:
    if name.startswith(".") and not part.startswith("."):
        return False
    return fnmatch.fnmatchcase(name, part)


def _unique(paths: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(paths))
