"""Inputs are found, named and ordered the same wherever the corpus lies."""

from __future__ import annotations

import gzip
import http.server
import io
import os
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.list_inputs import digest_inputs, list_inputs
from maskmill.schemas.errors import ConfigError

FILES = {
    "corpus/b.jsonl": 3,
    "corpus/a.jsonl": 1,
    "corpus/A.JSONL.GZ": 2,
    "corpus/é.txt": 4,
    "corpus/a-b.ndjson.zst": 5,
    "corpus/deep/a.jsonl": 6,
    "corpus/deep/er/c.txt.bz2": 7,
    "corpus/deep/er/c.txt.xz": 0,
}
Corpus = str


@pytest.fixture(params=["local", "memory", "s3"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Corpus:
    if request.param == "s3":
        url = str(request.getfixturevalue("moto_url"))
    else:
        url = str(tmp_path) if request.param == "local" else f"memory://{uuid.uuid4().hex}"
    for name, size in FILES.items():
        if request.param == "local":
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        with fsspec.open(f"{url}/{name}", "wb") as file:
            file.write(b"x" * size)
    return url


def names(files: list[InputFile]) -> list[str]:
    return [file.path for file in files]


def test_a_glob_finds_its_files_by_code_point_of_their_relative_paths(corpus: Corpus) -> None:
    files = list_inputs([f"{corpus}/corpus/*.*"])
    assert names(files) == ["A.JSONL.GZ", "a-b.ndjson.zst", "a.jsonl", "b.jsonl", "é.txt"]
    assert [file.size_bytes for file in files] == [2, 5, 1, 3, 4]
    for file in files:
        with fsspec.open(file.url, "rb") as opened:
            assert len(opened.read()) == file.size_bytes


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["corpus/**/*.jsonl"], ["a.jsonl", "b.jsonl", "deep/a.jsonl"]),
        (["corpus/deep/**"], ["a.jsonl", "er/c.txt.bz2", "er/c.txt.xz"]),
        (["corpus/[ab].jsonl"], ["a.jsonl", "b.jsonl"]),
        (["corpus/?.jsonl"], ["a.jsonl", "b.jsonl"]),
        (["c*/*.jsonl"], ["corpus/a.jsonl", "corpus/b.jsonl"]),
        (["corpus/b.jsonl", "corpus/*.jsonl"], ["a.jsonl", "b.jsonl"]),
        (["corpus/*.jsonl", "corpus/b.jsonl", "corpus/b.*"], ["a.jsonl", "b.jsonl"]),
        (["corpus/deep/a.jsonl"], ["a.jsonl"]),
        (
            ["corpus/deep/a.jsonl", "corpus/**/*.jsonl", "corpus/b.jsonl"],
            ["corpus/a.jsonl", "corpus/b.jsonl", "deep/a.jsonl"],
        ),
        (["corpus/a.jsonl", "corpus/deep/a.jsonl"], ["corpus/a.jsonl", "deep/a.jsonl"]),
        (["corpus/b.jsonl", "corpus/deep/a.jsonl"], ["corpus/b.jsonl", "deep/a.jsonl"]),
        (["corpus/**/a.jsonl", "corpus/deep/a.jsonl"], ["corpus/a.jsonl", "corpus/deep/a.jsonl"]),
        (["corpus/*.json"], "the pattern matches no file"),
        (["corpus/de*"], "the pattern matches no file"),
        (["corpus/missing.jsonl"], "the input does not exist"),
        (["corpus/deep"], ["a.jsonl", "er/c.txt.bz2", "er/c.txt.xz"]),
        (["corpus/deep/"], ["a.jsonl", "er/c.txt.bz2", "er/c.txt.xz"]),
        (
            ["corpus/deep/", "corpus/b.jsonl"],
            ["corpus/b.jsonl", "deep/a.jsonl", "deep/er/c.txt.bz2", "deep/er/c.txt.xz"],
        ),
        (["corpus/deep/a.jsonl/"], "the input does not exist"),
        (["corpus/missing/"], "the input does not exist"),
    ],
)
def test_patterns_give_these_names(corpus: Corpus, patterns: list[str], expected: list[str] | str) -> None:
    urls = [f"{corpus}/{pattern}" for pattern in patterns]
    if isinstance(expected, list):
        assert names(list_inputs(urls)) == expected
        return
    with pytest.raises(ConfigError, match=expected) as refused:
        list_inputs(urls)
    assert refused.value.path
    assert refused.value.found or refused.value.expected
    assert refused.value.action


def test_every_file_of_several_folders_has_a_name_of_its_own(corpus: Corpus) -> None:
    for name in ("x/de/train/part-0.jsonl", "x/en/train/part-0.jsonl", "x/en/train/deep/part-1.jsonl"):
        if "://" not in corpus:
            (Path(corpus) / name).parent.mkdir(parents=True, exist_ok=True)
        with fsspec.open(f"{corpus}/{name}", "wb") as file:
            file.write(b"x")
    patterns = [f"{corpus}/x/de/train/*.jsonl", f"{corpus}/x/en/train/**/*.jsonl"]
    expected = ["de/train/part-0.jsonl", "en/train/deep/part-1.jsonl", "en/train/part-0.jsonl"]
    assert names(list_inputs(patterns)) == names(list_inputs(patterns, "all")) == expected
    assert names(list_inputs(patterns[1:])) == ["deep/part-1.jsonl", "part-0.jsonl"]


def test_files_that_no_folder_of_a_pattern_tells_apart_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("de/a.jsonl", "here/de/a.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ConfigError, match=r"two inputs have the same relative path a\.jsonl") as refused:
        list_inputs(["de/*.jsonl", "../de/*.jsonl"])
    assert refused.value.found == f"{tmp_path}/here/de/a.jsonl and {tmp_path}/de/a.jsonl"
    assert "absolute" in str(refused.value.action)
    assert names(list_inputs([f"{tmp_path}/here/de/*.jsonl", f"{tmp_path}/de/*.jsonl"])) == [
        "here/de/a.jsonl",
        f"{tmp_path.name}/de/a.jsonl",
    ]


def test_a_url_without_a_bucket_is_told_to_name_one(corpus: Corpus) -> None:
    if corpus.startswith("s3"):
        with pytest.raises(ConfigError, match="this input is all buckets") as refused:
            list_inputs(["s3://"])
        assert refused.value.action == "write s3://bucket/"


def test_names_do_not_depend_on_where_the_corpus_lies(corpus: Corpus, tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where"
    for name, size in FILES.items():
        (elsewhere / name).parent.mkdir(parents=True, exist_ok=True)
        (elsewhere / name).write_bytes(b"y" * size)
    here, there = (list_inputs([f"{url}/corpus/**/*.*"]) for url in (corpus, str(elsewhere)))
    assert names(here) == names(there)
    assert digest_inputs(here) == digest_inputs(there)


def test_a_file_at_the_root_of_a_store_has_a_relative_name() -> None:
    name = f"{uuid.uuid4().hex}.jsonl"
    fsspec.filesystem("memory").pipe_file(f"/{name}", b"x")
    assert names(list_inputs([f"memory://{name}"])) == [name]
    assert names(list_inputs([f"memory://{name[:12]}*"])) == [name]


def test_a_relative_local_path_is_read_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert names(list_inputs(["a.jsonl"])) == names(list_inputs(["*.jsonl"])) == ["a.jsonl"]


def test_a_link_to_a_file_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"xyz")
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "a.jsonl")
    (tmp_path / "folder").mkdir()
    (tmp_path / "c.jsonl").symlink_to(tmp_path / "folder")
    for files in (list_inputs([f"{tmp_path}/*"]), list_inputs([f"{tmp_path}/a.jsonl", f"{tmp_path}/b.jsonl"])):
        assert [(file.path, file.size_bytes) for file in files] == [("a.jsonl", 3), ("b.jsonl", 3)]
    (tmp_path / "d.jsonl").symlink_to(tmp_path / "nothing")
    for pattern in ("*", "d.jsonl"):
        with pytest.raises(ConfigError, match=r"broken link|the input does not exist"):
            list_inputs([f"{tmp_path}/{pattern}"])


@pytest.mark.parametrize("written", ["other/l/../x.jsonl", "other/l/../*.jsonl", "./other/./l/..//x.jsonl"])
def test_the_folder_above_a_link_is_that_of_what_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    for name in ("real/sub/y.jsonl", "real/x.jsonl", "other/x.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "other" / "l").symlink_to("../real/sub")
    monkeypatch.chdir(tmp_path)
    (file,) = list_inputs([written])
    assert file.url == f"{os.path.realpath(tmp_path)}/real/x.jsonl"
    assert Path(file.url).read_bytes() == Path(written.replace("*", "x")).read_bytes() == b"real/x.jsonl"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.doc", ".doc"),
        ("a.jsonl.rar", ".rar"),
        ("a", "no suffix"),
        ("a.gz", ".gz"),
        ("c4.html.gz", ".html.gz"),
        (".jsonl", "no suffix"),
        ("a.txt.gz.gz", ".gz.gz"),
    ],
)
def test_an_unknown_format_is_refused_by_name(tmp_path: Path, name: str, found: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ConfigError, match="unknown input format") as refused:
        list_inputs([str(tmp_path / name)])
    assert str(refused.value.path).endswith(f"/{name}")
    assert ".jsonl" in str(refused.value.expected)
    assert refused.value.found == found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jsonl", ("jsonl", None)),
        ("a.NDJSON.GZ", ("jsonl", "gzip")),
        ("a.b.txt.zst", ("txt", "zstd")),
        ("a.txt.bz2", ("txt", "bz2")),
        ("a.txt.xz", ("txt", "xz")),
        ("a.json", ("jsonl", None)),
        ("a.parquet", ("parquet", None)),
        ("a.arrow.zst", ("arrow", "zstd")),
        ("a.csv.gz", ("csv", "gzip")),
        ("a.TSV", ("tsv", None)),
    ],
)
def test_format_and_compression_are_the_suffixes(name: str, expected: tuple[str, str | None]) -> None:
    file = InputFile("", name, 10)
    assert (file.format, file.compression) == expected
    assert file.assumed_text_bytes == (40 if expected[1] or expected[0] == "parquet" else 10)


def _write_table(kind: str) -> bytes:
    table, written = pa.table({"text": ["a"]}), io.BytesIO()
    if kind == "parquet":
        pq.write_table(table, written)
    else:
        with (pa.ipc.new_file if kind == "file" else pa.ipc.new_stream)(written, table.schema) as writer:
            writer.write_table(table)
    return written.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (_write_table("parquet"), ("parquet", None)),
        (_write_table("file"), ("arrow", None)),
        (_write_table("stream"), ("arrow", None)),
        (gzip.compress(_write_table("stream")), ("arrow", "gzip")),
        (b'\n {"text": "a"}\n', ("jsonl", None)),
        (pa.compress(b'{"text": "a"}', codec="zstd", asbytes=True), ("jsonl", "zstd")),
    ],
)
def test_the_first_bytes_tell_the_format_where_the_suffix_does_not(
    tmp_path: Path, data: bytes, expected: tuple[str, str | None]
) -> None:
    for name in ("part-00000", "part.data"):
        (tmp_path / name).write_bytes(data)
        (file,) = list_inputs([str(tmp_path / name)])
        assert (file.format, file.compression) == expected


def test_a_format_that_is_configured_is_that_of_all_files(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"text")
    (tmp_path / "b.parquet.gz").write_bytes(b"text")
    files = list_inputs([f"{tmp_path}/*"], format_name="txt")
    assert [(file.format, file.compression) for file in files] == [("txt", None), ("txt", "gzip")]
    with pytest.raises(ConfigError, match="not compressed as a whole"):
        list_inputs([f"{tmp_path}/*"])


def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff.jsonl", "wb"):
        pass
    with pytest.raises(ConfigError, match="not UTF-8") as refused:
        list_inputs([f"{tmp_path}/*"])
    str(refused.value).encode()


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("zip://a.jsonl::s3://bucket/a.zip", "chained URLs"),
        ("nonsense://a.jsonl", "no file system for this URL"),
        ("s3://key:pass@bucket/a.jsonl", "credentials do not belong in a URL"),
    ],
)
def test_what_cannot_be_read_is_refused(url: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as refused:
        list_inputs([url])
    assert "pass" not in str(refused.value)


Change = Callable[[InputFile], InputFile]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda file: InputFile("elsewhere", file.path, file.size_bytes), True),
        (lambda file: InputFile(file.url, "b", file.size_bytes), False),
        (lambda file: InputFile(file.url, file.path, 4), False),
    ],
)
def test_the_digest_covers_names_and_sizes(change: Change, same: bool) -> None:
    file = InputFile("memory://a", "a", 3)
    assert (digest_inputs([file]) == digest_inputs([change(file)])) == same
    assert digest_inputs([file]) != digest_inputs([file, file])
    assert digest_inputs([InputFile("", "a", 11), InputFile("", "b", 1)]) != digest_inputs([InputFile("", "a", 1)])


def test_a_link_changes_with_what_it_leads_to(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "a.txt"
    target.parent.mkdir()
    target.write_text("text")
    (tmp_path / "a.txt").symlink_to(target)
    patterns = (f"{tmp_path}/*.txt", f"{tmp_path}/a.txt")
    before = [list_inputs([pattern])[0].mark for pattern in patterns]
    os.utime(target, (1, 1))
    assert all(list_inputs([pattern])[0].mark != mark for pattern, mark in zip(patterns, before, strict=True))


@pytest.mark.parametrize("query", ["?token=SECRET&f=x.txt", "?SECRET", "?sig=SECRET/y.txt", "?a=b?c=SECRET[0]*"])
def test_a_query_is_in_no_name_and_no_message(query: str) -> None:
    """Signed URLs: what is after the `?` opens the file, and is the next day another."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(b"text")

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"http://127.0.0.1:{server.server_address[1]}"
        (file,) = list_inputs([f"{host}/deep/a.txt.gz{query}"])
        with pytest.raises(ConfigError, match="unknown input format") as caught:
            list_inputs([f"{host}/deep/a.doc{query}"])
        named = list_inputs([f"{host}/get?file=b.jsonl&key=SECRET", f"{host}/get?key=SECRET&file=to/a.jsonl"])
        server.shutdown()
    assert [file.path for file in named] == ["a.jsonl", "b.jsonl"]
    assert (file.path, file.format, file.compression, file.size_bytes) == ("a.txt.gz", "txt", "gzip", 4)
    assert file.url.endswith(query)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("pattern", ["pipe.txt", "*", "link.txt"])
def test_what_is_neither_file_nor_folder_is_refused(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "a.txt").write_text("text")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "link.txt").symlink_to(tmp_path / "pipe.txt")
    with pytest.raises(ConfigError, match=r"(pipe|link)\.txt: this input is (neither a file nor a folder|a link to)"):
        list_inputs([f"{tmp_path}/{pattern}"])


def test_a_server_that_does_not_answer_is_told_from_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"the input does not exist; expected a file; found .*onnect"):
        list_inputs(["http://127.0.0.1:9/x.jsonl"])
    with pytest.raises(ConfigError, match="a path cannot contain a NUL byte"):
        list_inputs(["folder/\0.txt"])
