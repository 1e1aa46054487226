"""A file of the web: one URL, which has no folder and no pattern."""

from __future__ import annotations

import os
from urllib.parse import parse_qsl

from maskmill.pipeline.corpus.formats.table import find_format
from maskmill.pipeline.corpus.input_pattern import InputPattern
from maskmill.pipeline.corpus.match_files import FoundFile
from maskmill.pipeline.storage.backends.fsspec_driver import open_filesystem
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.redaction import redact


def find_on_web(pattern: InputPattern) -> FoundFile:
    """One URL. Its query is not part of its name, since it may be a key to the file."""
    bare = _without_query(pattern.written)
    filesystem, path = open_filesystem(pattern.written)
    try:
        info = filesystem.info(path)
    except FileNotFoundError as error:
        # Of the web any failure is one: a server that does not answer, too.
        raise ConfigError(
            "the input does not exist",
            path=pattern.shown,
            expected="the URL of a file: the web has no folders and patterns" if "*" in bare else "a file",
            found=redact(str(error.__cause__)) if error.__cause__ else "nothing",
            action="check input.paths",
        ) from None
    mark = str(info.get("ETag") or info.get("LastModified") or "")
    return FoundFile(path, bare.rpartition("/")[2], info["size"], mark)


def _without_query(url: str) -> str:
    """A URL without its query; where it names no file, one that the query names stays.

    So `get?file=a.jsonl` is `get/a.jsonl`.
    """
    bare, _, query = url.partition("?")
    if not os.path.splitext(bare)[1]:
        for _, value in parse_qsl(query):
            name = os.path.basename(value)
            if find_format(name) is not None:
                return f"{bare}/{name}"
    return bare
