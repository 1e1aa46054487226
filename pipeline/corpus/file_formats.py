"""Which format and compression a file has, by its name alone."""

from __future__ import annotations

import os

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}
FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "txt"}


def compression_of(path: str) -> str | None:
    """The codec by the name's last suffix; Arrow's names, and `xz`."""
    return COMPRESSIONS.get(os.path.splitext(path)[1].lower())


def format_of(path: str) -> str | None:
    """`jsonl` or `txt` by the suffix before the compression's; `None` if it is neither."""
    stem, suffix = os.path.splitext(path)
    return FORMATS.get((os.path.splitext(stem)[1] if compression_of(path) else suffix).lower())
