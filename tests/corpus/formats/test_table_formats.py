"""A document is the same from a table as from JSON lines, and no damage of a table goes unseen."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import os
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.corpus.formats.document_block import Reason, Reject
from maskmill.pipeline.corpus.formats.table import iter_documents
from maskmill.pipeline.corpus.formats.table_rows import _are_utf8
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.open_input import OpenInput
from maskmill.schemas.errors import InputDataError
from maskmill.schemas.run_file import InputSection

Record = dict[str, Any]
Read = tuple[list[tuple[str, str, bytes]], list[Reject]]
MAX_MB = 0.001


def read(data: bytes, name: str, **settings: Any) -> Read:
    section = InputSection(paths=("x",), **settings)
    documents: list[tuple[str, str, bytes]] = []
    rejects: list[Reject] = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, name)
        with open(path, "wb") as file:
            file.write(data)
        listed = InputFile(path, name, len(data), source="folder")
        with OpenInput(listed) as opened:
            for block in iter_documents(listed, opened, section):
                documents += zip(block.doc_id, block.source, block.text, strict=True)
                rejects += block.rejects
                assert len(block.line) == len(block.text)
    return documents, rejects


def to_table(records: list[Record], text: pa.DataType, doc_id: pa.DataType) -> pa.Table:
    types = {"text": text, "id": doc_id, "source": pa.string()}
    return pa.table({key: pa.array([record[key] for record in records], kind) for key, kind in types.items()})


def to_parquet(records: list[Record], text: pa.DataType, doc_id: pa.DataType) -> bytes:
    written = io.BytesIO()
    pq.write_table(to_table(records, text, doc_id), written, row_group_size=3)
    return written.getvalue()


def to_arrow(
    open_writer: Callable[..., Any] = pa.ipc.new_file,
) -> Callable[[list[Record], pa.DataType, pa.DataType], bytes]:
    def write(records: list[Record], text: pa.DataType, doc_id: pa.DataType) -> bytes:
        written, table = io.BytesIO(), to_table(records, text, doc_id)
        with open_writer(written, table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
        return written.getvalue()

    return write


def to_lines(records: list[Record]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def to_csv(records: list[Record], dialect: str = "excel") -> bytes:
    written = io.StringIO(newline="")
    writer = csv.writer(written, dialect)
    writer.writerow(("source", "text", "more", "id"))
    writer.writerows((record["source"], record["text"], "x,\ty", record["id"]) for record in records)
    return written.getvalue().encode()


TABLES = {"a.parquet": to_parquet, "file.arrow": to_arrow(), "stream.arrow": to_arrow(pa.ipc.new_stream)}
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20) | st.just("é" * 600)
NAMES = st.none() | WORDS
RECORDS = st.lists(st.fixed_dictionaries({"text": WORDS | st.none(), "id": NAMES, "source": NAMES}), max_size=8)
NUMBERED = st.lists(
    st.fixed_dictionaries({"text": WORDS, "id": st.integers(-(1 << 63), (1 << 63) - 1), "source": NAMES}), max_size=8
)
SETTINGS = {"id_field": "id", "source_field": "source", "max_document_mb": MAX_MB}


@pytest.mark.parametrize("name", TABLES)
@given(
    st.tuples(RECORDS, st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]))
    | st.tuples(NUMBERED, st.just(pa.int64()))
)
def test_a_table_holds_the_documents_that_json_lines_hold(name, given_records):
    records, id_type = given_records
    text_type = pa.string() if pa.types.is_integer(id_type) else id_type
    documents, rejects = read(TABLES[name](records, text_type, id_type), name, **SETTINGS)
    expected, refused = read(to_lines(records), name + ".jsonl", **SETTINGS)
    assert documents == [(doc_id.replace(".jsonl#", "#"), source, text) for doc_id, source, text in expected]
    assert [(one.line, one.reason) for one in rejects] == [(one.line, one.reason) for one in refused]


@pytest.mark.parametrize(("name", "dialect"), [("a.csv", "excel"), ("a.tsv", "excel-tab"), ("a.csv", "unix")])
@given(st.lists(st.fixed_dictionaries({"text": WORDS, "id": WORDS, "source": WORDS}), max_size=8))
def test_quoted_values_hold_the_documents_that_json_lines_hold(name, dialect, records):
    documents, rejects = read(to_csv(records, dialect), name, **SETTINGS)
    for record in records:
        record["id"], record["source"] = record["id"] or None, record["source"] or None
    expected, refused = read(to_lines(records), name + ".jsonl", **SETTINGS)
    named = [doc_id for doc_id, _, _ in expected if ".jsonl#" not in doc_id]
    assert [doc_id for doc_id, _, _ in documents if not doc_id.startswith(name + "#")] == named
    assert [rest for _, *rest in documents] == [rest for _, *rest in expected]
    assert [one.reason for one in rejects] == [one.reason for one in refused]


@given(
    st.binary(max_size=200) | st.lists(st.sampled_from([b'"', b",", b"\n", b"\r", b"a", b"\xff", b" "])).map(b"".join)
)
def test_every_byte_of_a_damaged_csv_file_is_of_a_document_or_a_reject(data):
    data = b"id,text\n1,whole\n" + data
    lines = data.split(b"\n")
    documents, rejects = read(data, "a.csv", max_document_mb=MAX_MB)
    starts = {int(doc_id.partition("#")[2]): text for doc_id, _, text in documents}
    found = sorted([*starts, *(one.line for one in rejects)])
    refused = {one.line: one for one in rejects}
    assert len(set(found)) == len(found)
    for start, following in itertools.pairwise([*found, len(lines) + 1]):
        covered = b"\n".join(lines[start - 1 : following - 1]) + b"\n"
        if start in starts:
            (record,) = filter(None, csv.reader(io.StringIO(covered.decode("latin-1"), newline="")))
            assert [sign.encode("latin-1") for sign in record][1] == starts[start]
        else:
            assert covered.startswith(refused[start].content)
            assert refused[start].size_bytes == len(refused[start].content)
            assert not covered[refused[start].size_bytes :].strip(b"\r\n")
    assert not b"".join(lines[1 : found[0] - 1]).strip(b"\r")


def test_what_stands_around_a_broken_record_is_read():
    data = b'id,text\n1,one\n2,"two" x\n3,three\n4,four,more\n5,"a\nb"\n6,\xff\n7,"open\n8,eight\n'
    documents, rejects = read(data, "a.csv", id_field="id")
    assert [(doc_id, text) for doc_id, _, text in documents] == [("1", b"one"), ("3", b"three"), ("5", b"a\nb")]
    assert [(one.line, one.reason, one.content) for one in rejects] == [
        (3, Reason.BROKEN_CSV, b'2,"two" x\n'),
        (5, Reason.BROKEN_CSV, b"4,four,more\n"),
        (8, Reason.INVALID_UTF8, b"6,\xff\n"),
        (9, Reason.BROKEN_CSV, b'7,"open\n8,eight\n'),
    ]


def test_a_record_without_an_end_is_cut_at_the_limit_and_what_follows_is_read():
    data = b'text\n"' + b"x\n" * (1 << 20) + b"after\n"
    documents, rejects = read(data, "a.csv", max_document_mb=MAX_MB)
    assert documents[-1][2] == b"after"
    assert rejects[0].reason is Reason.TOO_LARGE
    assert rejects[0].size_bytes + sum(len(text) + 1 for _, _, text in documents) + len(b"text\n") == len(data)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_is_cut_is_refused_wherever(name):
    data = TABLES[name]([{"text": f"{n}", "id": f"{n}", "source": "s"} for n in range(20)], pa.string(), pa.string())
    assert len(read(data, name)[0]) == 20
    for size in range(len(data)):
        with pytest.raises(InputDataError) as refused:
            read(data[:size], name)
        assert "read to its end" in str(refused.value) or size == 0


@pytest.mark.parametrize("name", TABLES)
@given(st.data())
def test_a_table_with_a_wrong_byte_is_read_or_refused_in_words(name, data):
    whole = TABLES[name]([{"text": f"{n}" * 9, "id": "i", "source": "s"} for n in range(9)], pa.string(), pa.string())
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        documents, rejects = read(bytes(damaged), name)
    except InputDataError:
        return
    assert len(documents) + len(rejects) <= 9 or name == "a.parquet"


VIEWS = (pa.binary(), pa.large_binary(), pa.binary_view())


@given(st.lists(st.text(max_size=4).map(str.encode) | st.binary(max_size=5) | st.none(), max_size=5), st.booleans())
def test_a_column_is_utf8_if_each_of_its_texts_is(texts, is_slice):
    def decodes(text):
        with contextlib.suppress(UnicodeDecodeError):
            return text is None or text.decode() is not None
        return False

    for kind in VIEWS:
        column = pa.array([b"\xff", *texts], kind).slice(1) if is_slice else pa.array(texts, kind)
        assert _are_utf8(column) == all(map(decodes, texts))


def test_a_parquet_footer_with_any_wrong_bit_ends_no_process():
    """pyarrow 26.0 aborts where the description of a column is asked for and is damaged."""
    whole = TABLES["a.parquet"]([{"text": "a", "id": "i", "source": "s"}], pa.string(), pa.string())
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for place in range(footer, len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            with contextlib.suppress(InputDataError):
                read(bytes(damaged), "a.parquet")


@pytest.mark.parametrize("name", [*TABLES, "a.csv"])
def test_a_table_without_the_column_names_those_it_has(name):
    records = [{"text": "a", "id": "1", "source": "s"}]
    data = to_csv(records) if name == "a.csv" else TABLES[name](records, pa.string(), pa.string())
    with pytest.raises(InputDataError, match=r"no column for the text; expected a column body.*source") as refused:
        read(data, name, text_field="body")
    assert refused.value.path == name


def test_fields_inside_others_are_found_by_their_paths():
    records = [{"a.b": "key", "a": {"b": "inner", "c": {"d": 7}}, "s": {"t": "source"}}]
    table, written = pa.Table.from_pylist(records), io.BytesIO()
    pq.write_table(table, written)
    for data, name in ((to_lines(records), "a.jsonl"), (written.getvalue(), "a.parquet")):
        fields = {"id_field": "a.c.d", "source_field": "s.t"}
        assert read(data, name, text_field="a.b", **fields) == ([("7", "source", b"key")], [])
    records[0].pop("a.b")
    assert read(to_lines(records), "a.jsonl", text_field="a.b")[0] == [("a.jsonl#1", "folder", b"inner")]
    assert read(to_lines(records), "a.jsonl", text_field="a.x")[1][0].reason is Reason.NO_TEXT


@pytest.mark.parametrize(
    ("values", "kind", "reason"),
    [([1], pa.int64(), Reason.TEXT_NOT_STRING), ([None], pa.null(), Reason.TEXT_NOT_STRING)],
)
def test_a_column_of_another_type_is_rejected_with_its_row(values, kind, reason):
    written = io.BytesIO()
    pq.write_table(pa.table({"text": pa.array(values, kind)}), written)
    documents, (reject,) = read(written.getvalue(), "a.parquet")
    assert (documents, reject.line, reject.reason) == ([], 1, reason)
    assert json.loads(reject.content) == {"text": values[0]}


def test_text_that_is_not_utf_8_is_rejected_from_a_table_too():
    bad = pa.array([b"a", b"\xff"], pa.binary()).view(pa.string())
    for name, write in (("a.parquet", pq.write_table), ("a.arrow", None)):
        written = io.BytesIO()
        if write is not None:
            write(pa.table({"text": bad}), written)
        else:
            with pa.ipc.new_stream(written, pa.schema({"text": pa.string()})) as writer:
                writer.write_table(pa.table({"text": bad}))
        documents, (reject,) = read(written.getvalue(), name)
        assert [text for _, _, text in documents] == [b"a"]
        assert (reject.reason, reject.content) == (Reason.INVALID_UTF8, b"\xff")


PARTS = st.lists(st.fixed_dictionaries({key: WORDS | st.none() for key in ("a", "b", "c")}), max_size=8)


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "file.arrow", "stream.arrow", "a.csv", "a.tsv"])
@given(PARTS, st.sampled_from([["a", "b"], ["c.x", "a"], ["b"]]), st.none() | WORDS)
def test_several_fields_are_joined_in_every_format(name, records, fields, join):
    fields = [field for field in fields if field != "c.x" or not name.endswith("sv")]
    nested = [record | {"c": {"x": record["c"]}} for record in records]
    documents, rejects = read(write_parts(name, nested), name, text_field=fields, **joined_by(join, fields))
    between = "\n\n" if join is None or len(fields) < 2 else join
    is_null_text = len(fields) == 1 and not name.endswith("sv")  # a null where one text is wanted is not a text
    texts = [[record[field[0]] for field in fields] for record in records]
    expected = [between.join(filter(None, text)).encode() for text in texts]
    kept = [text for text in expected if 0 < len(text) <= 64 << 20]
    assert [text for _, _, text in documents] == kept
    for reject in rejects:
        missing = texts[reject.line - 1] if not name.endswith("sv") else [""]
        assert reject.reason is (Reason.TEXT_NOT_STRING if is_null_text and missing == [None] else Reason.EMPTY)
    assert len(rejects) + len(kept) == len(records)


def joined_by(join: str | None, fields: list[str]) -> dict[str, str]:
    return {} if join is None or len(fields) < 2 else {"text_join": join}


def write_parts(name: str, records: list[Record]) -> bytes:
    if name.endswith(".jsonl"):
        return to_lines(records)
    written = io.BytesIO()
    if name.endswith("sv"):
        text = io.StringIO(newline="")
        writer = csv.writer(text, "excel-tab" if name.endswith(".tsv") else "excel")
        writer.writerow(("a", "b", "end"))
        writer.writerows((record["a"], record["b"], "x") for record in records)
        return text.getvalue().encode()
    inner = pa.struct({"x": pa.string()})
    schema = pa.schema({"a": pa.string(), "b": pa.string(), "c": inner})
    table = pa.Table.from_pylist(records, schema)
    if name.endswith(".parquet"):
        pq.write_table(table, written)
    else:
        open_writer = pa.ipc.new_file if name.startswith("file") else pa.ipc.new_stream
        with open_writer(written, schema) as arrow:
            arrow.write_table(table)
    return written.getvalue()


def test_a_line_without_any_of_several_fields_has_no_text_and_one_with_a_number_is_refused():
    lines = [{"a": "x"}, {"d": 1}, {"a": None}, {"a": 1, "b": "x"}, {"b": "\ud800"}]
    documents, rejects = read(to_lines(lines), "a.jsonl", text_field=["a", "b"])
    assert documents == [("a.jsonl#1", "folder", b"x")]
    reasons = [Reason.NO_TEXT, Reason.EMPTY, Reason.TEXT_NOT_STRING, Reason.INVALID_UTF8]
    assert [(one.line, one.reason) for one in rejects] == list(enumerate(reasons, 2))


@pytest.mark.parametrize("name", ["a.parquet", "stream.arrow", "a.csv"])
def test_a_table_without_one_of_several_columns_names_it(name):
    with pytest.raises(InputDataError, match="expected a column title"):
        read(write_parts(name, [{"a": "x", "b": "y", "c": None}]), name, text_field=["a", "title"])


def test_a_table_keeps_all_parts_of_a_row_whose_text_is_none():
    table, written = pa.table({"a": ["x"], "b": [1]}), io.BytesIO()
    pq.write_table(table, written)
    _, (reject,) = read(written.getvalue(), "a.parquet", text_field=["a", "b"])
    assert reject.reason is Reason.TEXT_NOT_STRING
    assert json.loads(reject.content) == {"a": "x", "b": 1}


def test_a_large_text_that_a_dictionary_holds_once_is_not_decoded_for_thousands_of_rows(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["x" * 100_000] * 3000}), path, row_group_size=3000, compression="zstd")
    assert path.stat().st_size < 10_000
    listed = InputFile(str(path), path.name, path.stat().st_size)
    before = pa.total_allocated_bytes()
    with OpenInput(listed) as opened:
        rows, most = 0, 0
        for block in iter_documents(listed, opened, InputSection(paths=("x",))):
            rows, most = rows + len(block.text), max(most, pa.total_allocated_bytes() - before)
    assert rows == 3000
    assert most < 80_000_000, "all at once they are 300 MB"


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_row_group_is_read_a_little_at_a_time(compression, tmp_path):
    rng = np.random.default_rng(0)
    texts = [rng.bytes(30_000).hex() for _ in range(500)]  # 30 MB, which compresses to a half at best
    path = tmp_path / "a.parquet"
    table = pa.table({"text": texts, "more": texts})
    pages = {"write_batch_size": 10, "data_page_size": 1 << 20}  # a page is the least that can be read
    pq.write_table(table, path, row_group_size=1000, compression=compression, use_dictionary=False, **pages)
    listed, sizes = InputFile(str(path), path.name, path.stat().st_size), [0]
    with OpenInput(listed) as opened:
        read_stored = opened._raw.read
        opened._raw.read = lambda size=-1: sizes.append(size) or read_stored(size)  # type: ignore[method-assign]
        count = sum(len(block.text) for block in iter_documents(listed, opened, InputSection(paths=("x",))))
    assert count == len(texts)
    assert max(sizes) <= 2 << 20
    assert min(sizes) >= 0
    assert sum(sizes) < 0.6 * path.stat().st_size  # of one column alone
