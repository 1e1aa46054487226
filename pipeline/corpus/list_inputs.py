"""List the input files of a run: patterns resolved, sizes recorded, ids independent of where the corpus is."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from urllib.parse import parse_qsl

import xxhash

from maskmill.pipeline.corpus.formats.table import find_format
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.input_pattern import InputPattern, name_sources
from maskmill.pipeline.corpus.match_files import FoundFile, Tree, match_files
from maskmill.pipeline.corpus.recognise_file import recognise_file
from maskmill.pipeline.storage.backends.fsspec_driver import open_filesystem
from maskmill.pipeline.storage.backends.table import find_backend
from maskmill.pipeline.storage.failures import explained_failures
from maskmill.pipeline.storage.paths import strip_slashes
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.redaction import redact
from maskmill.schemas.wording import count_of


def list_inputs(
    patterns: Sequence[str],
    name: str | None = None,
    warn: Callable[[str], None] = lambda _: None,
    format_name: str | None = None,
) -> list[InputFile]:
    """All files that the patterns match, in the order of their relative paths.

    Patterns in one folder give paths relative to it. Of patterns in several folders, each puts the name of its folder
    in front, so that `corpus/de/*` and `corpus/en/*` give `de/part-0.txt` and `en/part-0.txt`. Whether it does depends
    on the patterns alone: a file keeps its path when others come or go.

    A file that several patterns find is read once, under the name and source that the first of them gives it. One
    that has two names, through a link, is read under both, as `glob` gives both, and warned of.

    Args:
        patterns: Paths and URLs, with or without `*`, `?`, `[...]` and `**`; see `match_files`.
        name: The source of all files; without it, each pattern's is its last fixed folder, see `name_sources`.
        warn: Receives warnings.
        format_name: The format of all files; without it, each file's suffix tells, or else its first bytes.

    Raises:
        ConfigError: A path is missing, a pattern finds nothing, a file's format or size is unknown, a name is not
            UTF-8, links form a cycle, or two files would have the same relative path.
    """
    parsed = [InputPattern.parse(pattern) for pattern in patterns]
    found: dict[str, InputFile] = {}
    identities: list[tuple[Hashable, str]] = []
    folders = name_sources(parsed)
    is_one_folder = len(set(folders)) == 1
    for pattern, folder in zip(parsed, folders, strict=True):
        num_before = len(found)
        for entry in _find(pattern):
            path = entry.path if is_one_folder else f"{folder}/{entry.path}"
            file = _check_entry(entry, path, folder if name is None else name)
            if found.setdefault(file.url, file) is file and entry.identity is not None:
                identities.append((entry.identity, file.path))
        if len(found) == num_before:
            warn(f"input.paths: {pattern.shown} adds no file: earlier patterns match all of its files")
    _warn_of_second_names(sorted(identities, key=lambda entry: entry[1]), warn)
    files = sorted(found.values(), key=lambda file: file.path)  # by code point, as UTF-8 sorts too
    for before, file in itertools.pairwise(files):
        if before.path == file.path:
            is_local = before.url.startswith("/") and file.url.startswith("/")
            raise ConfigError(
                f"two inputs have the same relative path {file.path}",
                path="input.paths",
                found=f"{redact(before.url)} and {redact(file.url)}",
                action="write the patterns of both as absolute paths, or rename one of the files"
                if is_local
                else "rename one of the files, or its folder; URLs are not told apart by their hosts and queries",
            )
    return [recognise_file(file, format_name) for file in files]


def digest_inputs(files: Sequence[InputFile]) -> str:
    """xxh3-128 over relative paths, sizes and sources: shows a resumed run that its inputs have changed."""
    digest = xxhash.xxh3_128()
    for file in files:
        digest.update(f"{file.path}\0{file.size_bytes}\0{file.source}\n".encode())
    return digest.hexdigest()


def _find(pattern: InputPattern) -> Iterator[FoundFile]:
    with explained_failures(pattern.written, of_driver=True):
        if pattern.is_web:
            yield _find_on_web(pattern)
            return
        tree = pattern.open_tree()
        if not pattern.is_glob:
            yield _find_one(pattern, tree)
            return
        is_empty = True
        paths = match_files(tree, pattern.parts)
        _refuse_literal(pattern, tree, paths)
        for path in paths:
            if (file := tree.describe(path)) is not None:
                is_empty = False
                yield file
    if is_empty:
        hint = "; a [ that is part of a name is written [[]" if "[" in pattern.written else ""
        raise ConfigError(
            "the pattern matches no file",
            path=pattern.shown,
            expected="at least one",
            action="check input.paths; for the files of a folder write folder/*; "
            f"* does not match names with a leading dot{hint}",
        )


def _find_one(pattern: InputPattern, tree: Tree) -> FoundFile:
    (path,) = pattern.parts
    file = tree.describe(path)
    if file is not None and path:
        return file
    if not tree.is_folder(path):
        raise ConfigError(
            "the input does not exist",
            path=pattern.shown,
            expected="a file",
            found="a file of this name without the trailing slash" if file is not None else "nothing",
            action="remove the trailing slash" if file is not None else "check input.paths",
        )
    is_all_buckets = find_backend(pattern.written).capabilities.buckets and not pattern.fixed and not path
    folder = f"{pattern.protocol}://bucket" if is_all_buckets else strip_slashes(pattern.shown)
    raise ConfigError(
        "this input is a folder",
        path=pattern.shown,
        expected="a file",
        found="a folder",
        action=f"to read its files, write {folder}{'' if folder.endswith('://') else '/'}*",
    )


def _refuse_literal(pattern: InputPattern, tree: Tree, paths: Sequence[str]) -> None:
    """Refuse `d [1]/*` if there is a folder of exactly this name: as a pattern it matches `d 1`, other files.

    Raises:
        ConfigError: What is written exists, and the pattern does not lead to it.
    """
    literal = list(itertools.takewhile(lambda part: "*" not in part and "?" not in part, pattern.parts))
    name = "/".join(literal)
    if "[" not in name or any(f"{path}/".startswith(f"{name}/") for path in paths) or not tree.exists(name):
        return
    raise ConfigError(
        "this name has glob characters, so as a pattern it matches other files",
        path=tree.locate(name),
        expected="a pattern that matches it",
        found=pattern.shown,
        action="write [[] for a [ that is part of a name, or give the path relative to a folder below it",
    )


def _find_on_web(pattern: InputPattern) -> FoundFile:
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


def _check_entry(entry: FoundFile, path: str, source: str) -> InputFile:
    try:
        f"{entry.url}{path}{source}".encode()
    except UnicodeEncodeError:
        raise ConfigError(
            "a file's name is not UTF-8",
            path=redact(entry.url.encode(errors="backslashreplace").decode()),
            expected="a name that can be part of the ids of documents",
            found=ascii(os.path.basename(entry.path)),
            action="rename it",
        ) from None
    if entry.size_bytes is None:
        raise ConfigError(
            "the size of an input is unknown",
            path=redact(entry.url),
            expected="a store that reports the sizes of files",
            action="download the file, and give the path of the copy",
        )
    return InputFile(entry.url, path, entry.size_bytes, entry.mark, source)


def _warn_of_second_names(identities: Sequence[tuple[Hashable, str]], warn: Callable[[str], None]) -> None:
    if len({identity for identity, _ in identities}) == len(identities):
        return
    first: dict[Hashable, str] = {}
    second = [(path, first[identity]) for identity, path in identities if first.setdefault(identity, path) != path]
    path, other = second[0]
    warn(
        f"input.paths: {count_of(len(second), 'file is', 'files are')} read twice, under two names that lead to one "
        f"file: the first, {path}, is also {other}. Leave the links out of the patterns, unless documents.deduplicate "
        "is to drop the copies"
    )


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
