"""A pattern names what `glob.glob(pattern, recursive=True)` gives, on disk and in an object store alike."""

from __future__ import annotations

import glob
import os
import posixpath
import shutil
import uuid
from pathlib import Path

import fsspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from maskmill.pipeline.corpus.list_inputs import list_inputs
from maskmill.pipeline.corpus.open_input import OpenInput
from maskmill.schemas.errors import ConfigError

NAMES = ["a", "b", "ab", ".a", "[a]", "a::b", "*", "?", "a b", "é", "#", "a?b=c", "s3:", "~", "[", "!"]
FOLDERS = st.sampled_from(NAMES)
FILES = FOLDERS.map(lambda name: f"{name}.txt")
PATHS = st.builds(lambda folders, file: [*folders, file], st.lists(FOLDERS, max_size=3), FILES)
PARTS = st.one_of(
    st.sampled_from(
        ["*", "**", "?", "[a]", "[!a]", "a*", "*b", "[[]a]", "[", ".*", "[.]*", "***", "a::*", "??", "[]", "[!]"]
    ),
    FOLDERS,
)
LAST = st.one_of(PARTS, PARTS.map(lambda part: f"{part}.txt"), st.just("*.txt"), st.just("**"))
PATTERNS = st.builds(lambda parts, last: "/".join([*parts, last]), st.lists(PARTS, max_size=3), LAST)
BOUNDED = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder whose own name has glob characters."""
    inside = tmp_path / "w [1] *"
    inside.mkdir()
    monkeypatch.chdir(inside)
    return inside


def name_files(patterns: list[str]) -> set[str] | str:
    """URLs of what is found, or of what the error speaks, if it says that there is nothing."""
    try:
        return {file.url for file in list_inputs(patterns)}
    except ConfigError as error:
        return error.what


def make_tree(folder: Path, paths: list[list[str]]) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    os.chdir(folder)
    for parts in paths:
        path = folder.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes("/".join(parts).encode())
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue


def find_by_glob(pattern: str) -> set[str]:
    if not glob.has_magic(pattern) and os.path.isdir(pattern):
        pattern = f"{pattern}/**"  # a folder stands for all below it
    return {os.path.abspath(path) for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)}


EMPTY = {"the pattern matches no file", "the input does not exist", "the folder holds no file of a known format"}
MEANS_OTHERS = "this name has glob characters, so as a pattern it matches other files"


def assert_agrees(found: set[str] | str, expected: set[str]) -> None:
    if isinstance(found, set):
        assert found == expected
    elif found == MEANS_OTHERS:  # an error in place of other files than those that are named
        return
    else:
        assert found in EMPTY
        assert not expected


@given(st.lists(PATHS, min_size=1, max_size=8), PATTERNS)
@example([["a", "x.txt"], ["a", "b", "a.txt"]], "**/**/*.txt")
@example([["a::b", "a::b.txt"], ["a", "a.txt"]], "a::b/a::b.txt")
@example([[".a", "a.txt"], ["a", ".a.txt"]], "**/.*")
@BOUNDED
def test_a_pattern_names_what_glob_gives(folder: Path, paths: list[list[str]], pattern: str) -> None:
    make_tree(folder, paths)
    for root in ("", "./", f"{glob.escape(str(folder))}/"):
        if not root and pattern.startswith("~"):
            continue  # the user's home
        assert_agrees(name_files([f"{root}{pattern}"]), find_by_glob(f"{root}{pattern}"))


@given(st.lists(PATHS, min_size=1, max_size=8), PATTERNS)
@example([["a", "x.txt"], ["a", "b", "a.txt"]], "a/**/**/*.txt")
@example([["a::b", "a::b.txt"], ["a", "a.txt"]], "a::*/a::b.txt")
@BOUNDED
def test_keys_of_an_object_store_are_named_alike(folder: Path, paths: list[list[str]], pattern: str) -> None:
    make_tree(folder, paths)
    bucket, memory = uuid.uuid4().hex, fsspec.filesystem("memory")
    on_disk = [path for path in folder.rglob("*") if path.is_file()]
    for path in on_disk:
        memory.store[f"/{bucket}/{path.relative_to(folder)}"] = memory_file(path.read_bytes())
    found = name_files([f"memory://{bucket}/{pattern}"])
    if isinstance(found, set):
        found = {url.removeprefix(f"memory:///{bucket}/") for url in found}
    assert_agrees(found, {os.path.relpath(path, folder) for path in find_by_glob(f"./{pattern}")})
    for key in [key for key in memory.store if key.startswith(f"/{bucket}/")]:
        del memory.store[key]


def memory_file(data: bytes) -> object:
    from fsspec.implementations.memory import MemoryFile

    return MemoryFile(data=data)


@given(st.lists(PATHS, min_size=2, max_size=6), st.data(), PATTERNS)
@BOUNDED
def test_links_are_followed_as_glob_follows_them(
    folder: Path, paths: list[list[str]], data: st.DataObject, pattern: str
) -> None:
    make_tree(folder, paths)
    for name in data.draw(st.lists(FOLDERS, min_size=1, max_size=3, unique=True)):
        places = [folder, *sorted(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())]
        link = data.draw(st.sampled_from(places)) / f"{name}1"
        leads_to = data.draw(st.sampled_from([*places, folder / "nowhere"]))
        if not os.path.lexists(link) and not is_above(leads_to, link):
            link.symlink_to(leads_to)
    found = name_files([f"./{pattern}"])
    if found == "links form a cycle":
        assert find_cycle(folder)
        return
    if found == "this input is a broken link":
        return
    assert_agrees(found, find_by_glob(f"./{pattern}"))


def is_above(folder: Path, path: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def find_cycle(folder: Path) -> bool:
    """Whether following links anywhere below leads back to a folder above."""

    def visit(path: str, above: frozenset[str]) -> bool:
        real = os.path.realpath(path)
        if real in above:
            return True
        inner = [posixpath.join(path, name) for name in os.listdir(path)]
        return any(visit(below, above | {real}) for below in inner if os.path.isdir(below))

    return visit(str(folder), frozenset())


def test_a_cycle_of_links_is_refused_by_name(folder: Path) -> None:
    make_tree(folder, [["corpus", "a", "x.txt"]])
    (folder / "corpus" / "a" / "loop").symlink_to(folder / "corpus")
    with pytest.raises(ConfigError, match="links form a cycle") as refused:
        list_inputs(["corpus/**/*.txt"])
    assert refused.value.path == f"{folder}/corpus/a/loop"
    assert f"{folder}/corpus" in str(refused.value.found)
    # Without ** a pattern goes down as many folders as it has components.
    assert [file.path for file in list_inputs(["corpus/*/x.txt"])] == ["a/x.txt"]
    (folder / "corpus" / "self.txt").symlink_to("self.txt")
    for pattern in ("corpus/*.txt", "corpus/self.txt", "corpus/self*/*.txt"):
        with pytest.raises(ConfigError, match="links form a cycle") as refused:
            list_inputs([pattern])
        assert refused.value.path == f"{folder}/corpus/self.txt"


def test_a_name_with_signs_of_a_url_is_opened_as_it_is(folder: Path) -> None:
    names = ["notes::x.txt", "notes", "a?b=c.txt", "a#b.txt", "s3:.txt", "%20.txt", "a:b@c.txt", "{a}.txt", "~.txt"]
    make_tree(folder, [["corpus", name] for name in names] + [["corpus", "s3:", "bucket.txt"]])
    files = list_inputs(["corpus/*.txt", "corpus/s3:/*.txt", f"file://{glob.escape(str(folder))}/corpus/notes::x.txt"])
    assert len(files) == len(names)
    for file in files:
        with OpenInput(file) as opened:
            assert f"/{opened.read().decode()}".endswith(f"/{file.path}")


def test_a_key_with_two_colons_is_opened_as_it_is(moto_url: str) -> None:
    for bucket in (f"memory://{uuid.uuid4().hex}", moto_url):
        _, _, root = bucket.partition("://")
        store = fsspec.filesystem(bucket.partition("://")[0])
        prefix = f"/{root}" if bucket.startswith("memory") else root
        for key in ("deep/notes::x.txt", "deep/notes", "deep/a[1].txt", "deep/.hidden.txt", "deep/in/er::.txt"):
            store.pipe_file(f"{prefix}/{key}", key.encode())
        for pattern, expected in {
            "deep/*.txt": ["a[1].txt", "notes::x.txt"],
            "deep/notes::x.txt": ["notes::x.txt"],
            "deep/**/*::*": ["in/er::.txt", "notes::x.txt"],
            "deep/a[[]1].txt": ["a[1].txt"],
            "deep/[.]*": "the pattern matches no file",
            "deep/.*": [".hidden.txt"],
            "*/*/*.txt": ["deep/in/er::.txt"],
            "d*/notes::x.txt": ["deep/notes::x.txt"],
            "d*/x.txt": "the pattern matches no file",
            "deep/a[1].txt": MEANS_OTHERS,
        }.items():
            if isinstance(expected, str):
                with pytest.raises(ConfigError, match=expected[:20]):
                    list_inputs([f"{bucket}/{pattern}"])
                continue
            files = list_inputs([f"{bucket}/{pattern}"])
            assert [file.path for file in files] == expected
            for file in files:
                with OpenInput(file) as opened:
                    assert opened.read().decode().endswith(file.path)


def test_a_name_with_brackets_is_never_taken_for_another(folder: Path) -> None:
    make_tree(folder, [["d [1]", "a.txt"], ["d 1", "a.txt"], ["b[1].txt"], ["b1.txt"]])
    for pattern, named in {"d [1]/*.txt": "d [1]", "d [1]/a.txt": "d [1]/a.txt", "b[1].txt": "b[1].txt"}.items():
        with pytest.raises(ConfigError, match=r"glob characters.*\[\[\]") as refused:
            list_inputs([pattern])
        assert refused.value.path == f"{folder}/{named}"
        (file,) = list_inputs([glob.escape(named) + ("/*.txt" if named == "d [1]" else "")])
        assert file.url.startswith(f"{folder}/{named}")
    with pytest.raises(ConfigError, match=r"matches no file.*\[\[\]"):
        list_inputs(["c[1].txt"])
    os.chdir(folder / "d [1]")
    (file,) = list_inputs(["a.txt"])
    assert Path(file.url).read_text() == "d [1]/a.txt"


@pytest.mark.parametrize("pattern", ["**/*.txt", "*/*.txt", "corpus/*.txt"])
def test_a_folder_that_may_not_be_read_is_refused_by_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    make_tree(folder, [["corpus", "a.txt"]])
    scan = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("/corpus"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConfigError, match="no permission") as refused:
        list_inputs([pattern])
    assert refused.value.path == f"{folder}/corpus"


@pytest.mark.parametrize("pattern", ["**", "**/*.txt", "a/**/*.txt", "*/*.txt", "*.txt", "a/b.txt", "a.txt"])
def test_a_bucket_that_is_not_there_has_no_file(moto_url: str, pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"the pattern matches no file|the input does not exist") as refused:
        list_inputs([f"s3://no-such-bucket-{uuid.uuid4().hex}/{pattern}"])
    assert str(refused.value.path).endswith(f"/{pattern}")
    for url in (moto_url, f"{moto_url}/"):
        with pytest.raises(ConfigError, match=r"the input does not exist"):
            list_inputs([url])


def test_a_key_in_a_folder_without_a_name_is_refused_by_name(moto_url: str) -> None:
    store = fsspec.filesystem("s3")
    for key in ("a/b.txt", "a//c.txt", "top.txt"):
        store.pipe_file(f"{moto_url.removeprefix('s3://')}/{key}", b"x")
    assert [file.path for file in list_inputs([f"{moto_url}/*.txt"])] == ["top.txt"]
    assert [file.path for file in list_inputs([f"{moto_url}/a/*.txt"])] == ["b.txt"]
    for pattern in ("**", "a/**", "a/*/*.txt"):
        with pytest.raises(ConfigError, match="two slashes in a row"):
            list_inputs([f"{moto_url}/{pattern}"])
