"""A file's URL is read where it says, the root of the file system included."""

from __future__ import annotations

import pickle
import uuid
from pathlib import Path

import pytest

from maskmill.pipeline.storage.paths import check_inside, join_path, split_file_url, split_url, strip_slashes
from maskmill.pipeline.storage.store import open_store
from maskmill.schemas.errors import ConfigError, ShardCorruptError


@pytest.mark.parametrize(
    ("url", "folder", "name"),
    [
        ("run.toml", ".", "run.toml"),
        ("/run.toml", "/", "run.toml"),
        ("a/b/run.toml", "a/b", "run.toml"),
        ("../run.toml", "..", "run.toml"),
        ("s3://bucket/run.toml", "s3://bucket", "run.toml"),
        ("s3://bucket/deep/run.toml", "s3://bucket/deep", "run.toml"),
    ],
)
def test_a_file_is_its_folder_and_its_name(url: str, folder: str, name: str) -> None:
    assert split_file_url(url) == (folder, name)


@pytest.mark.parametrize(
    ("url", "stripped", "inside"),
    [
        ("memory://", "memory://", "memory://a/b"),
        ("memory://x//", "memory://x", "memory://x/a/b"),
        ("s3://bucket/", "s3://bucket", "s3://bucket/a/b"),
        ("folder//", "folder", "folder/a/b"),
    ],
)
def test_slashes_go_but_for_those_of_a_protocol(url: str, stripped: str, inside: str) -> None:
    assert strip_slashes(url) == stripped
    assert (join_path(stripped, "a/b"), join_path(stripped, "")) == (inside, stripped)


def test_all_of_memory_is_a_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    name = uuid.uuid4().hex
    store = pickle.loads(pickle.dumps(open_store("memory://")))  # noqa: S301
    store.below(name).write_bytes("file", b"x")
    assert store.read_bytes(f"{name}/file") == b"x"
    assert store.list(name) == [f"{name}/file"]
    assert list(tmp_path.iterdir()) == []
    store.delete_tree(name)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("a/b", (None, "a/b")),
        ("/a::b", (None, "/a::b")),
        ("notes::x.jsonl", (None, "notes::x.jsonl")),
        ("a/s3://b", (None, "a/s3://b")),
        ("c:/a", (None, "c:/a")),
        ("data:x", (None, "data:x")),
        ("file:///a::b", ("file", "/a::b")),
        ("local://a", ("local", "a")),
        ("s3://bucket/a::b", ("s3", "bucket/a::b")),
        ("http://[::1]/a", ("http", "[::1]/a")),
        ("memory://", ("memory", "")),
    ],
)
def test_only_what_begins_with_a_protocol_is_a_url(url: str, expected: tuple[str | None, str]) -> None:
    assert split_url(url) == expected


@pytest.mark.parametrize("url", ["zip://a::s3://b/a.zip", "simplecache::s3://b/a", "zip://a::/local.zip", "tar://a"])
def test_a_chain_of_urls_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="chained URLs are not supported") as refused:
        open_store(url)
    assert (refused.value.path, refused.value.action) == (url, "unpack the archive and give the paths of its files")


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "s3://b/a", "a\\b", "a\0b", "a/", ".."]
)
def test_paths_that_leave_a_dataset_are_refused(path: str) -> None:
    with pytest.raises(ShardCorruptError, match="leaves the dataset"):
        check_inside(path, "dataset")


def test_paths_inside_a_dataset_are_taken() -> None:
    assert [check_inside(path, "d") for path in ("a", "a/b.arrow", "shard-0.arrow")]
