"""A file's URL is read where it says, the root of the file system included."""

from __future__ import annotations

import pytest

from pipeline.storage.paths import split_file_url


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
