"""Recognise by its first bytes a file that was mistaken for text."""

from __future__ import annotations

_COMPRESSED = {
    b"\x1f\x8b": ("gzip", ".gz"),
    b"\x28\xb5\x2f\xfd": ("Zstandard", ".zst"),
    b"BZh": ("bzip2", ".bz2"),
    b"\xfd7zXZ\x00": ("xz", ".xz"),
}
_OTHER = {
    b"PK\x03\x04": "a ZIP archive",
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow IPC",
    b"%PDF": "PDF",
    b"\x04\x22\x4d\x18": "LZ4",
    b"\x00\x00\xfe\xff": "UTF-32 text",
    b"\xff\xfe\x00\x00": "UTF-32 text",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
LOOKED_AT = 64


def advise_on_content(name: str, start: bytes) -> str | None:
    """What to do with a file whose content does not match its name; `None` if nothing is known to be wrong.

    Args:
        name: The file's name.
        start: How it begins.
    """
    for magic, (kind, suffix) in _COMPRESSED.items():
        if start.startswith(magic):
            return f"{name} is compressed by {kind}: name it {name}{suffix}"
    kind = next((kind for magic, kind in _OTHER.items() if start.startswith(magic)), "")
    if not kind and _has_wide_characters(start[:LOOKED_AT]):
        kind = "UTF-16 text"
    if kind.startswith("UTF"):
        encoding = kind.partition(" ")[0]
        return f"{name} is {kind}: convert it to UTF-8, for example with iconv -f {encoding} -t UTF-8"
    return f"{name} is {kind}, which is not supported: convert it to JSON lines or plain text" if kind else None


def list_advice(name: str) -> set[str]:
    """All that `advise_on_content` may say of a file."""
    starts = (*_COMPRESSED, *_OTHER, b"\0\0")
    return {advice for start in starts if (advice := advise_on_content(name, start))}


def _has_wide_characters(start: bytes) -> bool:
    """Whether every second byte is NUL, as in UTF-16 without a byte order mark."""
    return len(start) > 1 and (not any(start[0::2]) or not any(start[1::2]))
