"""Recognise what a file holds by its first bytes: compressed data, another format, or something mistaken for text."""

from __future__ import annotations

import re

from maskmill.pipeline.corpus.formats.table import FORMATS, find_magic

_COMPRESSED = {
    b"\x1f\x8b": ("gzip", ".gz"),
    b"\x28\xb5\x2f\xfd": ("Zstandard", ".zst"),
    b"BZh": ("bzip2", ".bz2"),
    b"\xfd7zXZ\x00": ("xz", ".xz"),
}
_OTHER = {
    b"PK\x03\x04": "a ZIP archive",
    b"%PDF": "PDF",
    b"\x04\x22\x4d\x18": "LZ4",
    b"\x00\x00\xfe\xff": "UTF-32 text",
    b"\xff\xfe\x00\x00": "UTF-32 text",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
LOOKED_AT = 64


def recognise_compression(start: bytes) -> str | None:
    """The suffix of the compression of a file that begins so."""
    return next((suffix for magic, (_, suffix) in _COMPRESSED.items() if start.startswith(magic)), None)


def advise_on_content(name: str, start: bytes) -> str | None:
    """What to do with a file whose content does not match its name; `None` if nothing is known to be wrong.

    Args:
        name: The file's name.
        start: How it begins.
    """
    for magic, (kind, suffix) in _COMPRESSED.items():
        if start.startswith(magic):
            return f"{name} is compressed by {kind}: name it {name}{suffix}"
    if (found := find_magic(start)) is not None:
        return f"{name} is {found.title}: name it {name}{found.suffixes[0]}, or set input.format"
    kind = next((kind for magic, kind in _OTHER.items() if start.startswith(magic)), "")
    if re.search(r"\.json(\.\w+)?\Z", name, re.IGNORECASE) and _is_whole_json(start):
        return f"{name} is one JSON value over several lines: write an object a line, for example with jq -c '.[]'"
    if not kind and _has_wide_characters(start[:LOOKED_AT]):
        kind = "UTF-16 text"
    if kind.startswith("UTF"):
        encoding = kind.partition(" ")[0]
        return f"{name} is {kind}: convert it to UTF-8, for example with iconv -f {encoding} -t UTF-8"
    return f"{name} is {kind}, which is not supported: convert it to JSON lines or plain text" if kind else None


def list_advice(name: str) -> set[str]:
    """All that `advise_on_content` may say of a file."""
    starts = (*_COMPRESSED, *(magic for one in FORMATS for magic in one.magic), *_OTHER, b"\0\0", b"[")
    return {advice for start in starts if (advice := advise_on_content(name, start))}


def _is_whole_json(start: bytes) -> bool:
    """Whether a file begins as an array does, or as an object that is written over several lines."""
    return start.lstrip().startswith(b"[") or start.strip() == b"{" or start.lstrip().startswith((b"{\n", b"{\r\n"))


def _has_wide_characters(start: bytes) -> bool:
    """Whether every second byte is NUL, as in UTF-16 without a byte order mark."""
    return len(start) > 1 and (not any(start[0::2]) or not any(start[1::2]))
