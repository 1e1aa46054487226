"""Find the files of one entry of `input.paths`: a file, a folder, a pattern or a URL of the web.

A folder stands for all files below it, at any depth, whose suffix is that of a known format; with `input.format`, of
that format. Names with a leading dot are left out, as for patterns, and so are those with a leading `_`, as Spark and
`pyarrow.dataset` leave them out, and the JSON files that `datasets` writes beside its shards.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from maskmill.pipeline.corpus.formats.table import FORMATS, find_format, name_format
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.input_list import path_of_list
from maskmill.pipeline.corpus.input_pattern import InputPattern
from maskmill.pipeline.corpus.match_files import FoundFile, Tree, match_files
from maskmill.pipeline.corpus.web_input import find_on_web
from maskmill.pipeline.storage.backends.table import find_backend
from maskmill.pipeline.storage.failures import explained_failures
from maskmill.pipeline.storage.paths import strip_slashes
from maskmill.schemas.errors import ConfigError
from maskmill.schemas.redaction import redact
from maskmill.schemas.wording import count_of

DATASETS_FILES = frozenset(("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"))
"""What `datasets` writes beside its shards."""
MANY_IN_FOLDER = 8
"""A folder of which a list names this many entries is listed at once: to ask for each is a request."""


@dataclass(frozen=True)
class Found:
    """What an entry of `input.paths` leads to.

    Attributes:
        pattern: The entry; of a folder the pattern of all that is below it.
        files: Its files.
        of_list: The list that it is from; empty if there is none.
    """

    pattern: InputPattern
    files: list[FoundFile]
    of_list: str = ""


@dataclass(frozen=True)
class FoundList:
    """A list of inputs: its pattern, whose fixed folder its entries are relative to, and its file."""

    pattern: InputPattern
    file: InputFile


class InputFinder:
    """Finds files, and remembers the folders of the entries of lists.

    Args:
        format_name: The format of all files, as configured.
        warn: Receives warnings.
    """

    def __init__(self, format_name: str | None, warn: Callable[[str], None]) -> None:
        formats = FORMATS if format_name is None else (name_format(format_name),)
        self._suffixes = tuple(suffix for format_ in formats for suffix in format_.suffixes)
        self._warn = warn
        self._trees: dict[tuple[str | None, str], Tree] = {}
        self._asked: Counter[tuple[str | None, str]] = Counter()

    def find_list(self, written: str) -> FoundList:
        """The list that an entry of `input.paths` names.

        Raises:
            ConfigError: There is no such file.
        """
        pattern = InputPattern.parse(path_of_list(written))
        if pattern.is_glob:
            raise ConfigError(
                "a list is one file",
                path=pattern.shown,
                expected="a path or URL after @",
                found="a pattern",
                action=f"write @ before each list; files whose own names begin with @ are ./{redact(written)}",
            )
        with explained_failures(pattern.written, of_driver=True):
            found = find_on_web(pattern) if pattern.is_web else _find_file(pattern, pattern.open_tree())
        if found is None:
            raise ConfigError(
                "this list of inputs is a folder",
                path=pattern.shown,
                expected="a file with a path, URL or pattern a line",
                found="a folder",
                action="to read the files of the folder, write it without @",
            )
        if found.size_bytes is None:
            raise ConfigError(
                "the size of this list of inputs is unknown",
                path=pattern.shown,
                expected="a store that reports the sizes of files",
                action="download the list, and give the path of the copy",
            )
        return FoundList(pattern, InputFile(found.url, found.path, found.size_bytes, found.mark))

    def find(self, pattern: InputPattern, *, is_listed: bool = False) -> Found:
        """The files of an entry.

        Args:
            pattern: The entry.
            is_listed: Whether it is one of a list, of which many may be in one folder.

        Raises:
            ConfigError: There is no such file, the pattern matches none, or the folder holds none of a known format.
        """
        with explained_failures(pattern.written, of_driver=True):
            if pattern.is_web:
                return Found(pattern, [find_on_web(pattern)])
            tree = self._open(pattern) if is_listed else pattern.open_tree()
            if pattern.is_glob:
                return Found(pattern, _match(pattern, tree))
            file = _find_file(pattern, tree)
            return Found(pattern, [file]) if file is not None else self._find_below(pattern)

    def _open(self, pattern: InputPattern) -> Tree:
        folder = (pattern.protocol, pattern.fixed)
        if folder not in self._trees:
            self._trees[folder] = pattern.open_tree()
        self._asked[folder] += 1
        if self._asked[folder] == MANY_IN_FOLDER:
            for _ in self._trees[folder].list_files(""):
                break
        return self._trees[folder]

    def _find_below(self, folder: InputPattern) -> Found:
        pattern = folder.all_below()
        tree = pattern.open_tree()
        files: list[FoundFile] = []
        others: list[str] = []
        for path in match_files(tree, pattern.parts):
            if self._is_wanted(path):
                file = tree.describe(path)
                files += [] if file is None else [file]
            elif _is_file(tree, path):
                others.append(path)
        if not files:
            raise ConfigError(
                "the folder holds no file of a known format",
                path=pattern.shown,
                expected=f"names that end in {', '.join(self._suffixes)}, plain or compressed",
                found=f"{count_of(len(others), 'other file', 'other files')}, such as {min(others)}"
                if others
                else "no file",
                action=f"to read files whatever their names are, write {strip_slashes(pattern.shown)}/**",
            )
        if others:
            self._warn(
                f"input.paths: {count_of(len(others), 'file', 'files')} below {pattern.shown} left out, such as "
                f"{min(others)}: a folder gives the files that end in {', '.join(self._suffixes)}, plain or "
                "compressed, and whose names and folders do not begin with _"
            )
        return Found(pattern, files)

    def _is_wanted(self, path: str) -> bool:
        *_, name = parts = path.split("/")
        found = find_format(name)
        is_known = found is not None and any(suffix in self._suffixes for suffix in found.suffixes)
        return is_known and name not in DATASETS_FILES and not any(part.startswith("_") for part in parts)


def _is_file(tree: Tree, path: str) -> bool:
    try:
        return tree.describe(path) is not None
    except ConfigError:  # a broken link or a pipe, which nobody asked for
        return True


def _match(pattern: InputPattern, tree: Tree) -> list[FoundFile]:
    paths = match_files(tree, pattern.parts)
    _refuse_literal(pattern, tree, paths)
    files = [file for path in paths if (file := tree.describe(path)) is not None]
    if files:
        return files
    hint = "; a [ that is part of a name is written [[]" if "[" in pattern.written else ""
    raise ConfigError(
        "the pattern matches no file",
        path=pattern.shown,
        expected="at least one",
        action="check input.paths; for the files of a folder write folder/; "
        f"* does not match names with a leading dot{hint}",
    )


def _find_file(pattern: InputPattern, tree: Tree) -> FoundFile | None:
    """The file of a path without glob characters; None for a folder."""
    (path,) = pattern.parts
    file = tree.describe(path)
    if file is not None and path:
        return file
    if not tree.is_folder(path):
        raise ConfigError(
            "the input does not exist",
            path=pattern.shown,
            expected="a file or a folder",
            found="a file of this name without the trailing slash" if file is not None else "nothing",
            action="remove the trailing slash" if file is not None else "check input.paths",
        )
    if find_backend(pattern.written).capabilities.buckets and not pattern.fixed and not path:
        raise ConfigError(
            "this input is all buckets",
            path=pattern.shown,
            expected="a bucket, or a folder in one",
            action=f"write {pattern.protocol}://bucket/",
        )
    return None


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
