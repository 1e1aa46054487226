"""A JSON object a line.

Lines are read with the standard library, one at a time. `pyarrow.json` was tried as a fast path and rejected:
on one core it needs 0.34 s for 64 MB of English novels and 0.13 s for 27 MB of C++ documentation, line by line it takes
0.41 s and 0.09 s, and it accepts two objects on a line, an object over two lines and invalid UTF-8. `orjson` reads
them in 0.28 s and 0.05 s, a fiftieth of a whole run, and differs on lone surrogates, NaN and long integers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from maskmill.pipeline.corpus.formats.document_block import DocumentBlock, Opened, Origin, Reason, Reject
from maskmill.pipeline.corpus.formats.find_field import MISSING, find_field
from maskmill.pipeline.corpus.formats.format import Format
from maskmill.pipeline.corpus.formats.judge_document import MAX_NAME_CHARACTERS
from maskmill.pipeline.corpus.formats.split import split_lines
from maskmill.pipeline.corpus.read_lines import is_blank, iter_lines
from maskmill.schemas.documents import KEPT_QUARANTINE_BYTES
from maskmill.schemas.run_file import InputSection

MAX_INTEGER_DIGITS = 4300  # Python's own limit, above which converting takes quadratic time
MAX_STRUCTURE_BYTES = 16 << 20
"""Limit of a line's bytes outside strings, each string counting as `STRING_OVERHEAD_BYTES` more: as Python objects each
takes up to 25 times as much, 400 MiB for `[[],[],...]`, where six times 64 MiB of it would be 10 GiB."""
STRING_OVERHEAD_BYTES = 16
MAX_NESTING = 200
"""Depth limit of arrays and objects in a line. Python's own limit depends on the depth of the calling stack, which
differs between engines and Python versions; this one is far below it."""


# All between two strings, or a string; one that has no end goes to that of the line, so nothing is looked at twice.
_STRINGS = re.compile(rb'([^"]++)|"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)


class _Rejected(Exception):  # noqa: N818  # a signal between two functions of this module, never seen outside
    def __init__(self, reason: Reason) -> None:
        self.reason = reason


def iter_json_lines(file: Origin, opened: Opened, settings: InputSection) -> Iterator[DocumentBlock]:
    """The documents of a file with a JSON object a line, in blocks of some 256 KiB."""
    max_text_bytes = settings.max_text_bytes
    # JSON may encode one byte of text with six, and a line has other fields too.
    max_line_bytes = 6 * max_text_bytes + (1 << 20)
    for lines in iter_lines(opened, max_line_bytes):
        block = DocumentBlock()
        for number, line, length in lines:
            if length > max_line_bytes:
                content = line[:KEPT_QUARANTINE_BYTES]
                block.rejects.append(Reject(file.path, number, Reason.TOO_LARGE, length, content))
                continue
            if is_blank(line):
                continue  # a blank line is no document
            try:
                doc_id, source, text = parse_json_line(line, settings, max_text_bytes)
            except _Rejected as rejected:
                content = line[:KEPT_QUARANTINE_BYTES]
                block.rejects.append(Reject(file.path, number, rejected.reason, length, content))
                continue
            block.doc_id.append(f"{file.path}#{number}" if doc_id is None else doc_id)
            block.source.append(file.source if source is None else source)
            block.without_source += source is None
            block.line.append(number)
            block.text.append(text)
            block.is_numbered.append(doc_id is None)
        yield block


def parse_json_line(line: bytes, settings: InputSection, max_text_bytes: int) -> tuple[str | None, str | None, bytes]:
    """Id, source and UTF-8 text of one JSON line; id and source `None` where the line has none."""
    value = _parse_object(line)
    doc_id = _read_id(value, settings.id_field)
    source = find_field(value, settings.source_field) if settings.source_field else None
    if source is MISSING:
        source = None
    if source is not None and not isinstance(source, str):
        raise _Rejected(Reason.BAD_SOURCE)
    encoded = _read_text(value, settings, max_text_bytes)
    for name in (doc_id, source):
        if name is not None:
            _encode(name)
            if len(name) > MAX_NAME_CHARACTERS:
                raise _Rejected(Reason.TOO_LARGE)
    if not encoded:
        raise _Rejected(Reason.EMPTY)
    if len(encoded) > max_text_bytes:
        raise _Rejected(Reason.TOO_LARGE)
    return doc_id, source, encoded


def _read_text(value: dict[str, Any], settings: InputSection, max_text_bytes: int) -> bytes:
    fields = settings.text_field
    if isinstance(fields, str) or len(fields) == 1:  # apart from several: they took 5 % of the time of short lines
        text = find_field(value, fields if isinstance(fields, str) else fields[0])
        if text is MISSING:
            raise _Rejected(Reason.NO_TEXT)
        return _encode_text(text, max_text_bytes)
    texts = [text for field in fields if (text := find_field(value, field)) is not MISSING]
    if not texts:
        raise _Rejected(Reason.NO_TEXT)
    encoded = [_encode_text(text, max_text_bytes) for text in texts if text is not None]
    return settings.text_join_bytes.join(filter(None, encoded))


def _encode_text(text: Any, max_text_bytes: int) -> bytes:
    if not isinstance(text, str):
        raise _Rejected(Reason.TEXT_NOT_STRING)
    if len(text) > max_text_bytes:
        raise _Rejected(Reason.TOO_LARGE)  # a character is a byte or more
    return _encode(text)


def _parse_object(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_STRUCTURE_BYTES and _measure_structure(line) > MAX_STRUCTURE_BYTES:
        raise _Rejected(Reason.TOO_LARGE)
    try:
        decoded = line.decode()
    except UnicodeDecodeError:
        raise _Rejected(Reason.INVALID_UTF8) from None
    try:
        value = json.loads(decoded)
    except RecursionError:
        raise _Rejected(Reason.BROKEN_JSON) from None
    except ValueError as error:
        if isinstance(error, json.JSONDecodeError):
            raise _Rejected(Reason.BROKEN_JSON) from None
        value = _parse_long_integers(decoded)
    if _nests_deeper(value, MAX_NESTING):
        raise _Rejected(Reason.BROKEN_JSON)
    if not isinstance(value, dict):
        raise _Rejected(Reason.NOT_AN_OBJECT)
    return value


def _measure_structure(line: bytes) -> int:
    """Bytes of a line that are not within strings, and the overhead of those; as soon as it is too much, so much."""
    size = 0
    for found in _STRINGS.finditer(line):
        between = found.end(1) - found.start(1)
        size += between or STRING_OVERHEAD_BYTES
        if size > MAX_STRUCTURE_BYTES:
            break
    return size


def _parse_long_integers(decoded: str) -> Any:
    """What Python refuses for an integer of more than 4,300 digits, which JSON allows; none of them is an id."""
    try:
        return json.loads(decoded, parse_int=_read_integer)
    except (ValueError, RecursionError):
        raise _Rejected(Reason.BROKEN_JSON) from None


def _read_integer(digits: str) -> int | float:
    return int(digits) if len(digits.lstrip("-")) <= MAX_INTEGER_DIGITS else math.inf


def _nests_deeper(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


def _read_id(value: dict[str, Any], id_field: str | None) -> str | None:
    doc_id = find_field(value, id_field) if id_field else None
    if doc_id is MISSING:
        return None
    if doc_id is None or isinstance(doc_id, str):
        return doc_id
    if isinstance(doc_id, int) and not isinstance(doc_id, bool):
        return str(doc_id)
    raise _Rejected(Reason.BAD_ID)


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can spell and UTF-8 cannot
        raise _Rejected(Reason.INVALID_UTF8) from None


JSONL = Format("jsonl", "JSON lines", (".jsonl", ".ndjson", ".json"), iter_json_lines, split_lines, text_start=b"{")
