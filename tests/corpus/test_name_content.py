"""Bytes that are no text are named, by what the programs that write them write."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.corpus.name_content import LOOKED_AT, advise_on_content

LINES = b'{"text": "one line of text"}\n' * 40


def _zip() -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("a.jsonl", LINES)
    return written.getvalue()


def _parquet() -> bytes:
    written = io.BytesIO()
    pq.write_table(pa.table({"text": ["a"]}), written)
    return written.getvalue()


WRITTEN = {
    "gzip: name it a.jsonl.gz": gzip.compress(LINES),
    "Zstandard: name it a.jsonl.zst": pa.compress(LINES, codec="zstd", asbytes=True),
    "bzip2: name it a.jsonl.bz2": bz2.compress(LINES),
    "xz: name it a.jsonl.xz": lzma.compress(LINES),
    "a ZIP archive": _zip(),
    "Parquet": _parquet(),
    "iconv -f UTF-16 ": LINES.decode().encode("utf-16"),
    "UTF-16 text: convert it to UTF-8, for example with iconv -f UTF-16 -t": LINES.decode().encode("utf-16-le"),
    "UTF-16 text: convert": LINES.decode().encode("utf-16-be"),
    "UTF-32 text: convert": LINES.decode().encode("utf-32"),
}


@pytest.mark.parametrize("said", WRITTEN)
def test_what_is_not_plain_utf8_is_named_with_the_remedy(said: str) -> None:
    advice = advise_on_content("a.jsonl", WRITTEN[said][:LOOKED_AT])
    assert advice is not None
    assert advice.startswith("a.jsonl is ")
    assert said in advice


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])))
def test_text_is_never_taken_for_something_else_but_by_its_first_letters(text: str) -> None:
    if not text.startswith(("BZh", "PK\x03\x04", "PAR1", "ARROW1", "%PDF")):
        assert advise_on_content("a.txt", text.encode()[:LOOKED_AT]) is None


@pytest.mark.parametrize("start", [b"[", b' [{"text": "a"},', b"{", b"{\n", b"{\r\n"])
def test_json_over_several_lines_is_named_where_the_suffix_says_json(start: bytes) -> None:
    for name in ("a.json", "a.JSON.gz"):
        advice = advise_on_content(name, start)
        assert advice is not None
        assert "an object a line" in advice
    assert advise_on_content("a.txt", start) is None
    assert advise_on_content("a.json", b'{"text": "a"}\n') is None
