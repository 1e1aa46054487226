"""The keys of an object store, or any fsspec file system, for `match_files`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

from maskmill.pipeline.corpus.match_files import FoundFile, join
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.redaction import redact

Info = dict[str, Any]


@dataclass
class _Folder:
    files: dict[str, Info] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    nameless: str = ""
    """A key directly below in a folder without a name, as in `a//b`; empty if there is none."""


class StoreTree:
    """The keys below a folder of an fsspec file system.

    A folder is listed once, when it is first asked for. Where all below it will be asked for, one flat listing of
    its keys is much quicker than one request a folder.

    Args:
        filesystem: The fsspec file system.
        root: The folder as the file system knows it; empty for the top.
    """

    def __init__(self, filesystem: Any, root: str) -> None:
        self._fs = filesystem
        self._root = root
        self._listed: dict[str, _Folder] = {}
        self._is_whole: set[str] = set()

    def expect_walk(self, folder: str) -> None:
        """List all keys below a folder."""
        if any(folder == whole or not whole or folder.startswith(f"{whole}/") for whole in self._is_whole):
            return
        self._is_whole.add(folder)
        listed = {folder: _Folder()}
        try:
            found = self._fs.find(self._full(folder), detail=True)
        except FileNotFoundError:  # the bucket does not exist
            found = {}
        for name, info in found.items():
            inside = self._relative(str(name), folder)
            if not inside or inside.endswith("/") or info["type"] != "file":
                continue  # S3 consoles mark a folder with an empty key that ends in a slash
            above = folder
            *names, last = inside.split("/")
            if "" in names:
                listed[folder].nameless = str(name)
                continue
            for part in names:
                listed[above].folders.add(part)
                above = join(above, part)
                listed.setdefault(above, _Folder())
            listed[above].files[last] = info
        self._listed |= listed

    def list_folders(self, folder: str, is_wanted: Callable[[str], bool]) -> Iterator[str]:
        """Names of the folders directly in `folder`.

        Raises:
            ConfigError: One has no name, so no pattern can match it unambiguously.
        """
        listed = self._list(folder)
        if listed.nameless:
            raise ConfigError(
                "a key has two slashes in a row",
                path=redact(str(self._fs.unstrip_protocol(listed.nameless))),
                expected="folders with names",
                action="rename it, or name its folder in a pattern of its own",
            )
        yield from sorted(name for name in listed.folders if is_wanted(name))

    def list_files(self, folder: str) -> Iterator[str]:
        """Names of the keys directly in `folder`."""
        yield from self._list(folder).files

    def identify(self, folder: str) -> Hashable | None:  # noqa: ARG002
        """`None`: object stores have no links."""
        return None

    def locate(self, path: str) -> str:
        """The URL of a path, without credentials."""
        return redact(str(self._fs.unstrip_protocol(self._full(path))))

    def exists(self, path: str) -> bool:
        """Whether the key exists, or keys below it."""
        return self._info(path) is not None

    def is_folder(self, path: str) -> bool:
        """Whether there are keys below this path and none of exactly this name."""
        info = self._info(path)
        return info is not None and info["type"] != "file"

    def describe(self, path: str) -> FoundFile | None:
        """A key's size and tag; `None` where there is none."""
        folder, _, name = path.rpartition("/")
        listed = self._listed.get(folder)
        info = listed.files.get(name) if listed else self._info(path)
        if info is None or info["type"] != "file" or str(info["name"]).endswith("/"):
            return None
        url = str(self._fs.unstrip_protocol(str(info["name"])))
        mark = info.get("ETag") or info.get("mtime") or info.get("LastModified") or ""
        return FoundFile(url, path, None if info["size"] is None else int(info["size"]), str(mark))

    def _list(self, folder: str) -> _Folder:
        if folder not in self._listed:
            listed = self._listed[folder] = _Folder()
            try:
                entries = self._fs.ls(self._full(folder), detail=True)
            except (FileNotFoundError, NotADirectoryError):
                entries = []
            for info in entries:
                name = self._relative(str(info["name"]), folder)
                if info["type"] == "directory":
                    if name := name.rstrip("/"):
                        listed.folders.add(name)
                    else:
                        listed.nameless = str(info["name"])
                elif name and not name.endswith("/") and info["type"] == "file":
                    listed.files[name] = info
        return self._listed[folder]

    def _info(self, path: str) -> Info | None:
        try:
            info: Info = self._fs.info(self._full(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return info

    def _full(self, path: str) -> str:
        if not self._root:
            return f"{self._fs.root_marker}{path}"
        return f"{self._root}/{path}" if path else self._root

    def _relative(self, name: str, folder: str) -> str:
        """A full name relative to a folder; empty for the folder itself, or a key of its own name."""
        full = self._full(folder).rstrip("/")
        if not full:
            return name.lstrip("/")
        return name[len(full) + 1 :] if name.startswith(f"{full}/") else ""
