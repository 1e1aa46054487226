"""Plain text: a document is the whole file, a line, or what is between blank lines or separators, by the settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from maskmill.pipeline.corpus.formats.document_block import DocumentBlock, Opened, Origin, Reason, Reject
from maskmill.pipeline.corpus.formats.format import Format
from maskmill.pipeline.corpus.formats.judge_document import judge_text
from maskmill.pipeline.corpus.formats.split import split_texts
from maskmill.pipeline.corpus.read_lines import is_blank, iter_lines, iter_without_bom
from maskmill.schemas.documents import KEPT_QUARANTINE_BYTES
from maskmill.schemas.run_file import InputSection


def iter_texts(file: Origin, opened: Opened, settings: InputSection) -> Iterator[DocumentBlock]:
    """The documents of a text file, in blocks of some 256 KiB."""
    if settings.text_separator is not None:
        return _iter_separated(file, opened, settings.text_separator.encode(), settings.max_text_bytes)
    return _iter_lines_of(file, opened, settings)


def _iter_lines_of(file: Origin, opened: Opened, settings: InputSection) -> Iterator[DocumentBlock]:
    max_text_bytes = settings.max_text_bytes
    whole_file = settings.text_document == "file"
    gathered = _GatheredText(max_text_bytes)
    for lines in iter_lines(opened, max_text_bytes):
        block = DocumentBlock()
        for number, line, full_bytes in lines:
            if not whole_file and full_bytes <= max_text_bytes and is_blank(line):
                if gathered.num_lines:
                    gathered.close(file, block)
                    gathered = _GatheredText(max_text_bytes)
                continue
            gathered.add(number, line, full_bytes)
            if settings.text_document == "line":
                gathered.close(file, block)
                gathered = _GatheredText(max_text_bytes)
        yield block
    block = DocumentBlock()
    if gathered.num_lines or whole_file:  # an empty file is a document without text
        gathered.close(file, block)
    yield block


def _iter_separated(file: Origin, opened: Opened, separator: bytes, max_text_bytes: int) -> Iterator[DocumentBlock]:
    """Split a file at a separator; strip line ends around each document, and skip empty ones."""
    gathered, line, rest = _GatheredBytes(max_text_bytes), 1, b""
    for data in iter_without_bom(opened):
        block = DocumentBlock()
        *pieces, rest = (rest + data).split(separator)
        for piece in pieces:
            gathered.add(piece)
            gathered.close(file, line, block)
            line += gathered.num_lines + separator.count(b"\n")
            gathered = _GatheredBytes(max_text_bytes)
        start = max(0, len(rest) + 1 - len(separator))  # a separator may begin behind it, and end in the next block
        gathered.add(rest[:start])
        rest = rest[start:]
        yield block
    block = DocumentBlock()
    gathered.add(rest)
    gathered.close(file, line, block)
    yield block


@dataclass
class _GatheredBytes:
    """The bytes of one document; only the beginning of an overlong one is kept."""

    max_text_bytes: int
    num_lines: int = 0
    size_bytes: int = 0
    content: bytearray = field(default_factory=bytearray)

    def add(self, data: bytes) -> None:
        self.num_lines += data.count(b"\n")
        self.size_bytes += len(data)
        # Twice as much, as a line end has one byte or two.
        self.content += data[: max(0, 2 * self.max_text_bytes - len(self.content))]

    def close(self, file: Origin, line: int, block: DocumentBlock) -> None:
        whole = bytes(self.content).replace(b"\r\n", b"\n")
        text = whole.strip(b"\n")
        is_cut = self.size_bytes > 2 * self.max_text_bytes
        if not text and not is_cut:
            return
        first = line + len(whole) - len(whole.lstrip(b"\n"))
        reason = (
            Reason.TOO_LARGE if is_cut or len(text) > self.max_text_bytes else judge_text(text, self.max_text_bytes)
        )
        if reason is not None:
            size_bytes = self.size_bytes if is_cut else len(text)
            block.rejects.append(Reject(file.path, first, reason, size_bytes, text[:KEPT_QUARANTINE_BYTES]))
            return
        block.append(first, text, None, None, file)


@dataclass
class _GatheredText:
    """The lines of one plain-text document; only the beginning of an overlong one is kept."""

    max_text_bytes: int
    first_line: int = 1
    num_lines: int = 0
    size_bytes: int = 0
    content: bytearray = field(default_factory=bytearray)

    def add(self, number: int, line: bytes, full_bytes: int) -> None:
        if self.num_lines:
            self.size_bytes += 1
            line = b"\n" + line
        else:
            self.first_line = number
        self.num_lines += 1
        self.size_bytes += full_bytes
        if len(self.content) < self.max_text_bytes:
            self.content += line[: self.max_text_bytes - len(self.content)]

    def close(self, file: Origin, block: DocumentBlock) -> None:
        text = bytes(self.content)
        reason = self._judge(text)
        if reason is not None:
            content = text[:KEPT_QUARANTINE_BYTES]
            block.rejects.append(Reject(file.path, self.first_line, reason, self.size_bytes, content))
            return
        block.append(self.first_line, text, None, None, file)

    def _judge(self, text: bytes) -> Reason | None:
        if self.size_bytes > self.max_text_bytes:
            return Reason.TOO_LARGE
        return judge_text(text, self.max_text_bytes)


TXT = Format("txt", "plain text", (".txt",), iter_texts, split_texts)
