"""WARC, and WET, its records of extracted text: a document a `conversion` record, or a `resource` that is plain text.

Records are framed as ISO 28500 has it: a version, headers, a blank line, as many bytes as `Content-Length` says, and
two line ends. A record that is framed otherwise makes the rest of the file unreadable, and the file is refused with the
place: FastWARC 2.0 and warcio 1.8 give the shortened text of a record that is cut, and take a length that is no number
for 0.

Records about others (`warcinfo`, `request`, `metadata`, `revisit`) hold no text. All others, such as a `response` with
a web page, are rejected with the reason, so that none is lost unseen.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping

from maskmill.pipeline.corpus.formats.document_block import DocumentBlock, Opened, Origin, Reason, Reject
from maskmill.pipeline.corpus.formats.format import Format
from maskmill.pipeline.corpus.formats.judge_document import judge_document
from maskmill.pipeline.corpus.formats.split import split_warc
from maskmill.schemas.documents import KEPT_QUARANTINE_BYTES
from maskmill.schemas.errors import InputDataError
from maskmill.schemas.run_file import InputSection

MAX_HEADER_BYTES = 1 << 18
"""Limit of a record's headers; Common Crawl's have some 500 bytes."""
BLOCK_BYTES = 1 << 18
_READ_BYTES = 1 << 20
_RECORD_BYTES = 200
"""What a record takes in memory besides its texts."""
_KEPT_PAGE_BYTES = 1 << 12
"""What the quarantine keeps of a record that is not plain text: a crawl holds gigabytes of them."""
_ID = b"warc-record-id"
_VERSION = re.compile(rb"WARC/\d+\.\d+")
_LENGTH = re.compile(rb"\d{1,18}")
_ABOUT_OTHERS = frozenset((b"warcinfo", b"request", b"metadata", b"revisit"))
_LINE_ENDS = (b"\r\n", b"\n")


def iter_warc(file: Origin, opened: Opened, settings: InputSection) -> Iterator[DocumentBlock]:
    """The documents of a WARC or WET file."""
    records = _Records(file, opened)
    block, held = DocumentBlock(), 0
    for number, headers in enumerate(records, 1):
        size_bytes = records.size_bytes
        held += _RECORD_BYTES + sum(map(len, headers.values()))  # ids and places are held too
        if headers.get(b"warc-type", b"").lower() in _ABOUT_OTHERS:
            records.read_content(0)
            continue
        if not _is_plain_text(headers):
            content = records.read_content(_KEPT_PAGE_BYTES)
            block.rejects.append(Reject(file.path, number, Reason.NO_PLAIN_TEXT, size_bytes, content))
            held += len(content)
        else:
            text = records.read_content(settings.max_text_bytes)
            doc_id = headers.get(settings.id_field.lower().encode() if settings.id_field else _ID) or None
            source = headers.get(settings.source_field.lower().encode()) or None if settings.source_field else None
            reason = judge_document(text, doc_id, source, settings.max_text_bytes)
            if size_bytes > settings.max_text_bytes:
                reason = Reason.TOO_LARGE
            if reason is None:
                block.append(number, text, doc_id, source, file)
            else:
                content = text[:KEPT_QUARANTINE_BYTES]
                block.rejects.append(Reject(file.path, number, reason, size_bytes, content))
            held += len(text)
        if held >= BLOCK_BYTES:
            yield block
            block, held = DocumentBlock(), 0
    yield block


def _is_plain_text(headers: Mapping[bytes, bytes]) -> bool:
    kind = headers.get(b"warc-type", b"").lower()
    content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    return content_type == b"text/plain" and kind in (b"conversion", b"resource")


class _Records:
    """Iterate over the headers of records; the content of each is read before the next.

    Attributes:
        size_bytes: Of the content of the current record.
    """

    def __init__(self, file: Origin, opened: Opened) -> None:
        self._file = file
        self._data = io.BufferedReader(_AsStream(opened), _READ_BYTES)
        self._start = self._at = self.size_bytes = 0

    def __iter__(self) -> Iterator[dict[bytes, bytes]]:
        while self._skip_to_version():
            headers = self._read_headers()
            self.size_bytes = self._measure(headers)
            yield headers

    def read_content(self, limit: int) -> bytes:
        """Read the content of the record to its end, and return the first bytes of it, at most so many."""
        kept, left = bytearray(), self.size_bytes
        while left:
            data = self._data.read(min(left, _READ_BYTES))
            if not data:
                raise self._refuse(f"{self.size_bytes:,} bytes of content", f"{self.size_bytes - left:,} bytes")
            kept += data[: limit - len(kept)]
            left -= len(data)
        self._at += self.size_bytes
        for _ in range(2):
            if (line := self._read_line()) not in _LINE_ENDS:
                raise self._refuse(f"two line ends behind {self.size_bytes:,} bytes of content", ascii(line[:32]))
        return bytes(kept)

    def _skip_to_version(self) -> bool:
        line = b"\n"
        while line in _LINE_ENDS:
            self._start = self._at
            line = self._read_line()
        if line and not _VERSION.fullmatch(line.rstrip()):
            raise self._refuse("a record, which begins with WARC/ and a version", ascii(line[:32]))
        return bool(line)

    def _read_headers(self) -> dict[bytes, bytes]:
        """The headers by their names in lower case; of several with one name the first."""
        headers: dict[bytes, bytes] = {}
        name = b""
        while (line := self._read_line()) not in _LINE_ENDS:
            if self._at - self._start > MAX_HEADER_BYTES:
                raise self._refuse(f"at most {MAX_HEADER_BYTES:,} bytes of headers", "more")
            if not line.endswith(b"\n"):
                raise self._refuse("headers up to a blank line", "the end of the file")
            if line.startswith((b" ", b"\t")) and name:  # a long value goes on
                headers[name] += b" " + line.strip()
                continue
            name, colon, value = line.partition(b":")
            name = name.strip().lower()
            if not colon:
                raise self._refuse("a header, its name before a colon", ascii(line[:32]))
            if name == b"content-length" and headers.get(name, value.strip()) != value.strip():
                raise self._refuse("one Content-Length", "two that differ")
            headers.setdefault(name, value.strip())
        return headers

    def _measure(self, headers: Mapping[bytes, bytes]) -> int:
        length = headers.get(b"content-length")
        if length is None:
            raise self._refuse("a Content-Length", "none")
        if not _LENGTH.fullmatch(length):
            raise self._refuse("a Content-Length that is a number of bytes", ascii(length[:32]))
        return int(length)

    def _read_line(self) -> bytes:
        line = self._data.readline(MAX_HEADER_BYTES + 1)
        self._at += len(line)
        return line

    def _refuse(self, expected: str, found: str) -> InputDataError:
        return InputDataError(
            "the file cannot be read to its end",
            path=self._file.path,
            place=f"record at byte {self._start} of the uncompressed data",
            expected=expected,
            found=found,
            action="replace the file, or leave it out of input.paths",
        )


class _AsStream(io.RawIOBase):
    """Present an opened input to the standard library as a file."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # typeshed has a wider one
        if not self._rest:
            self._rest = memoryview(self._opened.read())
        size = min(len(self._rest), len(buffer))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


WARC = Format("warc", "WARC", (".warc", ".wet"), iter_warc, split_warc, magic=(b"WARC/",))
