"""What a pattern fixes: the folder that it begins in, and the name that its text is counted under."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maskmill.pipeline.corpus.input_pattern import InputPattern, name_sources
from maskmill.pipeline.corpus.list_inputs import digest_inputs, list_inputs


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["corpus/de/*.jsonl"], ["de"]),
        (["corpus/de/a.jsonl"], ["de"]),
        (["/data/corpus/de/**/*.jsonl"], ["de"]),
        (["corpus/*/a.jsonl"], ["corpus"]),
        (["*.jsonl"], ["input"]),
        (["a.jsonl"], ["input"]),
        (["./*.jsonl"], ["input"]),
        (["../*.jsonl"], ["input"]),
        (["/*.jsonl"], ["input"]),
        (["../de/*.jsonl"], ["de"]),
        (["corpus/en/../de/./*.jsonl"], ["de"]),
        (["~/*.jsonl"], ["input"]),
        (["~/de/*.jsonl"], ["de"]),
        (["./~/*.jsonl"], ["~"]),
        (["file:///data/de/*.jsonl"], ["de"]),
        (["s3://bucket/*.jsonl"], ["bucket"]),
        (["s3://bucket/de/*.jsonl"], ["de"]),
        (["memory://x/de::1/*.jsonl"], ["de::1"]),
        (["https://host/a.jsonl?key=/SECRET/a.jsonl"], ["input"]),
        (["https://host/de/a.jsonl"], ["de"]),
        (["corpus/de/*.jsonl", "corpus/en/*.jsonl"], ["de", "en"]),
        (["corpus/de/*.jsonl", "corpus/de/*.txt"], ["de", "de"]),
        (["de/train/*.jsonl", "en/train/*.jsonl"], ["de/train", "en/train"]),
        (["train/*.jsonl", "en/train/*.jsonl", "books/*.jsonl"], ["train", "en/train", "books"]),
        (["a/de/x/*.jsonl", "b/de/x/*.jsonl", "b/en/x/*.jsonl"], ["a/de/x", "b/de/x", "en/x"]),
    ],
)
def test_the_source_is_the_last_folder_that_tells_patterns_apart(patterns: list[str], names: list[str]) -> None:
    assert name_sources([InputPattern.parse(pattern) for pattern in patterns]) == names


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_every_file_has_the_source_of_the_first_pattern_that_finds_it(tmp_path: Path) -> None:
    make(tmp_path, "de/a.txt", "de/deep/b.txt", "en/c.txt")
    warnings: list[str] = []
    patterns = [f"{tmp_path}/de/*.txt", f"{tmp_path}/**/*.txt", f"{tmp_path}/de/a.txt"]
    files = list_inputs(patterns, warn=warnings.append)
    assert {file.path: file.source for file in files} == {
        "de/a.txt": "de",
        f"{tmp_path.name}/de/deep/b.txt": tmp_path.name,
        f"{tmp_path.name}/en/c.txt": tmp_path.name,
    }
    assert warnings == [f"input.paths: {tmp_path}/de/a.txt adds no file: earlier patterns match all of its files"]
    assert {file.source for file in list_inputs(patterns, "books")} == {"books"}


def test_sources_do_not_depend_on_where_the_corpus_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for place in ("here", "over/there"):
        make(tmp_path / place, "corpus/de/a.txt", "corpus/en/b.txt")
        for root in (f"{tmp_path / place}/", "./", ""):
            monkeypatch.chdir(tmp_path / place)
            files = list_inputs([f"{root}corpus/de/*.txt", f"{root}corpus/en/*.txt"])
            found.append([(file.path, file.source, file.size_bytes) for file in files])
            assert digest_inputs(files) == digest_inputs(list_inputs(["corpus/de/*", "corpus/en/*"]))
    assert found == [[("de/a.txt", "de", 1), ("en/b.txt", "en", 1)]] * 6
    os.rename("corpus/de", "corpus/fr")
    assert digest_inputs(list_inputs(["corpus/fr/*", "corpus/en/*"])) != digest_inputs(files)


def test_two_names_of_one_file_are_read_and_warned_of(tmp_path: Path) -> None:
    make(tmp_path, "a/x.txt", "a/y.txt")
    (tmp_path / "link").symlink_to("a")
    os.link(tmp_path / "a" / "y.txt", tmp_path / "a" / "z.txt")
    warnings: list[str] = []
    files = list_inputs([f"{tmp_path}/*/*.txt"], warn=warnings.append)
    assert [file.path for file in files] == [f"{top}/{name}.txt" for top in ("a", "link") for name in "xyz"]
    (warning,) = warnings
    assert "4 files are read twice" in warning
    assert "documents.deduplicate" in warning
    list_inputs([f"{tmp_path}/a/[xy].txt"], warn=warnings.append)
    assert len(warnings) == 1
    list_inputs([f"{tmp_path}/*/x.txt"], warn=warnings.append)
    assert "1 file is read twice" in warnings[1]
    assert "link/x.txt, is also a/x.txt" in warnings[1]
