"""Every record of a WARC file is a document, about another, or rejected, and no damage goes unseen."""

from __future__ import annotations

import gzip
import os
import tempfile
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maskmill.pipeline.corpus.formats.document_block import Reason, Reject
from maskmill.pipeline.corpus.formats.table import iter_documents
from maskmill.pipeline.corpus.formats.warc import MAX_HEADER_BYTES
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.judge_quarantine import check_quarantined
from maskmill.pipeline.corpus.open_input import OpenInput
from maskmill.schemas.errors import InputDataError
from maskmill.schemas.run_file import InputSection
from tests.corpus.raw_bytes import RawBytes
from tests.corpus.run_stages import run_both_stages

MAX_MB = 0.001
MAX_BYTES = int(MAX_MB * (1 << 20))
Document = tuple[str, str, int, bytes]
ABOUT_OTHERS = ("warcinfo", "request", "metadata", "revisit")


def record(content: bytes, kind: str = "conversion", content_type: str = "text/plain", *more: str) -> bytes:
    lines = ["WARC/1.0", f"WARC-Type: {kind}", *more, f"Content-Type: {content_type}"]
    headers = "".join(f"{line}\r\n" for line in [*lines, f"Content-Length: {len(content)}", ""])
    return headers.encode() + content + b"\r\n\r\n"


def read(data: bytes, block_bytes: int = 1 << 18, **settings: Any) -> tuple[list[Document], list[Reject]]:
    documents: list[Document] = []
    rejects: list[Reject] = []
    section = InputSection(paths=("x",), **settings)
    file = InputFile("", "a.warc", len(data), source="folder")
    for block in iter_documents(file, RawBytes(data, block_bytes), section):  # type: ignore[arg-type]
        documents += zip(block.doc_id, block.source, block.line, block.text, strict=True)
        rejects += block.rejects
    return documents, rejects


CONTENTS = (
    st.binary(max_size=40) | st.text(max_size=20).map(str.encode) | st.sampled_from([b"x" * 2000, b"WARC/1.0\r\n"])
)
KINDS = st.sampled_from(["conversion", "Conversion", "resource", "response", "continuation", "new", *ABOUT_OTHERS])
TYPES = st.sampled_from(["text/plain", "TEXT/PLAIN; charset=UTF-8", "text/html", "application/http; msgtype=response"])
IDS = st.none() | st.sampled_from(["<urn:uuid:1>", "b é", " "])
RECORDS = st.lists(st.tuples(CONTENTS, KINDS, TYPES, IDS), max_size=6)


def judge(content: bytes) -> Reason | None:
    if not content:
        return Reason.EMPTY
    if len(content) > MAX_BYTES:
        return Reason.TOO_LARGE
    try:
        content.decode()
    except UnicodeDecodeError:
        return Reason.INVALID_UTF8
    return None


@given(RECORDS, st.integers(1, 300))
@example([(b"x", "conversion", "text/plain", None)] * 2, 1)
def test_every_record_is_a_document_or_rejected_or_about_another(
    records: list[tuple[bytes, str, str, str | None]], block_bytes: int
) -> None:
    documents: list[Document] = []
    rejects: list[tuple[int, Reason, int]] = []
    data = b""
    for number, (content, kind, content_type, name) in enumerate(records, 1):
        data += record(content, kind, content_type, *([] if name is None else [f"WARC-Record-ID: {name}"]))
        is_text = kind.lower() in ("conversion", "resource") and content_type.lower().startswith("text/plain")
        reason = judge(content) if is_text else Reason.NO_PLAIN_TEXT
        if kind in ABOUT_OTHERS:
            continue
        if reason is None:
            documents.append(((name or "").strip() or f"a.warc#{number}", "folder", number, content))
        else:
            rejects.append((number, reason, len(content)))
    found, refused = read(data, block_bytes, max_document_mb=MAX_MB)
    assert found == documents
    assert [(one.line, one.reason, one.size_bytes) for one in refused] == rejects
    assert all(one.content == records[one.line - 1][0][: len(one.content)] for one in refused)


def test_ids_and_sources_are_headers_whatever_their_case() -> None:
    data = record(b"x", "conversion", "text/plain", "WARC-Target-URI: http://a/\u00e9", "X-Site: a", "\tb", "x-site: c")
    data += record(b"y").replace(b"\r\n", b"\n").replace(b"y", b"y")
    fields = {"id_field": "warc-target-uri", "source_field": "X-SITE"}
    assert read(data, **fields)[0] == [("http://a/é", "a b", 1, b"x"), ("a.warc#2", "folder", 2, b"y")]
    bad = record(b"x").replace(b"WARC-Type", b"WARC-Record-ID: \xff\r\nWARC-Type")
    assert [one.reason for one in read(bad)[1]] == [Reason.INVALID_UTF8]


@pytest.mark.parametrize("ends", [[], [gzip.compress]])
def test_a_file_that_is_cut_is_refused_wherever(ends: list[Any]) -> None:
    """Only an end between two records, which nothing tells from a whole file, is none."""
    parts = [record(f"text {n}".encode()) for n in range(4)]
    whole = b"".join(gzip.compress(part) if ends else part for part in parts)
    name = "a.wet.gz" if ends else "a.wet"
    borders, size = {0: 0}, 0
    for number, part in enumerate(parts, 1):
        size += len(gzip.compress(part) if ends else part)
        borders[size] = number
    for cut in range(len(whole) + 1):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, name)
            with open(path, "wb") as file:
                file.write(whole[:cut])
            listed = InputFile(path, name, cut)
            with OpenInput(listed) as opened:
                blocks = iter_documents(listed, opened, InputSection(paths=("x",)))
                if cut in borders and (cut or not ends):
                    assert sum(len(block.text) for block in blocks) == borders[cut]
                    continue
                with pytest.raises(InputDataError, match="read to its end") as refused:
                    list(blocks)
                assert "byte" in str(refused.value.place)


GOOD = record(b"hello") + record(b"world")


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        (b"Length: 5", b"Length: 9", 0, "two line ends behind 9 bytes"),
        (b"Length: 5", b"Length: 2", 0, "two line ends behind 2 bytes"),
        (b"Length: 5", b"Length: 10000000000", 0, r"10,000,000,000 bytes of content; found 98 bytes"),
        (b"Length: 5", b"Length: 18446744073709551621", 0, "a number of bytes"),
        (b"Length: 5", b"Length: -5", 0, "a number of bytes"),
        (b"Length: 5", b"Length: 5x", 0, "a number of bytes"),
        (b"Length: 5", b"Length: \xd9\xa5", 0, "a number of bytes"),
        (b"Content-Length: 5\r\n", b"", 0, "a Content-Length; found none"),
        (b"Length: 5", b"Length: 5\r\ncontent-length: 6", 0, "two that differ"),
        (b"Length: 5", b"Length: 5\r\nno colon", 0, "its name before a colon"),
        (b"WARC/1.0", b"WARC/x", 0, "WARC/ and a version"),
        (b"WARC/1.0", b"<html>", 0, "WARC/ and a version"),
        (b"hello\r\n\r\n", b"hello\r\n\r\n\r\n\r\nmore", 93, "WARC/ and a version"),
        (b"WARC-Type", b"X: " + b"y" * MAX_HEADER_BYTES + b"\r\nWARC-Type", 0, "bytes of headers; found more"),
        (b"WARC-Type", b"X: y\r\n" * MAX_HEADER_BYTES + b"WARC-Type", 0, "bytes of headers; found more"),
    ],
)
def test_a_record_that_is_framed_otherwise_is_named_with_its_place(
    old: bytes, new: bytes, place: int, words: str
) -> None:
    with pytest.raises(InputDataError, match=words) as refused:
        read(GOOD.replace(old, new, 1))
    assert refused.value.path == "a.warc"
    assert refused.value.place == f"record at byte {place} of the uncompressed data"


@given(st.binary(max_size=60) | st.lists(st.sampled_from([GOOD, b"WARC/1.0\r\n", b"\r\n", b":", b" "])).map(b"".join))
def test_any_bytes_are_read_or_refused_in_words(data: bytes) -> None:
    try:
        documents, rejects = read(data)
    except InputDataError:
        return
    assert len(documents) + len(rejects) <= data.count(b"WARC/")


def test_a_record_of_any_size_takes_little_memory() -> None:
    class Endless:
        def __init__(self) -> None:
            self._start = record(b"", "response", "text/html").replace(b"Length: 0", b"Length: 9999999999999")[:-4]
            self._left = 3000

        def read(self) -> bytes:
            self._left -= 1
            start, self._start = self._start, b""
            return start or (b"x" * (1 << 18) if self._left > 0 else b"")

    tracemalloc.start()
    with pytest.raises(InputDataError, match="9,999,999,999,999 bytes of content"):
        list(iter_documents(InputFile("", "a.warc", 1), Endless(), InputSection(paths=("x",))))  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_pages_are_counted_by_their_reason_and_stop_a_run_that_holds_little_else() -> None:
    data = record(b"text") + record(b"HTTP/1.1 200 OK\r\n\r\n<html>", "response", "application/http")
    ran = run_both_stages({"a.warc": data}, {"input": {"max_quarantined": 0.5}, "documents": {"held_out": 0.0}})
    assert [document[-1] for document in ran.documents[False]] == ["text"]
    assert (ran.counts["read"], ran.counts["quarantined: not plain text"]) == (2, 1)
    with pytest.raises(InputDataError, match=r"1 not plain text.*extract the text of web pages first.*WET"):
        check_quarantined(ran.counts, 1, 1, 0.01)


def test_records_without_text_fill_blocks_too() -> None:
    """The quarantine is judged block by block."""
    data = record(b"") * 20_000
    file = InputFile("", "a.warc", len(data))
    blocks = list(iter_documents(file, RawBytes(data, 1 << 18), InputSection(paths=("x",))))  # type: ignore[arg-type]
    assert max(len(block.rejects) for block in blocks) < 2000
    assert sum(len(block.rejects) for block in blocks) == 20_000
