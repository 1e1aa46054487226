"""What is a document is read, what is not is rejected with its place and the reason, and nothing is lost."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maskmill.pipeline.corpus.formats.document_block import Reason, Reject
from maskmill.pipeline.corpus.formats.json_lines import (
    MAX_NAME_CHARACTERS,
    MAX_NESTING,
    STRING_OVERHEAD_BYTES,
    _measure_structure,
)
from maskmill.pipeline.corpus.formats.judge_document import PIECE_BYTES, is_utf8
from maskmill.pipeline.corpus.formats.table import iter_documents
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.schemas.documents import KEPT_QUARANTINE_BYTES
from maskmill.schemas.run_file import InputSection
from tests.corpus.raw_bytes import RawBytes

MAX_MB = 0.001
MAX_BYTES = int(MAX_MB * (1 << 20))
BOM = b"\xef\xbb\xbf"
Document = tuple[str, str, int, bytes]


def read(
    data: bytes, name: str = "a.jsonl", block_bytes: int = 1 << 18, **settings: Any
) -> tuple[list[Document], list[Reject]]:
    section = InputSection(paths=("x",), **settings)
    documents: list[Document] = []
    rejects: list[Reject] = []
    for block in iter_documents(InputFile("", name, len(data), source="folder"), RawBytes(data, block_bytes), section):
        documents += zip(block.doc_id, block.source, block.line, block.text, strict=True)
        rejects += block.rejects
    return documents, rejects


def is_blank(line: bytes) -> bool:
    """The oracle for blank lines: `str.strip()` leaves nothing of them. What is not UTF-8 is not blank."""
    try:
        return not line.decode().strip()
    except UnicodeDecodeError:
        return False


def judge(line: bytes) -> Document | Reason:  # noqa: C901  # one rule after the other
    """The oracle for one line of JSON, with an id and a source field: id, source, line 0, text; or the reason."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return Reason.INVALID_UTF8
    try:
        value = json.loads(text)
    except ValueError:
        return Reason.BROKEN_JSON
    if type(value) is not dict:
        return Reason.NOT_AN_OBJECT
    doc_id, source = value.get("id"), value.get("source")
    if isinstance(doc_id, bool) or not isinstance(doc_id, str | int | None):
        return Reason.BAD_ID
    if not isinstance(source, str | None):
        return Reason.BAD_SOURCE
    if "text" not in value:
        return Reason.NO_TEXT
    if not isinstance(value["text"], str):
        return Reason.TEXT_NOT_STRING
    if any("\ud800" <= sign <= "\udfff" for name in (value["text"], doc_id, source) for sign in str(name)):
        return Reason.INVALID_UTF8
    encoded = value["text"].encode()
    if not encoded:
        return Reason.EMPTY
    if len(encoded) > MAX_BYTES:
        return Reason.TOO_LARGE
    return "" if doc_id is None else str(doc_id), "" if source is None else source, 0, encoded


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["\ud800", "a\udfff", ""])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
OBJECTS = st.fixed_dictionaries(
    {}, optional={"text": st.text() | VALUES, "id": VALUES, "source": st.text() | VALUES, "more": VALUES}
)
JSON_LINES = st.builds(
    lambda value, ascii_only: json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass"),
    OBJECTS | VALUES,
    st.booleans(),
)
BROKEN_LINES = st.builds(lambda line, cut: line[:cut], JSON_LINES, st.integers(0, 60)) | st.binary(max_size=20)
STRANGE_LINES = st.sampled_from(
    [
        b'{"text": "a"} {"text": "b"}',
        b'{"text": "a", "text": "b"}',
        b'{"text": "a", "text": 3}',
        b'{"text": NaN}',
        b'{"text": "a", "more": [NaN, -Infinity]}',
        b'{"text": "a", "id": Infinity}',
        b'{"text": "tab\there"}',
        b'{"text": "\xff"}',
        b'{"text": "\xed\xa0\x80"}',
        b'{"text": "\\ud83d\\ude00"}',
        b'{"text": "\\ud83d"}',
        b'{"text": "a", "id": -0}',
        b'{"text": "a", "id": 1e3}',
        b'{"text": "a", "id": 123456789012345678901234567890}',
        b'{"text": "a", "id": ""}',
        BOM + b'{"text": "a"}',
        b' \t{"text": "a"} \r',
        b"  \t\x0c",
        b'{"text": "' + b"x" * MAX_BYTES + b'"}',
        b'{"text": "' + b"x" * (MAX_BYTES + 1) + b'"}',
        b'{"text": "' + b"\\u0078" * MAX_BYTES + b'"}',
        b"{'text': 'a'}",
        b'{"text": "a",}',
        b"[" * 100 + b"]" * 100,
    ]
)


@given(
    st.lists(JSON_LINES | BROKEN_LINES | STRANGE_LINES, max_size=12),
    st.sampled_from([b"", BOM]),
    st.sampled_from([b"\n", b"\r\n"]),
    st.booleans(),
    st.integers(1, 50) | st.just(1 << 18),
)
def test_json_lines_are_read_as_one_line_at_a_time_would_be(
    lines: list[bytes], bom: bytes, end: bytes, ended: bool, block_bytes: int
) -> None:
    data = bom + end.join(lines) + (end if ended else b"")
    documents: list[Document] = []
    rejects: list[tuple[int, Reason, bytes]] = []
    for number, line in enumerate(data.removeprefix(BOM).split(b"\n"), 1):
        line = line.removesuffix(b"\r")
        if is_blank(line):
            continue
        found = judge(line)
        if isinstance(found, Reason):
            rejects.append((number, found, line))
            continue
        doc_id, source, _, text = found
        has_id = json.loads(line).get("id") is not None
        has_source = json.loads(line).get("source") is not None
        documents.append((doc_id if has_id else f"a.jsonl#{number}", source if has_source else "folder", number, text))
    found_documents, found_rejects = read(
        data, block_bytes=block_bytes, id_field="id", source_field="source", max_document_mb=MAX_MB
    )
    assert found_documents == documents
    assert found_rejects == [Reject("a.jsonl", number, reason, len(line), line) for number, reason, line in rejects]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", Reason.BROKEN_JSON),
        (b"3", Reason.NOT_AN_OBJECT),
        (b'["text"]', Reason.NOT_AN_OBJECT),
        (b'{"content": "a"}', Reason.NO_TEXT),
        (b'{"text": null}', Reason.TEXT_NOT_STRING),
        (b'{"text": ""}', Reason.EMPTY),
        (b'{"text": "\xc3"}', Reason.INVALID_UTF8),
        (b'{"text": "\\udead"}', Reason.INVALID_UTF8),
        (b'{"text": "a", "id": "\\udead"}', Reason.INVALID_UTF8),
        (b'{"text": "%s"}' % (b"x" * (MAX_BYTES + 1)), Reason.TOO_LARGE),
        (b'{"text": "a", "id": "%s"}' % (b"x" * (MAX_NAME_CHARACTERS + 1)), Reason.TOO_LARGE),
        (b'{"text": "a", "source": "%s"}' % (b"x" * (MAX_NAME_CHARACTERS + 1)), Reason.TOO_LARGE),
        (b'{"text": "a", "more": "%s"}' % (b"x" * (2 << 20)), Reason.TOO_LARGE),
        (b" " * (2 << 20), Reason.TOO_LARGE),
        (b'{"text": "a", "id": true}', Reason.BAD_ID),
        (b'{"text": "a", "id": 1.5}', Reason.BAD_ID),
        (b'{"text": "a", "id": %s}' % (b"9" * 4301), Reason.BAD_ID),
        (b'{"text": "a", "source": 3}', Reason.BAD_SOURCE),
    ],
)
def test_every_reason_is_given_with_its_place(line: bytes, reason: Reason) -> None:
    data = b'{"text": "before"}\n\n' + line + b'\n{"text": "after"}'
    documents, rejects = read(data, id_field="id", source_field="source", max_document_mb=MAX_MB)
    assert documents == [("a.jsonl#1", "folder", 1, b"before"), ("a.jsonl#4", "folder", 4, b"after")]
    assert rejects == [Reject("a.jsonl", 3, reason, len(line), line[:KEPT_QUARANTINE_BYTES])]


def test_the_reasons_above_are_all_there_are() -> None:
    marks = test_every_reason_is_given_with_its_place.pytestmark  # type: ignore[attr-defined]
    assert {reason for _, reason in marks[0].args[1]} == set(Reason) - {Reason.BROKEN_CSV, Reason.NO_PLAIN_TEXT}


@pytest.mark.parametrize(
    ("id_field", "source_field", "expected"),
    [
        (None, None, ("a.jsonl#1", "folder")),
        ("id", None, ("7", "folder")),
        ("absent", "absent", ("a.jsonl#1", "folder")),
        ("empty", "empty", ("a.jsonl#1", "folder")),
        ("name", "name", ("ñ", "ñ")),
        ("blank", "blank", ("", "")),
    ],
)
def test_ids_and_sources_come_from_their_fields(
    id_field: str | None, source_field: str | None, expected: tuple[str, str]
) -> None:
    line = '{"text": "a", "id": 7, "name": "ñ", "empty": null, "blank": ""}'.encode()
    documents, rejects = read(line, id_field=id_field, source_field=source_field)
    assert documents == [(*expected, 1, b"a")]
    assert not rejects


@pytest.mark.parametrize("digits", [4299, 4300, 4301, 100_000])
def test_a_long_integer_beside_the_text_is_no_fault(digits: int) -> None:
    line = b'{"text": "a", "more": -%s}' % (b"1" * digits)
    assert read(line)[0] == [("a.jsonl#1", "folder", 1, b"a")]
    assert math.isfinite(digits)


HOSTILE_LINES = [
    b'{"text":"x","a":[' + b"[]," * 600 + b"0]}",
    b'{"text":"x","a":[' + b'"",' * 400 + b"0]}",
    b'{"text":"x","a":' + b" " * 1100 + b"0}",
]


@pytest.mark.parametrize("line", HOSTILE_LINES)
def test_a_line_of_more_objects_than_text_is_rejected(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 MiB of `[],` would be 10 GiB of Python's objects."""
    assert read(line)[0]
    monkeypatch.setattr("maskmill.pipeline.corpus.formats.json_lines.MAX_STRUCTURE_BYTES", 1000)
    documents, (reject,) = read(line)
    assert (documents, reject.reason) == ([], Reason.TOO_LARGE)
    text = json.dumps({"text": 'quo"te, [x] \\ ' * 200 + "\n", "id": [1, {"a": "b"}]}).encode()
    assert len(text) > 3000
    assert read(text)[0]


@given(st.lists(st.sampled_from([b'"', b"\\", b"a", b",", b"[", b"]", b"\xff", b"\n"]), max_size=40).map(b"".join))
def test_strings_are_found_as_json_has_them(line: bytes) -> None:
    """Against a loop over bytes; a string without an end goes to that of the line."""
    size, inside, escaped = 0, False, False
    for byte in line:
        if not inside:
            inside = byte == ord('"')
            size += STRING_OVERHEAD_BYTES if inside else 1
        elif escaped:
            escaped = False
        else:
            escaped = byte == ord("\\")
            inside = byte != ord('"')
    assert _measure_structure(line) == size


def test_measuring_takes_a_time_that_is_the_lines_length() -> None:
    """Each of these would be looked through again and again by an expression that goes back."""
    for piece in (b'\\"', b'"', b"\\", b'"\\', b'a"\\'):
        line = piece * (3_000_000 // len(piece))
        began = time.process_time()
        _measure_structure(line)
        assert time.process_time() - began < 5


@pytest.mark.parametrize("pair", [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("stack", [0, 400])
def test_how_deep_a_line_may_nest_does_not_depend_on_the_stack(pair: tuple[bytes, bytes], stack: int) -> None:
    def read_below(depth: int, data: bytes) -> tuple[int, int]:
        if depth:
            return read_below(depth - 1, data)
        documents, rejects = read(data)
        return len(documents), len(rejects)

    def nest(depth: int) -> bytes:
        inner = depth - 1  # the line's own object is the first level
        return b'{"text": "a", "more": ' + pair[0] * inner + b"1" + pair[1] * inner + b"}"

    assert read_below(stack, nest(MAX_NESTING)) == (1, 0)
    for depth in (MAX_NESTING + 1, 900, 100_000):
        assert read_below(stack, nest(depth)) == (0, 1)
    flat = b'{"text": "' + b"[{" * 1000 + b'", "more": [' + b"[],{}," * 500 + b"[]]}"
    assert read_below(stack, flat) == (1, 0)


TEXT_PIECES = st.lists(
    st.sampled_from([b"\n", b"\r\n", b"\n\n", b"a", b"word ", "ñ".encode(), b"\xff", b" ", b"\t", b"x" * 600, BOM])
).map(b"".join)


def split_text(data: bytes, mode: str) -> list[tuple[int, bytes]]:
    """The oracle: documents of plain text and their first lines. A line longer than a document may be is not blank."""
    lines = data.removeprefix(BOM).split(b"\n")
    if not lines[-1]:
        lines.pop()
    lines = [line.removesuffix(b"\r") for line in lines]
    if mode == "file":
        return [(1, b"\n".join(lines))]
    numbered = [(number, line) for number, line in enumerate(lines, 1)]
    if mode == "line":
        return [(number, line) for number, line in numbered if not is_blank(line) or len(line) > MAX_BYTES]
    paragraphs: list[list[tuple[int, bytes]]] = [[]]
    for number, line in numbered:
        if not is_blank(line) or len(line) > MAX_BYTES:
            paragraphs[-1].append((number, line))
        else:
            paragraphs.append([])
    return [(part[0][0], b"\n".join(line for _, line in part)) for part in paragraphs if part]


@given(TEXT_PIECES, st.sampled_from(["file", "line", "blank_line"]), st.integers(1, 50) | st.just(1 << 18))
@example(b"", "file", 1)
@example(BOM, "file", 1)
@example(b"\n" * 1100, "file", 50)
@example(b"\n\nabc", "file", 50)
@example(b"a\n" * 700, "blank_line", 50)
@example(b"x" * MAX_BYTES + b"\r\n" + b"x" * (MAX_BYTES + 1) + b"\r\n", "line", 50)
@example(b" " * (MAX_BYTES + 1), "line", 50)
@example("first\n\u3000\nsecond\n\xa0\x1c\n\u2028\nthird".encode(), "blank_line", 50)
@example("\u3000\n\x85".encode(), "line", 50)
@example(b"a\n\xe3\x80\nb", "blank_line", 50)
def test_plain_text_is_cut_as_the_whole_file_at_once_would_be(data: bytes, mode: str, block_bytes: int) -> None:
    documents: list[Document] = []
    rejects: list[Reject] = []
    for number, text in split_text(data, mode):
        try:
            text.decode()
            reason = Reason.EMPTY
        except UnicodeDecodeError:
            reason = Reason.INVALID_UTF8
        if len(text) > MAX_BYTES:
            reason = Reason.TOO_LARGE
        if reason is Reason.EMPTY and text:
            documents.append((f"a.txt#{number}", "folder", number, text))
        else:
            rejects.append(Reject("a.txt", number, reason, len(text), text[:MAX_BYTES]))
    found = read(data, "a.txt", block_bytes, text_document=mode, max_document_mb=MAX_MB)
    assert found == (documents, rejects)


NASTY = Path(os.environ.get("MASKMILL_CORPORA", "/nowhere")).parent / "nasty"


@pytest.mark.skipif(not NASTY.is_dir(), reason="MASKMILL_CORPORA names no corpora with hostile strings beside them")
def test_hostile_strings_are_read_or_rejected_and_none_is_lost() -> None:
    for path in sorted(NASTY.glob("*.txt")):
        data = path.read_bytes()
        for mode in ("file", "line", "blank_line"):
            documents, rejects = read(data, "a.txt", text_document=mode)
            expected = split_text(data, mode)
            assert sorted([line for _, _, line, _ in documents] + [reject.line for reject in rejects]) == [
                line for line, _ in expected
            ]
            texts = dict(expected)
            assert all(texts[line] == text for _, _, line, text in documents)
            assert all(texts[reject.line][:KEPT_QUARANTINE_BYTES] == reject.content for reject in rejects)
        as_json = [line.decode(errors="surrogateescape") for line in data.splitlines() if line]
        documents, rejects = read("\n".join(json.dumps({"text": text}) for text in as_json).encode())
        readable = [text for text in as_json if not any("\ud800" <= sign <= "\udfff" for sign in text)]
        assert [text.decode() for _, _, _, text in documents] == readable
        assert len(rejects) == len(as_json) - len(readable)


@given(
    st.lists(
        st.sampled_from([b"<|e|>", b"<|", b"e|>", b"\n", b"\r\n", b"a", b"\xc3\xa9", b"<", b" "]), max_size=30
    ).map(b"".join),
    st.integers(1, 9),
    st.sampled_from(["<|e|>", "<", "\n\n", "a\na"]),
)
def test_documents_between_separators_are_those_that_splitting_gives(data: bytes, block_bytes: int, mark: str) -> None:
    documents, rejects = read(
        data, "a.txt", block_bytes, text_document="separator", text_separator=mark, max_document_mb=MAX_MB
    )
    expected, line = [], 1
    for piece in data.split(mark.encode()):
        text = piece.replace(b"\r\n", b"\n")
        if text.strip(b"\n"):
            skipped = len(text) - len(text.lstrip(b"\n"))
            expected.append((f"a.txt#{line + skipped}", "folder", line + skipped, text.strip(b"\n")))
        line += piece.count(b"\n") + mark.count("\n")
    assert documents == expected
    assert not rejects


def test_a_document_between_separators_may_be_too_large_or_no_text() -> None:
    data = b"first<|e|>" + b"x" * (3 * MAX_BYTES) + b"<|e|>\xff<|e|>" + b"\n" * (3 * MAX_BYTES) + b"behind<|e|>last"
    documents, rejects = read(
        data, "a.txt", 100, text_document="separator", text_separator="<|e|>", max_document_mb=MAX_MB
    )
    assert [text for *_, text in documents] == [b"first", b"last"]
    assert [(one.reason, one.size_bytes) for one in rejects] == [
        (Reason.TOO_LARGE, 3 * MAX_BYTES),
        (Reason.INVALID_UTF8, 1),
        (Reason.TOO_LARGE, 3 * MAX_BYTES + 6),
    ]


@pytest.mark.parametrize("place", [0, PIECE_BYTES - 2, PIECE_BYTES, 3 * PIECE_BYTES - 1])
@pytest.mark.parametrize("bad", [b"", "\U0001f600".encode(), b"\xff", b"\xf0\x9f\x98", b"\xed\xa0\x80"])
def test_a_long_text_is_utf_8_as_the_whole_of_it_is(place: int, bad: bytes) -> None:
    text = b"a" * place + bad + b"a" * (3 * PIECE_BYTES - place - len(bad) + 1)
    for end in (b"", b"\xc3", "é".encode()):
        try:
            (text + end).decode()
        except UnicodeDecodeError:
            assert not is_utf8(text + end)
        else:
            assert is_utf8(text + end)
