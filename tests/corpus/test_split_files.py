"""Files that are read in parts give the documents, ids and rejected inputs that they give whole, wherever cut."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from maskmill.pipeline.corpus import open_input
from maskmill.pipeline.corpus.formats.table import iter_documents, name_format
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.open_input import OpenInput
from maskmill.pipeline.corpus.plan import MIB, Buckets
from maskmill.pipeline.corpus.plan_map_units import RANGE_BYTES, MapUnit, explain_whole, plan_map_units
from maskmill.schemas.errors import InputDataError
from maskmill.schemas.run_file import InputSection
from tests.corpus.run_stages import Ran, run_both_stages

MAX_BYTES = 24
"""Of a document in these tests."""
Found = tuple[list[Any], list[Any]]

LINES = st.sampled_from(
    [
        b'{"text": "one"}',
        b'{"text": "two", "id": "own"}',
        b'{"text": "three", "id": "a.jsonl#1"}',
        b'{"text": "' + b"long" * 9 + b'"}',
        b"broken",
        b"",
        b" \t",
        "\u3000".encode(),
        b"\xff",
        b"\xef\xbb\xbf",
        b"word",
        b"word " * 9,
        b" " * 60,
    ]
)
ENDS = st.sampled_from([b"\n", b"\n", b"\r\n", b"\n\n", b"\n\r\n", b"\r", b"<|end|>", b"<|e", b"", b"nd|>\n"])
TEXTS = st.builds(
    lambda start, parts, last: start + b"".join(line + end for line, end in parts) + last,
    st.sampled_from([b"", b"\xef\xbb\xbf", b"\xef\xbb\xbf\xef\xbb\xbf"]),
    st.lists(st.tuples(LINES, ENDS), max_size=14),
    st.sampled_from([b"", b"last", b"\n"]),
)
WAYS = {
    "jsonl": ("a.jsonl", {"id_field": "id"}),
    "line": ("a.txt", {"text_document": "line"}),
    "blank line": ("a.txt", {"text_document": "blank_line"}),
    "separator": ("a.txt", {"text_document": "separator", "text_separator": "<|end|>"}),
    "line ends between": ("a.txt", {"text_document": "separator", "text_separator": "d\n"}),
    "byte order mark between": ("a.txt", {"text_document": "separator", "text_separator": "\ufeffw"}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def input_section(**keys: Any) -> InputSection:
    """Settings with a smaller limit than a run file may have."""
    return InputSection(paths=["a"], **keys).model_copy(update={"max_document_mb": MAX_BYTES / MIB})


def store(folder: Path, name: str, data: bytes) -> InputFile:
    path = folder / name
    path.write_bytes(data)
    return InputFile(str(path), name, len(data), source="folder")


def plan(file: InputFile, section: InputSection, range_bytes: int) -> list[MapUnit]:
    return list(plan_map_units([file], MIB, Buckets(1, 0), [section], range_bytes=range_bytes))


def read(file: InputFile, section: InputSection, units: list[MapUnit]) -> Found:
    """Documents and rejected inputs, their places counted in the whole file."""
    documents: list[Any] = []
    rejects: list[Any] = []
    before = 0
    data = Path(file.url).read_bytes()
    for unit in units:
        new_boundary = name_format(file.format).split(section).new_boundary
        rows = 0
        with OpenInput(file, unit.start, unit.stop, new_boundary) as opened:
            for block in iter_documents(file, opened, section):
                rows += len(block.line) + len(block.rejects)
                for doc_id, source, line, text, is_numbered in zip(
                    block.doc_id, block.source, block.line, block.text, block.is_numbered, strict=True
                ):
                    assert not is_numbered or doc_id == f"{file.path}#{line}"
                    place = before + line
                    documents.append((f"{file.path}#{place}" if is_numbered else doc_id, source, place, text))
                for reject in block.rejects:
                    if opened.line_ends is not None:
                        assert data[: opened.first_byte].count(b"\n") == before
                    rejects.append((before + reject.line, reject.reason, reject.size_bytes, reject.content))
        before += rows if opened.line_ends is None else opened.line_ends
    return documents, rejects


@pytest.mark.parametrize("way", WAYS)
@given(TEXTS, st.integers(1, 60), st.integers(1, 40))
@example(b"a\n", 1, 1)
@example(b"long line without an end" * 8, 5, 3)
@example(b"a<|end|>\nb\n<|end|>" * 9, 4, 1)
@example(b"a\n \r\nb\r\n\r\n\r\nc\n" * 9, 7, 2)
@example(b"a" * 9 + b"\n" + b" " * (MAX_BYTES + 1) + b"\r\nb\n" + b" " * MAX_BYTES + b"\r\nc", 4, 5)
@settings(max_examples=250, deadline=None)
def test_parts_of_a_text_are_the_whole(way: str, folder: Path, data: bytes, range_bytes: int, read_bytes: int) -> None:
    name, keys = WAYS[way]
    section, file = input_section(**keys), store(folder, name, data)
    units = plan(file, section, range_bytes)
    assert len(units) == max(1, min(-(-len(data) // range_bytes), len(data) // 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_input, "READ_BYTES", read_bytes)
        assert read(file, section, units) == read(file, section, plan(file, section, 1 << 30))


def write_parquet(table: pa.Table, group_rows: int) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=group_rows)
    return sink.getvalue()


def write_arrow(new: Callable[..., Any]) -> Callable[[pa.Table, int], bytes]:
    def write(table: pa.Table, batch_rows: int) -> bytes:
        sink = io.BytesIO()
        with new(sink, table.schema) as writer:
            writer.write_table(table, batch_rows)
        return sink.getvalue()

    return write


TABLES: dict[str, tuple[str, Callable[[pa.Table, int], bytes]]] = {
    "parquet": ("a.parquet", write_parquet),
    "arrow file": ("a.arrow", write_arrow(pa.ipc.new_file)),
    "arrow stream": ("a.arrow", write_arrow(pa.ipc.new_stream)),
}


@pytest.mark.parametrize("kind", TABLES)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "bc", "", "x" * 30, None]), st.sampled_from(["own", None])), max_size=40),
    st.integers(1, 12),
    st.integers(1, 3000),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_parts_of_a_table_are_the_whole(
    kind: str, folder: Path, rows: list[Any], group_rows: int, range_bytes: int, is_dictionary: bool
) -> None:
    text = pa.array([text for text, _ in rows], pa.string())
    table = pa.table(
        {
            "text": text.dictionary_encode() if is_dictionary else text,
            "id": pa.array([doc_id for _, doc_id in rows], pa.string()),
        }
    )
    name, write = TABLES[kind]
    file, section = store(folder, name, write(table, group_rows)), input_section(id_field="id")
    units = plan(file, section, range_bytes)
    assert read(file, section, units) == read(file, section, plan(file, section, 1 << 40))


@pytest.mark.parametrize("cut", [10, 1, 6])
def test_a_part_of_a_damaged_arrow_file_is_refused(cut: int, folder: Path) -> None:
    data = write_arrow(pa.ipc.new_file)(pa.table({"text": ["a"] * 100}), 10)[:-cut]
    file, section = store(folder, "a.arrow", data), input_section()
    for unit in plan(file, section, 400):
        with pytest.raises(InputDataError, match="cannot be read to its end"):
            read(file, section, [unit])


def test_what_is_before_a_part_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, section = store(folder, "a.txt", b"some text\n" * 1000), input_section(text_document="line")
    asked: list[tuple[int, int]] = []

    class Watched(open_input._StoredBytes):
        def read(self, size: int = -1, /) -> bytes:
            asked.append((self.position, size))
            return super().read(size)

    monkeypatch.setattr(open_input, "_StoredBytes", Watched)
    monkeypatch.setattr(open_input, "READ_BYTES", 100)
    for unit in plan(file, section, 2500):
        asked.clear()
        read(file, section, [unit])
        stop = unit.stop or 0
        assert asked[0][0] == max(0, unit.start - 1)
        assert all(place < stop + 10 for place, _ in asked)
        assert len(asked) <= (stop - unit.start) // 100 + 2


@pytest.mark.parametrize("way", ["line", "blank line", "separator", "jsonl"])
def test_a_document_over_many_parts_is_read_once_and_looked_at_twice(
    way: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a file without a boundary, each part would read on to the end of the file."""
    name, keys = WAYS[way]
    file, section = store(folder, name, b"text " * 20_000), input_section(**keys)
    sizes: list[int] = []

    class Watched(open_input._StoredBytes):
        def read(self, size: int = -1, /) -> bytes:
            data = super().read(size)
            sizes.append(len(data))
            return data

    monkeypatch.setattr(open_input, "_StoredBytes", Watched)
    monkeypatch.setattr(open_input, "READ_BYTES", 100)
    units = plan(file, section, 2500)
    assert read(file, section, units)[1][0][2] >= 99_999
    assert len(units) == 40
    assert sum(sizes) <= 2 * file.size_bytes + 200 * len(units)


def lines_of(number: int) -> Iterator[bytes]:
    draw = random.Random(number)
    for line in range(300):
        text = f"text {draw.randrange(100)}" if line % 3 else f"text {number} {line}"
        value = {"text": text} | ({"id": f"id {line}"} if line % 5 == 0 else {})
        yield b"broken" if line % 41 == 7 else b"" if line % 29 == 3 else json.dumps(value).encode()


def run(range_bytes: int | None, files: dict[str, bytes]) -> Ran:
    sections: dict[str, Any] = {
        "input": {"id_field": "id", "max_quarantined": 0.5},
        "documents": {"shard_mb": 0.002, "held_out": 0.1},
    }
    return run_both_stages(files, sections, range_bytes=range_bytes)


@pytest.mark.parametrize("range_bytes", [1, 300, 5000])
def test_stages_write_the_same_shards_for_any_parts(range_bytes: int) -> None:
    files = {f"{number}.jsonl": b"\r\n".join(lines_of(number)) for number in range(3)} | {
        "empty.jsonl": b" \n" * 50,
        "small.jsonl": b'{"text": "small"}',
    }
    whole, parts = run(None, files), run(range_bytes, files)
    assert len(parts.map_units) > len(whole.map_units)
    assert parts.shards() == whole.shards()
    assert +parts.counts == +whole.counts
    assert whole.counts["empty files"] == 1
    places = {ran is parts: list_places(ran, files) for ran in (whole, parts)}
    assert places[True] == places[False]


def list_places(ran: Ran, files: dict[str, bytes]) -> list[tuple[str, int, bytes]]:
    """File, line in the whole file and bytes of each rejected input."""
    rows = [row for path in ran.output.list("quarantine") for row in ran.read_table(path).to_pylist()]
    return sorted(
        (row["path"], files[row["path"]][: row["first_byte"]].count(b"\n") + row["line"], row["content"])
        for row in rows
    )


@given(st.lists(st.integers(0, 5 * RANGE_BYTES), min_size=1, max_size=9), st.booleans())
def test_ranges_cover_each_file_in_order_and_are_even(sizes: list[int], appendable: bool) -> None:
    files = [InputFile("", f"{number}.jsonl", size) for number, size in enumerate(sizes)]
    units = plan_map_units(files, 64 * MIB, Buckets(1, 0), [InputSection(paths=["a"])], appendable=appendable)
    covered: list[int] = []
    for unit in units:
        if not unit.is_part:
            covered += unit.sizes_bytes
            assert max(unit.sizes_bytes) <= RANGE_BYTES
        else:
            assert unit.sizes_bytes[0] > RANGE_BYTES
            assert unit.start == (covered.pop() if unit.start else 0)
            covered.append(unit.stop or 0)
            assert RANGE_BYTES // 2 <= (unit.stop or 0) - unit.start == unit.assumed_text_bytes <= RANGE_BYTES
    assert covered == sizes
    assert len({unit.digest() for unit in units}) == len(units)


@pytest.mark.parametrize(
    ("name", "keys", "words"),
    [
        ("a.jsonl.gz", {}, "compressed by gzip"),
        ("a.csv", {}, "inside quotes"),
        ("a.tsv", {}, "inside quotes"),
        ("a.txt", {}, 'text_document = "file"'),
        ("a.txt", {"text_document": "separator", "text_separator": "=-="}, "ends as it begins"),
        ("a.txt", {"text_document": "separator", "text_separator": "=-"}, ""),
        ("a.txt", {"text_document": "separator", "text_separator": "=="}, "ends as it begins"),
        ("a.jsonl", {}, ""),
        ("a.parquet", {}, ""),
        ("a.arrow", {}, ""),
    ],
)
def test_what_cannot_be_read_in_parts_says_why(name: str, keys: dict[str, str], words: str) -> None:
    file, section = InputFile(f"/{name}", name, 10 * RANGE_BYTES), InputSection(paths=["a"], **keys)  # type: ignore[arg-type]
    reason = explain_whole(file, section)
    assert words in reason
    assert bool(reason) == bool(words)
    units = plan_map_units([file], 64 * MIB, Buckets(1, 0), [section])
    assert (len(units) == 1) == bool(words)


def test_a_file_on_the_web_is_read_whole() -> None:
    file = InputFile("https://host/a.jsonl", "a.jsonl", 10 * RANGE_BYTES)
    assert "does not give parts" in explain_whole(file, InputSection(paths=["a"]))
