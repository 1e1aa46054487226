"""Parse URLs and paths, and check the paths that manifests name."""

from __future__ import annotations

import os
import posixpath
import re

from maskmill.schemas.errors import RESTORE, ConfigError, ShardCorruptError
from maskmill.schemas.redaction import redact

LOCAL_PROTOCOLS = (None, "file", "local")
_PROTOCOL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_CHAINED = re.compile(r"::[A-Za-z][A-Za-z0-9+.-]+://")
_LAYERS = frozenset(
    ("blockcache", "cached", "dir", "filecache", "libarchive", "reference", "simplecache", "tar", "zip")
)
"""Protocols that read another file system through a layer: archives and caches."""


def split_url(url: str) -> tuple[str | None, str]:
    """The protocol of a URL and the rest; of a local path `None` and the path.

    fsspec's own rule takes a `::` in a name for a chain of URLs, and all before a `://` anywhere for a protocol. Here
    only text that begins with a protocol is a URL, so every local name and every key is used as written.

    Raises:
        ConfigError: The URL is a chain, such as that of a file in an archive, or has a NUL.
    """
    if "\0" in url:
        raise ConfigError("a path cannot contain a NUL byte", path=redact(url), action="fix the path")
    match = _PROTOCOL.match(url)
    protocol = match[1] if match else None
    if _CHAINED.search(url) or protocol in _LAYERS:
        raise ConfigError(
            "chained URLs are not supported",
            path=redact(url),
            expected="one file system",
            found="a URL with ::" if "::" in url else f"{protocol}://",
            action="unpack the archive and give the paths of its files",
        )
    return protocol, url[match.end() :] if match else url


def split_file_url(url: str) -> tuple[str, str]:
    """The folder of a file, as a URL for `open_store`, and its name in it."""
    folder, slash, name = url.rpartition("/")
    return folder or slash or ".", name


def resolve_url(url: str) -> str:
    """A URL that means the same wherever the process goes: a local one is its absolute path, `~` the user's home."""
    protocol, path = split_url(url)
    if protocol in LOCAL_PROTOCOLS:
        return f"/{os.path.abspath(os.path.expanduser(path)).lstrip('/')}"  # `abspath` keeps two slashes at the start
    return strip_slashes(url)


def strip_slashes(url: str) -> str:
    """A URL without slashes at its end, but for those of its protocol: `memory://` is a folder."""
    protocol, separator, path = url.rpartition("://")
    return f"{protocol}{separator}{path.rstrip('/')}"


def join_path(folder: str, path: str) -> str:
    """A path inside a folder; the folder itself for an empty one."""
    if not path:
        return folder
    return f"{folder}{path}" if folder.endswith("/") else f"{folder}/{path}"


def check_inside(path: str, dataset: str) -> str:
    """A path that a manifest names, refused if it leaves the dataset.

    Raises:
        ShardCorruptError: The path is absolute, has a protocol or climbs out of the dataset.
    """
    if (
        not path
        or posixpath.isabs(path)
        or "://" in path
        or "\\" in path
        or "\0" in path
        or posixpath.normpath(path) != path
        or path.startswith("..")
    ):
        raise ShardCorruptError(
            "a shard's path leaves the dataset",
            path=dataset,
            expected="a relative path inside it",
            found=repr(path),
            action=RESTORE,
        )
    return path
