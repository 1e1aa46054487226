"""Which input files a run reads: globs resolved, sizes taken, ids made independent of where the corpus lies."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import xxhash
from fsspec.core import split_protocol, url_to_fs

from pipeline.storage.credentials import find_secrets, refuse_credentials
from pipeline.storage.failures import explained_failures
from schemas.errors import ConfigError
from schemas.redaction import without_user_info

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}
FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "txt"}

# Stored bytes are turned into bytes of text by this factor where a file is compressed. It only decides how files are
# grouped into units and how finely they are partitioned, both of which hold for any factor.
ASSUMED_COMPRESSION_RATIO = 4


@dataclass(frozen=True)
class InputFile:
    """One file of raw text.

    Attributes:
        url: Where it is read.
        path: Its name in ids: relative to the fixed prefix of the glob that found it, without the query of a URL.
        size_bytes: As stored.
        mark: Its time of change or entity tag, as the store gives it; empty where there is none. Never part of what
            decides bytes.
    """

    url: str
    path: str
    size_bytes: int
    mark: str = ""

    @property
    def compression(self) -> str | None:
        """The codec by the name's last suffix; Arrow's names, and `xz`."""
        return COMPRESSIONS.get(os.path.splitext(self.path)[1].lower())

    @property
    def format(self) -> str | None:
        """`jsonl` or `txt` by the suffix before the compression's; `None` if it is neither."""
        stem = self.path[: -len(os.path.splitext(self.path)[1])] if self.compression else self.path
        return FORMATS.get(os.path.splitext(stem)[1].lower())

    @property
    def assumed_text_bytes(self) -> int:
        """A guess at the bytes of text in it, from its size and suffix alone."""
        return self.size_bytes * (ASSUMED_COMPRESSION_RATIO if self.compression else 1)


def list_inputs(patterns: Sequence[str]) -> list[InputFile]:
    """All files that the patterns name, in the order of their relative paths.

    A file that several patterns find is read once, under the name that the first of them gives it.

    Args:
        patterns: fsspec URLs, with or without `*`, `?`, `[...]` and `**`.

    Raises:
        ConfigError: A path is missing, a glob finds nothing, a file's format or size is unknown, a name is not
            UTF-8, or two files would have the same relative path.
    """
    found: dict[str, InputFile] = {}
    for pattern in patterns:
        for file in _resolve(pattern):
            found.setdefault(file.url, file)
    files = sorted(found.values(), key=lambda file: file.path)  # by code point, as UTF-8 sorts too
    for before, file in itertools.pairwise(files):
        if before.path == file.path:
            raise ConfigError(
                f"two inputs have the same relative path {file.path}",
                path="input.paths",
                found=f"{without_user_info(before.url)} and {without_user_info(file.url)}",
                action="name both with one pattern over the folder they have in common; URLs that differ in their "
                "queries alone are not told apart",
            )
    for file in files:
        if file.format is None:
            known = ", ".join(FORMATS)
            raise ConfigError(
                "unknown input format",
                path=without_user_info(file.url),
                expected=f"one of {known}, plain or with {', '.join(COMPRESSIONS)}",
                found=os.path.splitext(file.path)[1] or "no suffix",
                action="leave it out of input.paths",
            )
    return files


def digest_inputs(files: Sequence[InputFile]) -> str:
    """xxh3-128 over relative paths and sizes: tells a resumed run that its inputs are no longer the same."""
    digest = xxhash.xxh3_128()
    for file in files:
        digest.update(f"{file.path}\0{file.size_bytes}\n".encode())
    return digest.hexdigest()


def _resolve(pattern: str) -> list[InputFile]:
    shown = without_user_info(pattern)
    if "\0" in pattern:
        raise ConfigError("no path has a NUL", path="input.paths", found=repr(pattern), action="mend the path")
    if "::" in pattern:
        raise ConfigError(
            "chained URLs are not read",
            path=shown,
            expected="one file system",
            found="a URL with ::",
            action="unpack the archive and name its files",
        )
    protocol, _ = split_protocol(pattern)
    if protocol in ("s3", "s3a"):
        refuse_credentials(protocol, pattern.partition("://")[2])
    with explained_failures(pattern, find_secrets(pattern, {})):
        try:
            fs, path = url_to_fs(pattern)
        except (ValueError, ImportError) as error:
            raise ConfigError(
                "no file system for this URL", path=shown, found=str(error), action="install its fsspec driver"
            ) from error
        bare = _without_query(path)
        if glob.has_magic(bare):
            fixed = bare[: min(bare.find(sign) for sign in "*?[" if sign in bare)].rpartition("/")[0]
            found_here = list(fs.glob(path, detail=True).values())
            for entry in found_here:
                _refuse_special(entry)
            entries = [entry for entry in found_here if _is_file(entry)]
            if not entries:
                raise ConfigError(
                    "the pattern finds no file",
                    path=shown,
                    expected="at least one",
                    action="check input.paths; a folder is named as folder/*",
                )
        else:
            fixed = bare.rpartition("/")[0]
            try:
                entries = [fs.info(path)]
            except FileNotFoundError as error:
                # Of the web any failure is one: a server that does not answer, too.
                found = without_user_info(str(error.__cause__)) if error.__cause__ else "nothing"
                raise ConfigError(
                    "no such input", path=shown, expected="a file", found=found, action="check input.paths"
                ) from None
            _refuse_special(entries[0])
            if not _is_file(entries[0]):
                raise ConfigError(
                    "this input is a folder",
                    path=shown,
                    expected="a file",
                    found=f"a {entries[0]['type']}",
                    action=f"name its files: {shown.rstrip('/')}/*",
                )
    return [_describe(fs, entry, fixed) for entry in entries]


def _is_file(entry: dict[str, Any]) -> bool:
    name = str(entry["name"])
    if entry.get("islink"):
        # In a local folder's listing fsspec gives links no type. A broken one is missed when it is described.
        return not os.path.isdir(name)
    # S3 consoles mark a folder with an empty key that ends in a slash.
    return entry["type"] == "file" and not name.endswith("/")


def _refuse_special(entry: dict[str, Any]) -> None:
    """Refuse what can be read once and has no length: pipes, sockets and devices."""
    name = str(entry["name"])
    if entry["type"] == "other" and os.path.exists(name) and not (os.path.isfile(name) or os.path.isdir(name)):
        raise ConfigError(
            "this input is neither a file nor a folder",
            path=name,
            expected="a file, which can be read again after an interruption",
            found="a pipe, a socket or a device",
            action="write what comes out of it to a file, or leave it out of input.paths",
        )


def _describe(fs: Any, entry: dict[str, Any], fixed: str) -> InputFile:
    name = str(entry["name"])
    url = str(fs.unstrip_protocol(name))
    shown = without_user_info(ascii(url)[1:-1])
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            "a file's name is not UTF-8",
            path=shown,
            expected="a name that can stand in the ids of documents",
            found=ascii(os.path.basename(name)),
            action="rename it",
        ) from None
    size, changed = entry["size"], entry.get("mtime")
    if entry.get("islink"):
        if not os.path.isfile(name):
            raise ConfigError(
                "this input is a link to nothing",
                path=shown,
                expected="a file",
                found="a link that leads nowhere",
                action="restore what it leads to, or leave it out of input.paths",
            )
        status = os.stat(name)  # the listing tells of the link itself
        size, changed = status.st_size, status.st_mtime
    if size is None:
        raise ConfigError(
            "the size of an input is not known",
            path=shown,
            expected="a store that says how long a file is",
            action="download the file, and name the copy",
        )
    mark = entry.get("ETag") or changed or entry.get("LastModified") or ""
    return InputFile(url, _without_query(name).removeprefix(fixed).lstrip("/"), int(size), str(mark))


def _without_query(path: str) -> str:
    """A path as `fsspec` knows it; of the web, whose paths are whole URLs, without what may be a key to it.

    Where the path names no file, one that the query names stays: `get?file=a.jsonl` is `get/a.jsonl`.
    """
    if not path.startswith(("http://", "https://")):
        return path
    bare, _, query = path.partition("?")
    if not os.path.splitext(bare)[1]:
        for _, value in parse_qsl(query):
            name = os.path.basename(value)
            if InputFile("", name, 0).format is not None:
                return f"{bare}/{name}"
    return bare
