"""List the input files of a run: patterns resolved, sizes recorded, ids independent of where the corpus is."""

from __future__ import annotations

import dataclasses
import itertools
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xxhash

from maskmill.pipeline.corpus.find_inputs import Found, InputFinder
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.input_files import InputFiles
from maskmill.pipeline.corpus.input_list import is_list, read_list
from maskmill.pipeline.corpus.input_pattern import InputPattern, name_sources
from maskmill.pipeline.corpus.match_files import FoundFile
from maskmill.pipeline.corpus.recognise_file import recognise_file
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.redaction import redact
from maskmill.schemas.wording import count_of


@dataclass(frozen=True)
class InputTable:
    """Where one table of a run file finds its files.

    Attributes:
        patterns: Paths and URLs of files, folders and lists, with or without `*`, `?`, `[...]` and `**`; see
            `match_files`.
        name: The source of all files; without it, each pattern's is its last fixed folder, see `name_sources`.
        format_name: The format of all files; without it, each file's suffix tells, or else its first bytes.
    """

    patterns: Sequence[str]
    name: str | None = None
    format_name: str | None = None


def list_inputs(
    patterns: Sequence[str],
    name: str | None = None,
    warn: Callable[[str], None] = lambda _: None,
    format_name: str | None = None,
) -> InputFiles:
    """`list_tables` of one table."""
    return list_tables([InputTable(patterns, name, format_name)], warn)


def list_tables(tables: Sequence[InputTable], warn: Callable[[str], None]) -> InputFiles:
    """All files that the patterns match, table by table, in the order of their relative paths in each.

    Patterns in one folder give paths relative to it. Of patterns in several folders, each puts the name of its folder
    in front, so that `corpus/de/*` and `corpus/en/*` give `de/part-0.txt` and `en/part-0.txt`. Whether it does depends
    on the patterns of all tables alone: a file keeps its path when others come or go.

    A folder stands for the files below it that have the suffix of a known format, and `@` with a path for the lines of
    that file; see `find_inputs` and `input_list`.

    A file that several patterns find is read once, under the name and source that the first of them gives it. One
    that has two names, through a link, is read under both, as `glob` gives both, and warned of.

    Args:
        tables: One or more.
        warn: Receives warnings.

    Raises:
        ConfigError: A path is missing, a pattern finds nothing, a file's format or size is unknown, a name is not
            UTF-8, links form a cycle, or two files would have the same relative path.
    """
    results: list[Found] = []
    table_of: list[int] = []
    for number, table in enumerate(tables):
        finder = InputFinder(table.format_name, warn)
        results += [result for pattern in table.patterns for result in _iter_found(pattern, finder)]
        table_of += [number] * (len(results) - len(table_of))
    found: dict[str, InputFile] = {}
    identities = array("Q")  # a hash of each file's: a million of them as they are would take 250 MB
    repeated: Counter[str] = Counter()
    folders = name_sources([result.pattern for result in results])
    is_one_folder = len(set(folders)) == 1
    for result, folder, number in zip(results, folders, table_of, strict=True):
        num_before = len(found)
        for entry in _drain(result.files):
            path = entry.path if is_one_folder else f"{folder}/{entry.path}"
            file = _check_entry(entry, path, tables[number].name or folder, number)
            if found.setdefault(file.url, file) is file:
                identities.append(xxhash.xxh3_64_intdigest(repr(entry.identity or file.url).encode()))
        if len(found) == num_before and result.of_list:
            repeated[result.of_list] += 1
        elif len(found) == num_before:
            warn(f"input.paths: {result.pattern.shown} adds no file: earlier patterns match all of its files")
    for of_list, count in repeated.items():
        lines = count_of(count, "line adds", "lines add")
        warn(f"input.paths: {lines} of {of_list} no file: earlier ones name all of theirs")
    _warn_of_second_names(identities, found, warn)
    files = sorted(found.values(), key=lambda file: file.path)  # by code point, as UTF-8 sorts too
    found.clear()
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
    files.sort(key=lambda file: file.table)
    files.reverse()  # each object is freed as its columns are filled
    names = [table.format_name for table in tables]
    popped = (files.pop() for _ in range(len(files)))
    return InputFiles(recognise_file(file, names[file.table]) for file in popped)


def _drain(files: list[FoundFile]) -> Iterator[FoundFile]:
    """Files in their order, each of which is freed when the next is asked for."""
    files.reverse()
    while files:
        yield files.pop()


def digest_inputs(files: Sequence[InputFile]) -> str:
    """xxh3-128 over relative paths, sizes, sources and tables: shows a resumed run that its inputs have changed."""
    digest = xxhash.xxh3_128()
    for file in files:
        table = f"\0{file.table}" if file.table else ""
        digest.update(f"{file.path}\0{file.size_bytes}\0{file.source}{table}\n".encode())
    return digest.hexdigest()


def _iter_found(written: str, finder: InputFinder) -> Iterator[Found]:
    if not is_list(written):
        yield finder.find(InputPattern.parse(written))
        return
    listed = finder.find_list(written)
    for number, entry in read_list(listed.file):
        try:
            yield dataclasses.replace(
                finder.find(InputPattern.parse(entry, listed.pattern), is_listed=True), of_list=listed.pattern.shown
            )
        except ConfigError as error:
            raise ConfigError(
                error.what,
                path=listed.pattern.shown,
                place=f"line {number}",
                expected=error.expected,
                found=error.found if error.path is None else f"{error.path}, {error.found or 'named there'}",
                action="fix the line, or remove it",
            ) from None


def _check_entry(entry: FoundFile, path: str, source: str, table: int) -> InputFile:
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
    return InputFile(entry.url, path, entry.size_bytes, entry.mark, source, table=table)


def _warn_of_second_names(
    identities: Sequence[int], found: Mapping[str, InputFile], warn: Callable[[str], None]
) -> None:
    """Warn of files of one identity, given that of each in the order in which they were found."""
    ones, counts = np.unique(np.asarray(identities, np.uint64), return_counts=True)
    repeated = set(ones[counts > 1].tolist())
    if not repeated:
        return
    pairs = zip(identities, found.values(), strict=True)
    in_order = sorted((file.path, identity) for identity, file in pairs if identity in repeated)
    first: dict[int, str] = {}
    second = [(path, first[identity]) for path, identity in in_order if first.setdefault(identity, path) != path]
    path, other = second[0]
    warn(
        f"input.paths: {count_of(len(second), 'file is', 'files are')} read twice, under two names that lead to one "
        f"file: the first, {path}, is also {other}. Leave the links out of the patterns, unless documents.deduplicate "
        "is to drop the copies"
    )
