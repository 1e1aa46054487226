"""Any text goes through every format and compression as it is, or is rejected with its place, reason and bytes."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import itertools
import json
import lzma
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.pipeline.corpus.formats.document_block import Reason, Reject
from maskmill.pipeline.corpus.formats.table import FORMATS, iter_documents
from maskmill.pipeline.corpus.input_file import InputFile
from maskmill.pipeline.corpus.open_input import OpenInput
from maskmill.schemas.documents import KEPT_QUARANTINE_BYTES
from maskmill.schemas.run_file import InputSection
from tests.corpus.formats.test_warc import record

MAX_MB = 2
SEPARATOR = "\n<|end of document|>\n"
CORPORA = os.environ.get("MASKMILL_CORPORA")

STRANGE = [
    "", " ", "\0", "a\0b", "\r", "\n", "\r\n", "a\r\nb\rc\n", "\t", "\x1a", "\x1b[31m", "\x7f", "\x80\x9f",
    "\x0b\x0c\x85", "\u00a0\u3000", "\u2028\u2029", "\ufeff", "a\ufeffb", "\u200b\u200e\u202e\u2066",
    "\ufffe\uffff\U0010ffff", "\ue000", "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "Z\u0351\u036b\u0343a\u035bl\u034c\u0334go", "\u0301", "e\u0301 \u00e9", "undefined", "null", "NaN", "-1e999",
    "true", "\\", '"', "'", '""', '"open', ",", ",,,", '{"text": "inner"}', "[1, 2", "=1+1", "<|endoftext|>",
    "[CLS] [MASK] [SEP]", "WARC/1.0\r\nContent-Length: 5\r\n\r\n", "PAR1", "ARROW1\0\0",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 mixed \u05e2\u05d1\u05e8\u05d9\u05ea",
    "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22", "\u65e5\u672c\u8a9e\u3002\u4e2d\u6587", "\ud55c\uad6d\uc5b4",
    "\u0939\u093f\u0928\u094d\u0926\u0940", "\U00020000\U0001d4d0", "a" *(1<<20 ) + "\u00e9" *(1<<19 ),
]  # fmt: skip
BROKEN = [
    b"\xff", b"\xfe\xff", b"\x80", b"\xc3", b"\xc0\x80", b"\xe2\x82", b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80",
    b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"caf\xe9", b"whole \xf0\x9f\x98", b"\xe3\x81\x82\xe3\x81",
    b"x" * ((2 << 20) + 1),
]  # fmt: skip
TEXTS = [b"first", *(text.encode() for text in STRANGE), *BROKEN, b"last"]


def to_json_lines(texts: Sequence[bytes]) -> bytes:
    lines = (json.dumps({"text": text.decode(errors="surrogateescape")}, ensure_ascii=False) for text in texts)
    return "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")


def to_escaped_json_lines(texts: Sequence[bytes]) -> bytes:
    return "".join(json.dumps({"text": text.decode(errors="surrogateescape")}) + "\r\n" for text in texts).encode()


def to_plain_text(texts: Sequence[bytes]) -> bytes:
    return SEPARATOR.encode().join(texts)


def to_delimited(delimiter: str) -> Callable[[Sequence[bytes]], bytes]:
    def write(texts: Sequence[bytes]) -> bytes:
        written = io.StringIO(newline="")
        writer = csv.writer(written, delimiter=delimiter)
        writer.writerow(("number", "text"))
        writer.writerows((number, text.decode("latin-1")) for number, text in enumerate(texts))
        return written.getvalue().encode("latin-1")

    return write


def to_table(texts: Sequence[bytes]) -> pa.Table:
    return pa.table({"text": pa.array(texts, pa.binary()).view(pa.string())})


def to_parquet(texts: Sequence[bytes]) -> bytes:
    written = io.BytesIO()
    pq.write_table(to_table(texts), written, row_group_size=7)
    return written.getvalue()


def to_arrow(texts: Sequence[bytes]) -> bytes:
    written = io.BytesIO()
    with pa.ipc.new_stream(written, pa.schema({"text": pa.string()})) as stream:
        stream.write_table(to_table(texts), max_chunksize=5)
    return written.getvalue()


def to_warc(texts: Sequence[bytes]) -> bytes:
    return b"".join(map(record, texts))


WRITERS: dict[str, Callable[[Sequence[bytes]], bytes]] = {
    "a.jsonl": to_json_lines,
    "escaped.jsonl": to_escaped_json_lines,
    "a.txt": to_plain_text,
    "a.csv": to_delimited(","),
    "a.tsv": to_delimited("\t"),
    "a.parquet": to_parquet,
    "a.arrow": to_arrow,
    "a.wet": to_warc,
}
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": lambda data: bytes(pa.compress(data, codec="zstd", asbytes=True)),
    ".bz2": bz2.compress,
    ".xz": lambda data: lzma.compress(data, preset=0),
}
PATHS = [
    pytest.param(name, suffix, id=name + suffix)
    for name, suffix in itertools.product(WRITERS, COMPRESSIONS)
    if not (suffix and name.endswith(".parquet"))
]


def read(path: Path) -> tuple[list[bytes], list[Reject]]:
    settings = InputSection(paths=("x",), text_document="separator", text_separator=SEPARATOR, max_document_mb=MAX_MB)
    listed = InputFile(str(path), path.name, path.stat().st_size)
    texts: list[bytes] = []
    rejects: list[Reject] = []
    with OpenInput(listed) as opened:
        for block in iter_documents(listed, opened, settings):
            texts += block.text
            rejects += block.rejects
    return texts, rejects


def judge(text: bytes) -> Reason | None:
    if not text:
        return Reason.EMPTY
    try:
        text.decode()
    except UnicodeDecodeError:
        return Reason.INVALID_UTF8
    return Reason.TOO_LARGE if len(text) > MAX_MB << 20 else None


def check(texts: Sequence[bytes], name: str, suffix: str, folder: Path) -> None:
    path = folder / f"{name}{suffix}"
    path.write_bytes(COMPRESSIONS[suffix](WRITERS[name](texts)))
    if name.endswith(".txt"):  # line ends are LF, those around a document are not part of it, and a blank one is none
        texts = list(filter(None, (text.replace(b"\r\n", b"\n").strip(b"\n") for text in texts)))
    found, rejects = read(path)
    reasons = [judge(text) for text in texts]
    assert found == [text for text, reason in zip(texts, reasons, strict=True) if reason is None]
    refused = [(text, reason) for text, reason in zip(texts, reasons, strict=True) if reason is not None]
    assert [one.reason for one in rejects] == [reason for _, reason in refused]
    lines = [one.line for one in rejects]
    assert lines == sorted(set(lines))
    for reject, (text, _) in zip(rejects, refused, strict=True):
        assert reject.path == path.name
        assert len(reject.content) == min(reject.size_bytes, KEPT_QUARANTINE_BYTES)
        if name.endswith(".jsonl"):
            assert WRITERS[name]([text]).startswith(reject.content)
        else:
            quoted = text.replace(b'"', b'""') if name.endswith("sv") else text
            assert quoted[: KEPT_QUARANTINE_BYTES - 10] in reject.content
        if name.rpartition(".")[2] in ("parquet", "arrow", "wet"):
            assert texts[reject.line - 1] == text
            assert (reject.content, reject.size_bytes) == (text[:KEPT_QUARANTINE_BYTES], len(text))


def test_every_format_is_tested() -> None:
    suffixes = {name.rpartition(".")[2] for name in WRITERS}
    assert all(any(suffix[1:] in suffixes for suffix in format_.suffixes) for format_ in FORMATS)


@pytest.mark.parametrize(("name", "suffix"), PATHS)
def test_strange_and_broken_texts_are_all_accounted_for(name: str, suffix: str, tmp_path: Path) -> None:
    check(TEXTS, name, suffix, tmp_path)


@pytest.mark.skipif(CORPORA is None, reason="MASKMILL_CORPORA names no folder with corpora")
@pytest.mark.parametrize(("name", "suffix"), PATHS)
def test_texts_of_every_language_and_of_stress_tests_are_all_accounted_for(
    name: str, suffix: str, tmp_path: Path
) -> None:
    corpora = Path(str(CORPORA))
    texts: list[bytes] = []
    for path in sorted(corpora.glob("*.jsonl.zst")):
        with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
            lines = stream.read(1 << 20).split(b"\n")[:-1]
        texts += [json.loads(line)["text"].encode() for line in lines[:20]]
    for path in sorted((corpora.parent / "nasty").glob("*.txt")):
        texts += [path.read_bytes(), *path.read_bytes().split(b"\n")]
    assert texts
    check([text for text in texts if SEPARATOR.strip().encode() not in text], name, suffix, tmp_path)
