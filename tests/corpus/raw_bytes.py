"""Bytes as an opened input, handed out in blocks of any size."""

from __future__ import annotations

import io


class RawBytes:
    """Stands in for `OpenInput`: `block_bytes` at a time, an empty block at the end."""

    start = 0
    stop = None

    def __init__(self, data: bytes, block_bytes: int = 1 << 18) -> None:
        self._data = io.BytesIO(data)
        self._block_bytes = block_bytes

    def read(self) -> bytes:
        return self._data.read(self._block_bytes)
