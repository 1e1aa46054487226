"""A folder and a list are the files that they stand for, named as the same files would be one by one."""

from __future__ import annotations

import gzip
import http.server
import os
import threading
import uuid
from functools import partial
from pathlib import Path

import datasets
import fsspec
import httpx2
import pytest
from huggingface_hub import HfApi
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.corpus import input_list
from maskmill.pipeline.corpus.find_inputs import MANY_IN_FOLDER
from maskmill.pipeline.corpus.formats.table import find_format, iter_documents
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.list_inputs import list_inputs
from maskmill.pipeline.corpus.open_input import OpenInput
from maskmill.schemas.errors import ConfigError, InputDataError, TransientStorageError
from maskmill.schemas.run_file import InputSection


@pytest.fixture(params=["local", "memory", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return f"{request.getfixturevalue('moto_url')}/{uuid.uuid4().hex}"
    return str(tmp_path) if request.param == "local" else f"memory://{uuid.uuid4().hex}"


def write(root: str, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        with fsspec.open(f"{root}/{name}", "wb", auto_mkdir=True) as file:
            file.write(data)


def names(files: list[InputFile]) -> list[str]:
    return [file.path for file in files]


NAMES = st.sampled_from(
    ["a.jsonl", "b.TXT.gz", "_c.csv", ".d.csv", "README.md", "state.json", "e.json", "data.parquet"]
)
FOLDERS = st.sampled_from(["", "x", "x/y", "_x", ".x", "x/_y", "d.jsonl"])
CORPORA = st.dictionaries(st.tuples(FOLDERS, NAMES).map("/".join), st.just(b"x"), min_size=1)
LEFT_OUT = ("state.json",)


def walk(files: dict[str, bytes]) -> tuple[list[str], list[str]]:
    """The oracle for a folder: the names that are read, and those that are left out with a word."""
    read, left_out = [], []
    for path in (name.lstrip("/") for name in files):
        parts = path.split("/")
        if any(part.startswith(".") for part in parts):
            continue
        is_read = find_format(path) and parts[-1] not in LEFT_OUT and not any(part.startswith("_") for part in parts)
        (read if is_read else left_out).append(path)
    return sorted(read), sorted(left_out)


@given(CORPORA)
def test_a_folder_is_all_files_of_a_known_format_below_it(files: dict[str, bytes]) -> None:
    root, warnings = f"memory://{uuid.uuid4().hex}/corpus", list[str]()
    write(root, {name.lstrip("/"): data for name, data in files.items()})
    read, left_out = walk(files)
    if not read:
        with pytest.raises(ConfigError, match="no file of a known format") as refused:
            list_inputs([root])
        assert (min(left_out) if left_out else "no file") in str(refused.value.found)
        return
    found = list_inputs([root], warn=warnings.append)
    assert names(found) == names(list_inputs([f"{root}/"])) == read
    assert {file.source for file in found} == {"corpus"}
    assert [f"such as {min(left_out)}:" in one for one in warnings] == [True] * bool(left_out)
    assert not left_out or f"{len(left_out)} file" in warnings[0]


def test_a_folder_on_every_store_is_the_pattern_of_its_files(root: str) -> None:
    write(root, {"de/a.jsonl": b"{}", "de/x/b.txt": b"x", "de/x/notes": b"x", "en/c.jsonl": b"{}"})
    warnings: list[str] = []
    found = list_inputs([f"{root}/de", f"{root}/en/"], warn=warnings.append)
    assert list(found) == list(list_inputs([f"{root}/de/**/*.*", f"{root}/en/*"]))
    assert names(found) == ["de/a.jsonl", "de/x/b.txt", "en/c.jsonl"]
    assert len(warnings) == 1
    assert "1 file below" in warnings[0]
    assert "such as x/notes" in warnings[0]
    assert names(list_inputs([f"{root}/de"], format_name="txt")) == ["x/b.txt"]
    with pytest.raises(ConfigError, match=r"expected names that end in \.csv.*2 other files|3 other files"):
        list_inputs([f"{root}/de"], format_name="csv")


def test_a_folder_whose_name_has_glob_characters_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(str(tmp_path), {"d/a [1]/b.jsonl": b"{}"})
    assert names(list_inputs(["d"])) == ["a [1]/b.jsonl"]
    monkeypatch.chdir(tmp_path / "d" / "a [1]")
    assert names(list_inputs(["."])) == ["b.jsonl"]
    assert [file.source for file in list_inputs(["."])] == ["input"]


def test_what_nobody_asked_for_in_a_folder_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}")
    (tmp_path / "broken").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")
    warnings: list[str] = []
    assert names(list_inputs([str(tmp_path)], warn=warnings.append)) == ["a.jsonl"]
    assert "2 files" in warnings[0]
    (tmp_path / "broken.jsonl").symlink_to(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="broken link"):
        list_inputs([str(tmp_path)])


LIST = "# the first\n\n  de/a.jsonl \r\nde/x/../x/b.txt\n\ten/*.jsonl\nen/\n"


def test_a_list_is_its_lines_relative_to_its_folder(root: str, tmp_path: Path) -> None:
    write(root, {"de/a.jsonl": b"{}", "de/x/b.txt": b"x", "en/c.jsonl": b"{}", "lists/l": b"", "l.txt": LIST.encode()})
    paths = [f"{root}/{path}" for path in ("de/a.jsonl", "de/x/b.txt", "en/*.jsonl", "en/")]
    warnings: list[str] = []
    found = list_inputs([f"@{root}/l.txt"], warn=warnings.append)
    assert list(found) == list(list_inputs(paths))
    assert [one for one in warnings if "1 line adds of" in one] == warnings
    write(root, {"lists/whole.list.gz": gzip.compress("\n".join(paths).encode())})
    assert list(list_inputs([f"@{root}/lists/whole.list.gz"])) == list(found)
    write(root, {"lists/up": b"../de/a.jsonl\n./../de/x/b.txt\n../en"})
    assert list(list_inputs([f"@{root}/lists/up"])) == list(found)
    (tmp_path / "elsewhere.txt").write_text("\n".join(paths))
    assert list(list_inputs([f"@{tmp_path}/elsewhere.txt"])) == list(found)


def test_many_lines_of_one_folder_cost_one_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    lines = [f"d/{number}.jsonl" for number in range(10 * MANY_IN_FOLDER)]
    write(root, dict.fromkeys(lines, b"{}") | {"l": "\n".join(lines).encode()})
    asked: list[str] = []
    filesystem = type(fsspec.filesystem("memory"))
    before = filesystem.info
    monkeypatch.setattr(filesystem, "info", lambda self, path, **more: asked.append(path) or before(self, path, **more))
    assert sorted(names(list_inputs([f"@{root}/l"]))) == sorted(line[2:] for line in lines)
    assert len(asked) < 2 * MANY_IN_FOLDER


@pytest.mark.parametrize(
    ("data", "place", "words"),
    [
        (b"a.jsonl\nmissing.jsonl\n", "line 2", r"the input does not exist.*missing\.jsonl"),
        (b"\n\nno/*.jsonl", "line 3", r"the pattern matches no file.*no/\*\.jsonl"),
        (b"a.jsonl\nempty/", "line 2", "does not exist"),
        (b"@l", "line 1", "a list cannot name another"),
        (b"a\0b", "line 1", "NUL"),
        (b"\xff.jsonl", "line 1", "not UTF-8"),
        (b"a.jsonl\n" + b"x" * (1 << 15), "line 2", "a line is too long"),
        (b"a.jsonl\n" * 9, "line 9", "more than 8 entries"),
        (b"zip://a::b", "line 1", "chained"),
        (b"# nothing\n\n", None, "the list names no file"),
        (b"", None, "an empty file"),
    ],
)
def test_a_line_that_leads_nowhere_is_named(
    root: str, data: bytes, place: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_list, "MAX_ENTRIES", 8)
    write(root, {"a.jsonl": b"{}", "list.txt": data})
    with pytest.raises(ConfigError, match=words) as refused:
        list_inputs([f"@{root}/list.txt"])
    assert refused.value.place == place
    assert str(refused.value.path).endswith("list.txt")
    assert refused.value.action


def test_a_list_that_is_none_is_refused(root: str) -> None:
    write(root, {"d/a.jsonl": b"{}", "l.gz": gzip.compress(b"d/a.jsonl")[:-6]})
    for written, words in (
        (f"@{root}/none", "does not exist"),
        (f"@{root}/d", "is a folder"),
        (f"@{root}/*", "one file"),
    ):
        with pytest.raises(ConfigError, match=words):
            list_inputs([written])
    with pytest.raises(InputDataError, match="read to its end"):
        list_inputs([f"@{root}/l.gz"])


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["a", "b c", "é", "#x", "@y"]), min_size=1, unique=True))
def test_a_name_with_a_mark_is_written_with_its_folder(stems: list[str]) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    write(root, {f"{stem}.jsonl": b"{}" for stem in stems})
    lines = "\n".join(f"./{stem}.jsonl" for stem in stems)
    write(root, {"l": lines.encode()})
    assert names(list_inputs([f"@{root}/l"])) == sorted(f"{stem}.jsonl" for stem in stems)


def test_a_list_of_the_web_is_relative_to_its_url(tmp_path: Path) -> None:
    write(str(tmp_path), {"de/a.jsonl": b"{}", "de/list.txt": b"a.jsonl\n/en/b.jsonl\n", "de/b.jsonl": b"{}"})

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with pytest.raises(ConfigError, match=r"de/list\.txt, line 2: .*does not exist"):
            list_inputs([f"@{url}/de/list.txt"])
        write(str(tmp_path), {"en/b.jsonl": b"{}"})
        found = list_inputs([f"@{url}/de/list.txt"])
        server.shutdown()
    assert [(file.url, file.path) for file in found] == [
        (f"{url}/de/a.jsonl", "de/a.jsonl"),
        (f"{url}/en/b.jsonl", "en/b.jsonl"),
    ]


@pytest.mark.parametrize("shards", [1, 3])
def test_what_datasets_saves_is_read_by_naming_its_folder(tmp_path: Path, shards: int) -> None:
    texts = [f"text {number} é" for number in range(20)]
    dataset = datasets.Dataset.from_dict({"text": texts, "id": list(range(20))})
    datasets.DatasetDict({"train": dataset}).save_to_disk(str(tmp_path / "saved"), num_shards={"train": shards})
    for shard in range(shards):
        dataset.shard(shards, shard).to_parquet(tmp_path / "hub" / f"train-{shard:05d}-of-{shards:05d}.parquet")
    for folder in ("saved", "hub"):
        warnings: list[str] = []
        files = list_inputs([str(tmp_path / folder)], warn=warnings.append)
        assert len(files) == shards
        assert len(warnings) == (folder == "saved")  # its JSON files are left out
        documents: list[tuple[str, bytes]] = []
        for file in files:
            with OpenInput(file) as opened:
                for block in iter_documents(file, opened, InputSection(paths=("x",), id_field="id")):
                    documents += zip(block.doc_id, block.text, strict=True)
        assert sorted(documents) == sorted((str(number), text.encode()) for number, text in enumerate(texts))


def test_a_hub_that_cannot_be_reached_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise httpx2.ConnectError("Name or service not known")

    monkeypatch.setattr(HfApi, "repo_info", refuse)
    for path in ("**/*.parquet", "data/", "a.parquet"):
        with pytest.raises(TransientStorageError, match=r"did not answer.*Name or service not known") as refused:
            list_inputs([f"hf://datasets/{uuid.uuid4().hex}/name/{path}"])
        assert "\n" not in str(refused.value)
